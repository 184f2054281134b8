"""Commands around trained systems: train, evaluate, benchmark, report, info."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

import jssr
from jssr.cli.options import Alignment, Deterministic, Options, Out, Override, Threads, command
from jssr.cli.session import Session

__all__ = ["benchmark", "evaluate", "info", "report", "train"]

Workers = Annotated[
    int, typer.Option("--workers", min=1, help="Processes that share the cases; seconds are comparable with 1.")
]
Split = Annotated[str, typer.Option("--split", help="train, validation, test or all.")]
CohortFolder = Annotated[Path, typer.Argument(help="Cohort with labels or landmarks of its phases.", metavar="COHORT")]


@dataclass(frozen=True)
class TrainOptions(Options):
    """On what a training runs."""

    start_from: Annotated[
        list[Path] | None,
        typer.Option(
            "--start-from", help="Weights to begin with, of the networks that both have; repeat it.", metavar="RUN"
        ),
    ] = None
    devices: Annotated[int, typer.Option("--devices", min=1, help="Processes, one a device.")] = 1
    accelerator: Annotated[Literal["auto", "cpu", "gpu", "mps"], typer.Option("--accelerator")] = "auto"
    cache_gb: Annotated[float, typer.Option("--cache-gb", min=0.1, help="Memory for prepared scans.")] = 4.0
    deterministic: Deterministic = False
    threads: Threads = None


@command
def train(
    recipe: Annotated[
        str, typer.Argument(help="Name of a built-in recipe, or a .toml, .yaml, .json or .py file.", metavar="RECIPE")
    ],
    data: Annotated[Path, typer.Option("--data", help="Prepared cohort of the pairs.", metavar="COHORT")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.", metavar="RUN")],
    options: TrainOptions,
    session: Session,
    supervised: Annotated[
        Path | None, typer.Option("--supervised", help="Prepared labelled cohort for the segmentor.", metavar="COHORT")
    ] = None,
    override: Override = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in RUN.")] = False,
) -> None:
    """Train a system by a recipe.

    Writes weights.safetensors for use, and losses.csv, tensorboard/, pictures/ to watch.

    Example: jssr train jssr-compact --data prepared --supervised prepared-supervised -o run
    """
    with session.progress() as show:
        run = jssr.train(
            recipe, data=data, out=out, supervised=supervised, overrides=override or (), resume=resume,
            on_progress=show, on_note=session.show, **options.given(),
        )  # fmt: skip
    session.finish(run.to_dict(), f"trained; weights in {run.weights}")


@command
def evaluate(
    cohort: CohortFolder, out: Out, options: Alignment, session: Session, split: Split = "test", workers: Workers = 1
) -> None:
    """Measure a system on the cases of a cohort: Dice, HD95, ASD, TRE, folds, seconds, memory.

    Per case to CSV as it is done (an interrupted run continues), mean (sd) per phase in tables.md, with the rows
    initial and rigid beside, and the segmentor's Dice per phase; the same with pictures in report.html.

    Example: jssr evaluate cohort --split test --refine 40 -o evaluation
    """
    with session.progress() as show:
        found = jssr.evaluate(cohort, out=out, split=split, workers=workers, on_progress=show, **options.given())
    from jssr.cli.tables import summary_tables

    session.finish(
        {"written": str(out), **found.to_dict()}, f"system: {found.system}", *summary_tables(found), f"written to {out}"
    )


@dataclass(frozen=True)
class BenchmarkOptions(Options):
    """What is compared, and of which scans."""

    runs: Annotated[
        list[Path] | None,
        typer.Option("--run", help="Weights file or run folder of ours, or jssr or jrsnet; may be repeated."),
    ] = None
    refined: Annotated[
        list[Path] | None, typer.Option("--refined", help="The same, with --refine steps on each pair.")
    ] = None
    refine: Annotated[int, typer.Option("--refine", min=1, help="Steps for --refined.")] = 20
    peers: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            "--tool",
            help="discrete (discrete:DESCRIPTOR: with another one), elastix, affine, syn-mi, "
            "syn-cc, greedy, greedy-mi, convexadam or deeds; may be repeated.",
            metavar="NAME",
        ),
    ] = None
    synthesis: Annotated[
        list[Path] | None,
        typer.Option("--synthesis", help="Run for table 2: its segmentor, its generator or both; may be repeated."),
    ] = None
    against: Annotated[
        str | None, typer.Option("--against", help="Row that the others are tested against; by default the first run.")
    ] = None
    split: Split = "test"
    fixed: Annotated[
        str | None, typer.Option("--fixed", help="Phase that the others are aligned to; by default the reference.")
    ] = None
    structures: Annotated[
        list[str] | None,
        typer.Option("--structure", help="Structure with tables of its own; may be repeated; by default the liver."),
    ] = None
    similarity: Annotated[
        bool,
        typer.Option(
            "--similarity", "--likeness", help="Also mutual information and SSIM of the moved and the fixed scan."
        ),
    ] = False
    picture: Annotated[str | None, typer.Option("--picture", help="Case of figure 5; by default the first.")] = None
    workers: Workers = 1
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0
    threads: Threads = None


@command
def benchmark(cohort: CohortFolder, out: Out, options: BenchmarkOptions, session: Session) -> None:
    """Compare systems and peers on a cohort: tables 1 and 2, figures 4 and 5 of the JSSR paper, with tests.

    Every row is measured alike, from the scans themselves. An interrupted benchmark continues, and rows can be added
    to a finished one by naming them too. Writes results.csv, table2.csv, tables.md, figure4.png and figure5_PHASE.png.

    Example: jssr benchmark cohort -o comparison --run runs/jssr --refined runs/jssr --peer discrete --peer greedy
    """
    with session.progress() as show:
        done = jssr.benchmark(cohort, out=out, on_progress=show, **options.given())
    from jssr.cli.tables import summary_tables

    failed = [f"{method} failed on {case}, {phase}: {reason}" for method, case, phase, reason in done.failed]
    again = ["these pairs are in no mean; the same command tries them again"] if failed else []
    data = {"written": str(out), **done.to_dict()}
    session.finish(data, *summary_tables(done), *done.notes, f"written to {out}", warnings=[*failed, *again])


@command
def report(
    folder: Annotated[Path, typer.Argument(help="What register, align, demo or evaluate wrote.", metavar="DIR")],
    session: Session,
) -> None:
    """Write report.html of a result or an evaluation again.

    Of a result the scans must still be where they were.

    Example: jssr report aligned
    """
    path = jssr.make_report(folder)
    session.finish({"written": str(path)}, f"written to {path}")


@command
def info(
    session: Session,
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="Weights file, run folder, or jssr (the default) or jrsnet for the weights that ship.",
            metavar="[CHECKPOINT]",
        ),
    ] = None,
) -> None:
    """Show what a checkpoint is, what it was trained on, and how it scored.

    Example: jssr info run/weights.safetensors
    """
    found = jssr.info(checkpoint)
    from rich.markdown import Markdown

    from jssr.cli.tables import info_table

    session.finish(found.header, info_table(found), Markdown(found.card))
