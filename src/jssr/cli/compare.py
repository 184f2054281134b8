"""The command that sets systems and peers side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jssr.cli import options as opt

__all__ = ["benchmark"]


def benchmark(
    cohort: Annotated[Path, typer.Argument(help="Cohort with labels or landmarks of its phases.", metavar="COHORT")],
    out: opt.Out,
    run: Annotated[
        list[Path] | None,
        typer.Option("--run", help="Weights file or run folder of ours, or jssr or jrsnet; may be repeated."),
    ] = None,
    refined: Annotated[
        list[Path] | None, typer.Option("--refined", help="The same, with --refine steps on each pair.")
    ] = None,
    refine: Annotated[int, typer.Option("--refine", min=1, help="Steps for --refined.")] = 20,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            "--tool",
            help="discrete (discrete:mind, discrete:macmind: with another descriptor), elastix, affine, syn-mi, "
            "syn-cc, greedy, greedy-mi, convexadam or deeds; may be repeated.",
            metavar="NAME",
        ),
    ] = None,
    synthesis: Annotated[
        list[Path] | None,
        typer.Option("--synthesis", help="Run for table 2: its segmentor, its generator or both; may be repeated."),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Row that the others are tested against; by default the first run.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="train, validation, test or all.")] = "test",
    fixed: Annotated[
        str | None, typer.Option("--fixed", help="Phase that the others are aligned to; by default the reference.")
    ] = None,
    structure: Annotated[
        list[str] | None,
        typer.Option("--structure", help="Structure with tables of its own; may be repeated; by default the liver."),
    ] = None,
    similarity: Annotated[
        bool,
        typer.Option(
            "--similarity", "--likeness", help="Also mutual information and SSIM of the moved and the fixed scan."
        ),
    ] = False,
    picture: Annotated[str | None, typer.Option("--picture", help="Case of figure 5; by default the first.")] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that share the cases; seconds are honest with 1.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    threads: opt.Threads = None,
    verbose: opt.Verbose = False,
) -> None:
    """Compare systems and peers on a cohort: tables 1 and 2, figures 4 and 5 of the JSSR paper, with tests.

    Every row is measured alike, from the scans themselves. An interrupted benchmark continues, and rows can be added
    to a finished one by naming them too. Writes results.csv, table2.csv, tables.md, figure4.png and figure5_PHASE.png.

    Example: jssr benchmark cohort -o comparison --run runs/jssr --refined runs/jssr --peer discrete --peer greedy
    """
    opt.prepare_session(threads, verbose)
    from jssr.cli.tables import case_bar, rich_table, warn_failed
    from jssr.evaluation import benchmark as engine
    from jssr.evaluation.methods import methods_of
    from jssr.io.cohort import Cohort
    from jssr.io.output import check_output
    from jssr.report.tables import PIXELS

    check_output(out)
    methods = methods_of([str(p) for p in run or []], [str(p) for p in refined or []], peer or [], refine)
    options = engine.BenchmarkOptions(
        split=split, fixed=fixed, synthesis=[str(p) for p in synthesis or []], against=against,
        structures=structure or (), similarity=similarity, picture=picture, workers=workers, seed=seed,
    )  # fmt: skip
    with case_bar() as on_case:
        found = engine.benchmark(Cohort.load(cohort), methods, out, options, on_case)
    screen = opt.console()
    for block in found.tables:
        screen.print(rich_table(block))
    for segmentor, blocks in found.second:
        screen.print(f"segmentor: {segmentor}")
        for block in blocks:
            screen.print(rich_table(block))
    if found.pixels:
        screen.print(PIXELS)
    warn_failed(found.failed)
    screen.print(f"written to {out}")
