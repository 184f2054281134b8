"""Commands on cohorts: demo, phantom, check, prepare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

import jssr
from jssr.cli.options import Checkpoint, Device, Options, Out, Override, Refine, Rigid, Threads, command
from jssr.cli.session import Session, read_json

__all__ = ["check", "demo", "phantom", "prepare"]

CohortFolder = Annotated[
    Path, typer.Argument(help="Folder with cohort.json or the Decathlon's dataset.json.", metavar="COHORT")
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes.")]


@dataclass(frozen=True)
class DemoOptions(Options):
    """How the demo's patient is aligned."""

    checkpoint: Checkpoint = None
    refine: Refine = None
    device: Device = "cpu"
    threads: Threads = None


@command
def demo(
    options: DemoOptions,
    session: Session,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the patient and the results.")] = Path(
        "jssr-demo"
    ),
) -> None:
    """Make a phantom patient in four phases and align it to the venous phase with the shipped weights.

    Example: jssr demo -o demo
    """
    with session.progress() as show:
        done = jssr.demo(out, on_progress=show, **options.given())
    from jssr.cli.tables import study_table, study_warnings

    words = f"patient in {out / done.name}, report in {out / 'report.html'}"
    session.finish(read_json(out), *study_table(done), words, warnings=study_warnings(done))


@dataclass(frozen=True)
class PhantomOptions(Options):
    """What a phantom shows."""

    ct_and_labels: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--from",
            help="A real CT and its multi-organ label map: its anatomy, recoloured and moved.",
            metavar="CT LABELS",
        ),
    ] = None
    names: Annotated[
        Path | None,
        typer.Option(
            "--names", help="JSON of the organs' names (TotalSegmentator's), where LABELS does not hold them."
        ),
    ] = None
    population: Annotated[
        Literal["target", "supervised"],
        typer.Option(
            "--population", help="supervised: another population, labelled, venous unless --phases names others."
        ),
    ] = "target"
    anatomy: Annotated[
        Literal["abdomen", "pelvis", "thorax"],
        typer.Option("--anatomy", help="pelvis: CT and T2 MR, bladder and rectum change. thorax: radiographs."),
    ] = "abdomen"
    shape: Annotated[
        tuple[int, int, int] | None,
        typer.Option("--shape", help="Voxels of each scan; by default 128 128 64, of a pelvis 109 98 50."),
    ] = None
    slice_thickness: Annotated[
        float | None, typer.Option("--slice-thickness", help="mm; the number of slices follows from the coverage.")
    ] = None
    paired: Annotated[
        bool, typer.Option("--paired", help="Of two phases: each state also scanned as the other, to train `dual`.")
    ] = False


@command
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write the cohort to.", metavar="OUT")],
    options: PhantomOptions,
    session: Session,
    patients: Annotated[int, typer.Option("--patients", min=1, help="How many.")] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same bytes.")] = 0,
    phases: Annotated[
        str | None,
        typer.Option(
            "--phases",
            help="With commas, of non-contrast,arterial,venous,delay,t1,t2; a pelvis: ct,t2,t1; a thorax: visit1..5.",
        ),
    ] = None,
    workers: Workers = 2,
) -> None:
    """Make a cohort of phantom patients with exact ground truth.

    With --from, every patient is the one real CT, recoloured to the other phases organ by organ and moved by another
    known deformation.

    Example: jssr phantom cohort --patients 100 --seed 1

    Example: jssr phantom pelves --anatomy pelvis --patients 40 --seed 1 --paired

    Example: jssr phantom chests --anatomy thorax --patients 60 --seed 1

    Example: jssr phantom study --from ct.nii.gz organs.nii.gz --patients 10
    """
    chosen = tuple(p.strip() for p in phases.split(",")) if phases else None
    with session.progress() as show:
        made = jssr.make_phantom(
            out, patients, seed, phases=chosen, workers=workers, on_progress=show, **options.given()
        )
    session.finish({"written": str(out), "patients": len(made.cases)}, f"{len(made.cases)} patients written to {out}")


@command
def check(
    cohort: CohortFolder,
    session: Session,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", help="Also whether this recipe finds what it trains on; its spacing for the estimates."
        ),
    ] = None,
    override: Override = None,
) -> None:
    """Read every file of a cohort and report what is wrong: geometry, overlap, labels, intensities, copies.

    With --recipe also whether it has the phases, label maps and structures that the recipe trains on. Exits with 1 when
    something is wrong.

    Example: jssr check cohort --recipe macjnet-compact --set preprocessing.moving=mr
    """
    with session.progress() as show:
        report = jssr.check(cohort, recipe=recipe, overrides=override or (), on_progress=show)
    from jssr.cli.guard import REFUSED
    from jssr.cli.tables import check_tables

    session.finish(report.to_dict(), *check_tables(report))
    if not report.ok:
        typer.echo(f"error: {cohort}: {len(report.errors)} errors; the first: {report.errors[0].what}", err=True)
        raise typer.Exit(REFUSED)


@dataclass(frozen=True)
class PrepareOptions(Options):
    """How a cohort is prepared."""

    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose spacing and window to use.")] = "jssr-compact"
    spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--spacing", help="mm: --spacing 3 3 4. By default the recipe's."),
    ] = None
    rigid: Rigid = True
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Drop cases that fail.")] = False
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Then make paired ground truth for dual: SyN, then demons on the labels.")
    ] = False
    structures: Annotated[
        list[str] | None,
        typer.Option(
            "--structure", help="With --pairs: a structure whose labels lead; may be repeated; by default all."
        ),
    ] = None
    least_dice: Annotated[
        float | None,
        typer.Option("--least-dice", min=0, max=1, help="With --pairs: mean Dice that a pair must reach, 0.8."),
    ] = None


@command
def prepare(cohort: CohortFolder, out: Out, options: PrepareOptions, session: Session, workers: Workers = 2) -> None:
    """Put every case of a cohort onto one grid for training: rigid alignment, crop, window, resample.

    Cases that are done already are kept; an interrupted run continues. With --pairs, pairs whose organs still do not
    fit are dropped; paired.csv lists them.

    Example: jssr prepare cohort -o prepared
    """
    with session.progress() as show:
        done = jssr.prepare(cohort, out, workers=workers, on_progress=show, **options.given())
    from jssr.cli.tables import pairs_lines, pairs_rows

    cases = len(done.cohort.cases)
    data = {"written": str(out), "cases": cases, "pairs": pairs_rows(done.pairs)}
    session.finish(data, *pairs_lines(done.pairs), f"{cases} cases written to {out}")
