"""Commands on cohorts: demo, phantom, check, prepare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

import jssr
from jssr.cli.options import Alignment, Options, Out, RecipeChanges, arg, command, opt
from jssr.cli.session import Session, read_json


@dataclass(frozen=True, kw_only=True)
class DemoOptions(Alignment):
    out: Path = opt(Path("jssr-demo"), "Folder for the patient and the results.", "-o", "--out")
    system: str | None = opt(
        None, "By default the checkpoint's, else jssr, which also segments and synthesises.", metavar="NAME"
    )


@command
def demo(options: DemoOptions, session: Session) -> None:
    """Make a phantom patient in four phases and align it to the venous phase.

    The shipped network does it, because that also synthesises the moving scans and segments all of them.

    Example: jssr demo -o demo --system jssr
    """
    done = session.run(jssr.demo, **options.given())
    from jssr.cli.tables import doubts_of, study_table, study_warnings

    words = f"patient in {options.out / done.name}, report in {options.out / 'report.html'}"
    doubts = doubts_of(done.registrations)
    session.finish(read_json(options.out), *study_table(done), words, warnings=study_warnings(done), doubts=doubts)


@dataclass(frozen=True, kw_only=True)
class PhantomOptions(Options):
    out: Path = arg("Folder to write the cohort to.")
    patients: int = opt(10, "How many.", min=1)
    seed: int = opt(0, "Same seed, same bytes.", min=0)
    ct_and_labels: tuple[Path, Path] | None = opt(
        None, "A real CT and its multi-organ label map: its anatomy, recoloured and moved.", "--from",
        metavar="CT LABELS",
    )  # fmt: skip
    names: Path | None = opt(None, "JSON of the organs' names (TotalSegmentator's), where LABELS does not hold them.")
    population: Literal["target", "supervised"] = opt(
        "target", "supervised: another population, labelled, venous unless --phases names others."
    )
    anatomy: Literal["abdomen", "body", "pelvis", "thorax"] = opt(
        "abdomen", "body: neck to thighs. pelvis: CT and T2 MR, bladder and rectum change. thorax: radiographs."
    )
    field: tuple[float, float] | None = opt(
        None, "Of a body: lowest and highest slice, mm above the middle of L1: --field -60 140.", metavar="LOW HIGH"
    )
    phases: str | None = opt(
        None, "With commas, of non-contrast,arterial,venous,delay,t1,t2; a pelvis: ct,t2,t1; a thorax: visit1..5."
    )
    shape: tuple[int, int, int] | None = opt(
        None,
        "Voxels of each scan: --shape 64 64 32. By default 128 128 64, of a body 128 128 160, of a pelvis 109 98 50.",
    )
    slice_thickness: float | None = opt(None, "mm; the number of slices follows from the coverage.")
    paired: bool = opt(False, "With two phases: each state also scanned as the other, to train `dual`.")
    workers: int = opt(2, "Processes.", min=1)


@command
def phantom(options: PhantomOptions, session: Session) -> None:
    """Make a cohort of phantom patients with exact ground truth.

    With --from, every patient is the one real CT, recoloured to the other phases organ by organ and moved by another
    known deformation.

    Example: jssr phantom cohort --patients 100 --seed 1

    Example: jssr phantom pelves --anatomy pelvis --patients 40 --seed 1 --paired

    Example: jssr phantom chests --anatomy thorax --patients 60 --seed 1

    Example: jssr phantom study --from ct.nii.gz organs.nii.gz --patients 10
    """
    phases = tuple(p.strip() for p in options.phases.split(",")) if options.phases else None
    made = session.run(jssr.make_phantom, **options.given() | {"phases": phases})
    count = len(made.cases)
    session.finish({"written": str(options.out), "patients": count}, f"{count} patients written to {options.out}")


@dataclass(frozen=True, kw_only=True)
class CohortFolder(Options):
    """A cohort to be trained on."""

    cohort: Path = arg("Folder with cohort.json, or dataset.json of the Decathlon or nnU-Net.")


@dataclass(frozen=True, kw_only=True)
class CheckOptions(RecipeChanges, CohortFolder):
    recipe: str | None = opt(None, "Also whether this recipe finds what it trains on; its spacing for the estimates.")


@command
def check(options: CheckOptions, session: Session) -> None:
    """Read every file of a cohort and report what is wrong: geometry, overlap, labels, intensities, copies.

    With --recipe also whether it has the phases, label maps and structures that the recipe trains on. Exits with 1 when
    something is wrong.

    Example: jssr check cohort --recipe macjnet-compact --set preprocessing.moving=mr
    """
    report = session.run(jssr.check, **options.given())
    from jssr.cli.guard import REFUSED
    from jssr.cli.tables import check_tables

    found = len(report.warnings) if report.ok else 0
    doubts = [f"{found} warning{'' if found == 1 else 's'} of the cohort"] if found else []
    session.finish(report.to_dict(), *check_tables(report), doubts=doubts)
    if not report.ok:
        first = report.errors[0].what
        typer.echo(f"error: {options.cohort}: {len(report.errors)} errors; the first: {first}", err=True)
        raise typer.Exit(REFUSED)


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(Out, CohortFolder):
    recipe: str = opt("jssr-compact", "Recipe whose spacing and window to use.")
    spacing: tuple[float, float, float] | None = opt(None, "mm: --spacing 3 3 4. By default the recipe's.")
    rigid: bool = opt(True, "Align rigidly first, or trust the headers.")
    keep_going: bool = opt(False, "Drop cases that fail, with a warning for each.")
    pairs: bool = opt(False, "Then make paired ground truth for dual: SyN, then demons on the labels.")
    structures: list[str] | None = opt(
        None, "With --pairs: a structure whose labels lead; may be repeated; by default all.", "--structure"
    )
    least_dice: float | None = opt(None, "With --pairs: mean Dice that a pair must reach, 0.8.", min=0, max=1)
    workers: int = opt(2, "Processes.", min=1)


@command
def prepare(options: PrepareOptions, session: Session) -> None:
    """Put every case of a cohort onto one grid for training: rigid alignment, crop, window, resample.

    Cases that are done already are kept; an interrupted run continues. With --pairs, pairs whose organs still do not
    fit are dropped; paired.csv lists them.

    Example: jssr prepare cohort -o prepared
    """
    done = session.run(jssr.prepare, **options.given())
    from jssr.cli.tables import pairs_lines, pairs_rows

    cases, out = len(done.cohort.cases), options.out
    data = {"written": str(out), "cases": cases, "pairs": pairs_rows(done.pairs)}
    session.finish(data, *pairs_lines(done.pairs), f"{cases} cases written to {out}")
