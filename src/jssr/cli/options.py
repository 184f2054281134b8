"""Options that several commands share, and what they do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = [
    "Checkpoint", "Comparing", "Descriptor", "Deterministic", "Device", "Initial", "InitialOption", "Labeller",
    "Network", "Out", "Refine", "Rigid", "Stages", "SystemName", "Threads", "Verbose", "console", "prepare_session",
    "progress", "stderr",
]  # fmt: skip


class Initial(StrEnum):
    geometry = "geometry"
    centre = "centre"


class Comparing(StrEnum):
    mind_ssc = "mind-ssc"
    mind = "mind"
    macmind = "macmind"


Override = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override of the recipe, e.g. training.stages.joint.steps=500.", metavar="KEY=VALUE"),
]
Report = Annotated[bool, typer.Option("--report/--no-report", help="Write report.html.")]
AsDicom = Annotated[
    bool,
    typer.Option("--dicom", help="Also write DICOM: the moved series, segmentations, the deformation. Of DICOM scans."),
]
Anonymise = Annotated[
    bool,
    typer.Option(
        "--anonymise", help="Write nothing of the patient's identity: no paths, and DICOM by PS3.15's basic profile."
    ),
]


Out = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]
SystemName = Annotated[
    str | None,
    typer.Option(
        "--system",
        help="Which system: by default the checkpoint's, else jssr for CT and discrete for others; rigid for no more.",
        metavar="NAME",
    ),
]
Network = Annotated[
    str | None,
    typer.Option(
        "--system", help="Which system: by default the checkpoint's, else jssr, whatever the scan.", metavar="NAME"
    ),
]
Labeller = Annotated[
    str | None,
    typer.Option(
        "--system", help="Which system: by default the checkpoint's, else jssr, for radiographs jrsnet.", metavar="NAME"
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="Weights file or run folder; by default the shipped weights.", metavar="FILE"),
]
Refine = Annotated[
    int | None,
    typer.Option("--refine", min=0, help="Steps of optimisation on the pair afterwards; by default the system's own."),
]
Descriptor = Annotated[
    Comparing | None,
    typer.Option("--descriptor", help="What that compares, and discrete searches with; by default the recipe's."),
]
Rigid = Annotated[bool, typer.Option("--rigid/--no-rigid", help="Align rigidly first, or trust the headers.")]
InitialOption = Annotated[
    Initial, typer.Option("--initial", help="Start of the rigid alignment: the headers, or centre on centre.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps.")]
Deterministic = Annotated[bool, typer.Option("--deterministic", help="Only algorithms that repeat bit for bit.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; by default all cores.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more on stderr.")]


def console() -> Console:
    """Where tables go. Made when used: tests replace stdout."""
    return Console(highlight=False)


def stderr() -> Console:
    """Where progress goes."""
    return Console(stderr=True)


def progress() -> Progress:
    """A bar for work on many cases, on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=32), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=stderr(), transient=True)


def prepare_session(threads: int | None = None, verbose: bool = False) -> None:
    """Set logging and threads of this process."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("jssr").setLevel(logging.INFO if verbose else logging.WARNING)
    if threads is not None:
        import SimpleITK as sitk
        import torch

        torch.set_num_threads(threads)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


class Stages:
    """A progress bar on stderr that follows named stages.

    Args:
        total: how many there will be.
    """

    def __init__(self, total: int) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
        self.progress = Progress(*columns, console=stderr(), transient=True)
        self.task = self.progress.add_task("starting", total=total)
        self.begun = 0

    def __call__(self, stage: str) -> None:
        """A stage begins."""
        self.progress.update(self.task, description=stage, completed=self.begun)
        self.begun += 1

    @contextmanager
    def shown(self) -> Iterator[Stages]:
        with self.progress:
            yield self
