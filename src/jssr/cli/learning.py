"""Commands around trained systems: train, evaluate, benchmark, report, info."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

import jssr
from jssr.cli.options import Compute, Knobs, Options, Out, RecipeChanges, arg, command, opt
from jssr.cli.session import Session
from jssr.core.launched import launched


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RecipeChanges, Compute):
    recipe: str = arg("Name of a built-in recipe, or a .toml, .yaml, .json or .py file.")
    data: Path = opt(MISSING, "Prepared cohort of the pairs.", metavar="COHORT")
    out: Path = opt(MISSING, "Folder of the run.", "-o", "--out", metavar="RUN")
    supervised: Path | None = opt(None, "Prepared labelled cohort for the segmentor.", metavar="COHORT")
    resume: bool = opt(False, "Continue the run in RUN.")
    start_from: list[Path] | None = opt(
        None, "Weights to begin with, also shipped ones, of the networks that both have; repeat it.", metavar="RUN"
    )
    devices: int = opt(
        1, "Processes, one a device, which share the samples of a step; torchrun and srun count themselves.", min=1
    )
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = opt("auto", "Kind of these devices.")
    cache_gb: float = opt(4.0, "Memory of a machine for prepared scans.", min=0.1)


@command
def train(options: TrainOptions, session: Session) -> None:
    """Train a system by a recipe.

    Writes weights.safetensors for use, and losses.csv, tensorboard/, pictures/ to watch.

    Example: jssr train jssr-compact --data prepared --supervised prepared-supervised -o run
    """
    here = launched()
    session = session.of_process(here is None or here.rank == 0)
    run = session.run(jssr.train, on_note=session.show, **options.given())
    session.finish(run.to_dict(), f"trained; weights in {run.weights}")


@dataclass(frozen=True, kw_only=True)
class CohortCases(Out):
    """Cases of a cohort, and who works on them."""

    cohort: Path = arg("Cohort with labels or landmarks of its phases.")
    split: str = opt("test", "train, validation, test or all.")
    workers: int = opt(1, "Processes that share the cases; seconds are comparable with 1.", min=1)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Knobs, CohortCases):
    """What is measured."""


@command
def evaluate(options: EvaluateOptions, session: Session) -> None:
    """Measure a system on the cases of a cohort: Dice, HD95, ASD, TRE, folds, seconds, memory.

    Per case to CSV as it is done (an interrupted run continues), mean (sd) per phase in tables.md, with the rows
    initial and rigid beside, and the segmentor's Dice per phase; the same with pictures in report.html. Mutual
    information and SSIM are measured by `jssr benchmark --similarity` alone.

    Example: jssr evaluate cohort --split test --refine 40 -o evaluation
    """
    found = session.run(jssr.evaluate, **options.given())
    from jssr.cli.tables import summary_tables

    data = {"written": str(options.out), **found.to_dict()}
    session.finish(data, f"system: {found.system}", *summary_tables(found), f"written to {options.out}")


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(CohortCases):
    runs: list[Path] | None = opt(
        None, "Weights file or run folder of ours, or the name of weights that ship; may be repeated.", "--run"
    )
    refined: list[Path] | None = opt(None, "The same, with --refine steps on each pair.")
    refine: int = opt(20, "Steps for --refined.", min=1)
    peers: list[str] | None = opt(
        None,
        "discrete (discrete:DESCRIPTOR: with another one; discrete:PRESET), elastix, "
        "affine, syn-mi, syn-cc, greedy, greedy-mi, "
        "convexadam or deeds; may be repeated.",
        "--peer", "--tool", metavar="NAME",
    )  # fmt: skip
    synthesis: list[Path] | None = opt(None, "Run for table 2: its segmentor, its generator or both; may be repeated.")
    against: str | None = opt(None, "Row that the others are tested against; by default the first run.")
    fixed: str | None = opt(None, "Phase that the others are aligned to; by default the reference.")
    structures: list[str] | None = opt(
        None, "Structure with tables of its own; may be repeated; by default the liver.", "--structure"
    )
    similarity: bool = opt(
        False, "Also mutual information and SSIM of the moved and the fixed scan.", "--similarity", "--likeness"
    )
    picture: str | None = opt(None, "Case of figure 5; by default the first.")
    seed: int = opt(0, "Of the bootstrap.", min=0)
    threads: int | None = opt(None, "CPU threads; by default all cores.", min=1)


@command
def benchmark(options: BenchmarkOptions, session: Session) -> None:
    """Compare systems and peers on a cohort: tables 1 and 2, figures 4 and 5 of the JSSR paper, with tests.

    Every row is measured alike, from the scans themselves. An interrupted benchmark continues, and rows can be added
    to a finished one by naming them too. Writes results.csv, table2.csv, tables.md, figure4.png and figure5_PHASE.png.

    Example: jssr benchmark cohort -o comparison --run runs/jssr --refined runs/jssr --peer discrete --peer greedy
    """
    done = session.run(jssr.benchmark, **options.given())
    from jssr.cli.tables import summary_tables

    failed = [f"{method} failed on {case}, {phase}: {reason}" for method, case, phase, reason in done.failed]
    again = ["these pairs are in no mean; the same command tries them again"] if failed else []
    data, words = {"written": str(options.out), **done.to_dict()}, f"written to {options.out}"
    session.finish(data, *summary_tables(done), *done.notes, words, warnings=[*failed, *again])


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Options):
    folder: Path = arg("What register, align, demo or evaluate wrote.", metavar="DIR")


@command
def report(options: ReportOptions, session: Session) -> None:
    """Write report.html of a result or an evaluation again.

    Of a result the scans must still be where they were.

    Example: jssr report aligned
    """
    path = jssr.make_report(options.folder)
    session.finish({"written": str(path)}, f"written to {path}")


@dataclass(frozen=True, kw_only=True)
class InfoOptions(Options):
    checkpoint: Path | None = arg(
        "Weights file, run folder, or the name of weights that ship (by default jssr).", None,
        metavar="[CHECKPOINT]",
    )  # fmt: skip


@command
def info(options: InfoOptions, session: Session) -> None:
    """Show what a checkpoint is, what it was trained on, and how it scored; then the names of the weights that ship.

    Example: jssr info body-compact
    """
    found = jssr.info(options.checkpoint)
    from rich.markdown import Markdown

    from jssr.cli.lists import info_table
    from jssr.recipes.shipped import shipped_names

    shipped = f"weights that ship: {', '.join(shipped_names())}"
    session.finish(found.header, info_table(found), Markdown(found.card), shipped)
