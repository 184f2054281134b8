"""Options as objects: dataclasses whose fields become the options of a command, and those that commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from jssr.losses.descriptors import DESCRIPTORS

__all__ = [
    "Alignment", "Checkpoint", "Choice", "Compute", "Deterministic", "Device", "Options", "Out", "Override", "Refine",
    "Rigid", "Saving", "Threads", "command",
]  # fmt: skip


if TYPE_CHECKING:
    DescriptorName = str
else:
    DescriptorName = Literal[tuple(DESCRIPTORS)]


class Options:
    """Base of the groups of options."""

    def given(self) -> dict[str, Any]:
        """The options that have a value, as keywords of the API."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if value is not None}


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters may be groups of options, for Typer: each field of a group becomes an option.

    Raises:
        TypeError: two groups have a field of one name.
    """
    hints = get_type_hints(function, include_extras=True)
    groups = {name: hints[name] for name in inspect.signature(function).parameters if is_dataclass(hints[name])}
    shown: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        own = [parameter.replace(annotation=hints[name])]
        for one in _expanded(groups[name]) if name in groups else own:
            if one.name in shown:
                raise TypeError(f"{function.__name__}: two options are called {one.name!r}")
            shown[one.name] = one.replace(kind=inspect.Parameter.KEYWORD_ONLY)

    @functools.wraps(function)
    def run(**values: Any) -> None:
        packed = {name: kind(**{f.name: values.pop(f.name) for f in fields(kind)}) for name, kind in groups.items()}
        function(**values, **packed)

    run.__signature__ = inspect.Signature(list(shown.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {name: one.annotation for name, one in shown.items()}
    return run


def _expanded(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    kind, none = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    return [
        inspect.Parameter(f.name, kind, default=none if f.default is MISSING else f.default, annotation=hints[f.name])
        for f in fields(group)
    ]


Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; by default all cores.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps.")]
Deterministic = Annotated[bool, typer.Option("--deterministic", help="Only algorithms that repeat bit for bit.")]
Rigid = Annotated[bool, typer.Option("--rigid/--no-rigid", help="Align rigidly first, or trust the headers.")]
Refine = Annotated[
    int | None,
    typer.Option("--refine", min=0, help="Steps of instance optimisation afterwards; by default the recipe's."),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Weights file or run folder; by default the shipped weights. FILE.py:RUN for a system of FILE.py.",
        metavar="FILE",
    ),
]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override of the recipe, e.g. training.stages.joint.steps=500.", metavar="KEY=VALUE"),
]


@dataclass(frozen=True)
class Compute(Options):
    """Where and how it computes."""

    device: Device = "cpu"
    deterministic: Deterministic = False
    threads: Threads = None


@dataclass(frozen=True)
class Choice(Compute):
    """Which system works."""

    system: Annotated[
        str | None,
        typer.Option(
            "--system",
            help="By default the checkpoint's, else jssr for CT and discrete for others; rigid: the rigid step alone.",
            metavar="NAME",
        ),
    ] = None
    checkpoint: Checkpoint = None


@dataclass(frozen=True)
class Alignment(Choice):
    """How pairs are aligned."""

    refine: Refine = None
    descriptor: Annotated[
        DescriptorName | None,
        typer.Option("--descriptor", help="What these compare, and discrete searches with; by default the recipe's."),
    ] = None
    rigid: Rigid = True


@dataclass(frozen=True)
class Saving(Options):
    """What is written."""

    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html.")] = True
    dicom: Annotated[
        bool,
        typer.Option(
            "--dicom", help="Also write DICOM: the moved series, segmentations, the deformation. Of DICOM scans."
        ),
    ] = False
    anonymise: Annotated[
        bool,
        typer.Option(
            "--anonymise",
            help="Write nothing of the patient's identity: no paths, and DICOM by PS3.15's basic profile.",
        ),
    ] = False
