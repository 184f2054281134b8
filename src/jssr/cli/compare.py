"""The command that sets systems and tools side by side."""

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
    tool: Annotated[
        list[str] | None,
        typer.Option(
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
    likeness: Annotated[
        bool, typer.Option("--likeness", help="Also mutual information and SSIM of the moved and the fixed scan.")
    ] = False,
    picture: Annotated[str | None, typer.Option("--picture", help="Case of figure 5; by default the first.")] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that share the cases; seconds are honest with 1.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    threads: opt.Threads = None,
    verbose: opt.Verbose = False,
) -> None:
    """Compare systems and tools on a cohort: tables 1 and 2, figures 4 and 5 of the JSSR paper, with tests.

    Every row is measured alike, from the scans themselves. An interrupted benchmark continues, and rows can be added
    to a finished one by naming them too. Writes results.csv, table2.csv, tables.md, figure4.png and figure5_PHASE.png.

    Example: jssr benchmark cohort -o comparison --run runs/jssr --refined runs/jssr --tool discrete --tool greedy
    """
    opt.prepare_session(threads, verbose)
    from jssr.cli.tables import rich_table
    from jssr.errors import JssrError, nearest
    from jssr.evaluation import benchmark as engine
    from jssr.evaluation import benchmark_report as output
    from jssr.evaluation.evaluate import cases_of, first_grid
    from jssr.evaluation.methods import BEFORE, contestants_of, run_name
    from jssr.evaluation.rows import failures, rows_markdown
    from jssr.evaluation.synthesis import TABLE, makers, note_makers, run_synthesis
    from jssr.io.cohort import Cohort
    from jssr.io.output import check_output
    from jssr.preprocessing.start2d import unknown_spacing
    from jssr.report.tables import PIXELS

    check_output(out)
    patients = Cohort.load(cohort)
    cases = cases_of(patients, split)
    contestants = contestants_of(
        [str(p) for p in run or []], [str(p) for p in refined or []], tool or [], refine, bool(synthesis)
    )
    named = {run_name(str(p)): str(p) for p in synthesis or []}
    if len(named) < len(synthesis or []):
        raise JssrError("two runs of --synthesis have one name; name the runs' folders differently")
    grid = first_grid(patients, cases, fixed or patients.reference_phase)
    segmentors, generators = makers(named, grid.ndim)
    if synthesis and not segmentors:
        raise JssrError("table 2 needs a segmentor among the runs of --synthesis")
    rows = [c.name for c in contestants]
    reference = against or rows[min(len(BEFORE), len(rows) - 1)]
    if reference not in rows:
        raise JssrError(f"--against {reference!r} is no row of this benchmark{nearest(reference, rows)}")
    known = [*patients.structures(), "mean"]
    for name in structure or []:
        if name not in known:
            raise JssrError(f"--structure {name!r}: the cohort knows none of that name{nearest(name, known)}")
    note_makers({**segmentors, **generators}, out)  # refused now, not after the hours of table 1
    with opt.progress() as bar:
        task = bar.add_task("benchmark", total=len(contestants) * len(cases))
        done = engine.run_benchmark(
            patients, contestants, out, split=split, fixed=fixed, workers=workers, picture=picture, likeness=likeness,
            on_case=lambda name, case: bar.update(task, advance=1, description=f"{name}: {case}"),
        )  # fmt: skip
        second = []
        if segmentors:
            task = bar.add_task("table 2", total=len(cases))
            second = run_synthesis(
                patients, segmentors, generators, out, split=split, fixed=fixed, workers=workers,
                on_case=lambda _: bar.advance(task),
            )  # fmt: skip
    folders = {c.name: out / "cases" / c.folder for c in contestants}
    failed = failures(folders | ({"table 2": out / TABLE} if segmentors else {}), cases)
    pixels = grid.ndim == 2 and unknown_spacing(grid)
    behind = output.Behind(rows_markdown(out, contestants, grid.ndim == 2), failed, pixels)
    output.write_tables(out, done, second, reference, seed, structure or (), behind)
    output.write_figures(out, patients, contestants, done, picture or cases[0].id, fixed or patients.reference_phase)
    screen = opt.console()
    for block in output.table_one(done, structure or ()):
        screen.print(rich_table(block))
    for segmentor, blocks in output.table_two(second):
        screen.print(f"segmentor: {segmentor}")
        for block in blocks:
            screen.print(rich_table(block))
    if pixels:
        screen.print(PIXELS)
    for name, case, phase, why in failed:
        typer.echo(f"warning: {name} failed on {case}, {phase}: {why}", err=True)
    if failed:
        typer.echo("warning: these pairs are in no mean; the same command tries them again", err=True)
    screen.print(f"written to {out}")
