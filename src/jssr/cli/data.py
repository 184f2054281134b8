"""Commands that make and prepare data: phantom, check, prepare."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jssr.cli import options as opt

if TYPE_CHECKING:
    from jssr.io.cohort import Cohort

__all__ = ["check", "phantom", "prepare"]

CohortFolder = Annotated[
    Path, typer.Argument(help="Folder with cohort.json or the Decathlon's dataset.json.", metavar="COHORT")
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes.")]


class Population(StrEnum):
    target = "target"
    supervised = "supervised"


class Anatomy(StrEnum):
    abdomen = "abdomen"
    pelvis = "pelvis"
    thorax = "thorax"


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write the cohort to.", metavar="OUT")],
    patients: Annotated[int, typer.Option("--patients", min=1, help="How many.")] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same bytes.")] = 0,
    source: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--from",
            help="A real CT and its multi-organ label map: its anatomy, recoloured and moved.",
            metavar="CT LABELS",
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            "--names", help="JSON of the organs' names (TotalSegmentator's), where LABELS does not hold them."
        ),
    ] = None,
    population: Annotated[
        Population,
        typer.Option(
            "--population", help="supervised: another population, venous unless --phases says otherwise, labelled."
        ),
    ] = Population.target,
    anatomy: Annotated[
        Anatomy, typer.Option("--anatomy", help="pelvis: CT and T2 MR, bladder and rectum change. thorax: radiographs.")
    ] = Anatomy.abdomen,
    phases: Annotated[
        str | None,
        typer.Option(
            "--phases",
            help="With commas, of non-contrast,arterial,venous,delay,t1,t2; a pelvis: ct,t2,t1; a thorax: visit1..5.",
        ),
    ] = None,
    shape: Annotated[
        tuple[int, int, int] | None,
        typer.Option("--shape", help="Voxels of each scan; by default 128 128 64, of a pelvis 109 98 50."),
    ] = None,
    slice_thickness: Annotated[
        float | None, typer.Option("--slice-thickness", help="mm; the number of slices follows from the coverage.")
    ] = None,
    paired: Annotated[
        bool, typer.Option("--paired", help="Of two phases: each state also scanned as the other, to train `dual`.")
    ] = False,
    workers: Workers = 2,
    verbose: opt.Verbose = False,
) -> None:
    """Make a cohort of phantom patients with exact ground truth.

    With --from, every patient is the one real CT, recoloured to the other phases organ by organ and moved by another
    known deformation.

    Example: jssr phantom cohort --patients 100 --seed 1

    Example: jssr phantom pelves --anatomy pelvis --patients 40 --seed 1 --paired

    Example: jssr phantom chests --anatomy thorax --patients 60 --seed 1

    Example: jssr phantom study --from ct.nii.gz organs.nii.gz --patients 10
    """
    opt.prepare_session(None, verbose)
    from jssr.errors import JssrError
    from jssr.phantom.writer import write_cohort

    if source is not None and (paired or anatomy is not Anatomy.abdomen or shape is not None):
        raise JssrError("--from takes the CT as it is: leave out --paired, --anatomy and --shape")
    chosen = _phases(phases, anatomy.value)
    try:
        if source is None:
            made = write_cohort(
                out, patients, seed, population.value, shape, chosen, slice_thickness, workers=workers, paired=paired,
                anatomy=anatomy.value,
            )  # fmt: skip
        else:
            made = _recoloured(out, source, names, patients, seed, chosen, workers)
    except ValueError as error:  # the phantom's own words about its arguments
        raise JssrError(str(error)) from error
    opt.console().print(f"{len(made.cases)} patients written to {out}")


def _phases(text: str | None, anatomy: str) -> tuple[str, ...] | None:
    """The phases of a list with commas; unknown ones are refused before any process is started."""
    from jssr.errors import CohortError, nearest
    from jssr.phantom.pelvic_study import PELVIC_PHASES
    from jssr.phantom.study import CT_PHASES, MR_PHASES
    from jssr.phantom.thorax_study import VISITS

    chosen = tuple(p.strip() for p in text.split(",")) if text else None
    known = {"pelvis": PELVIC_PHASES, "thorax": VISITS}.get(anatomy, (*CT_PHASES, *MR_PHASES))
    for phase in chosen or ():
        if phase not in known:
            raise CohortError(f"unknown phase {phase!r}{nearest(phase, known)}")
    return chosen


def _recoloured(
    out: Path,
    source: tuple[Path, Path],
    names: Path | None,
    patients: int,
    seed: int,
    phases: tuple[str, ...] | None,
    workers: int,
) -> Cohort:
    from jssr.io.images import read_image
    from jssr.phantom.atlas import read_label_names
    from jssr.phantom.recolour import write_recoloured
    from jssr.phantom.study import CT_PHASES
    from jssr.preprocessing.prepare import check_labels

    # What is wrong with the files is said here, before worker processes say it.
    check_labels(read_image(source[1], "labels", 3), read_image(source[0], ndim=3))
    known = read_label_names(names or source[1])
    return write_recoloured(out, *source, known, patients, seed, phases or CT_PHASES, workers=workers)


def check(
    cohort: CohortFolder,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="Also whether this recipe finds what it learns from; its spacing for estimates."),
    ] = None,
    override: opt.Override = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data instead of tables.")] = False,
    verbose: opt.Verbose = False,
) -> None:
    """Read every file of a cohort and say what is wrong: geometry, overlap, labels, intensities, copies.

    With --recipe also whether it has the phases, label maps and structures that the recipe trains on. Exits with 2 when
    something is wrong.

    Example: jssr check cohort --recipe macjnet-compact --set preprocessing.moving=mr
    """
    opt.prepare_session(None, verbose)
    from jssr.cohorts.check import check_cohort
    from jssr.cohorts.check_use import Use
    from jssr.io.cohort import Cohort
    from jssr.recipes.load import build_system, load_recipe

    plan = load_recipe(recipe or "jssr-compact", override or [])
    use = None
    if recipe:
        build_system(plan)  # a recipe that cannot be built is said before the scans are read
        to, training = plan.preprocessing, plan.training
        use = Use(
            plan.name, to.reference_phase, to.moving, plan.network.structures, training.needs, to.dims,
            training.deform is not None, training.labelled,
        )  # fmt: skip
    report = check_cohort(Cohort.load(cohort), plan.preprocessing.spacing, progress=not as_json, use=use)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=1))
    else:
        opt.console().print(report.render())
    if not report.ok:
        typer.echo(f"error: {cohort}: {len(report.errors)} errors; the first: {report.errors[0].what}", err=True)
        raise typer.Exit(2)


def prepare(
    cohort: CohortFolder,
    out: opt.Out,
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose spacing and window to use.")] = "jssr-compact",
    spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--spacing", help="mm: --spacing 3 3 4. By default the recipe's."),
    ] = None,
    rigid: opt.Rigid = True,
    workers: Workers = 2,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Leave out cases that fail.")] = False,
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Then make counterparts of both scans for dual: SyN, then demons on the labels."),
    ] = False,
    structure: Annotated[
        list[str] | None,
        typer.Option(
            "--structure", help="With --pairs: a structure whose labels lead; may be repeated; by default all."
        ),
    ] = None,
    least_dice: Annotated[
        float | None,
        typer.Option("--least-dice", min=0, max=1, help="With --pairs: mean Dice that a pair must reach, 0.8."),
    ] = None,
    verbose: opt.Verbose = False,
) -> None:
    """Put every case of a cohort onto one grid for training: rigid pre-alignment, crop, window, resample.

    Cases that are done already are kept; an interrupted run continues. With --pairs, pairs whose organs still do not
    fit are left out; counterparts.csv says which.

    Example: jssr prepare cohort -o prepared
    """
    opt.prepare_session(None, verbose)
    from jssr.cohorts.prepare import prepare_cohort
    from jssr.errors import JssrError
    from jssr.io.cohort import Cohort
    from jssr.recipes.load import load_recipe

    plan = load_recipe(recipe)
    if spacing is not None and not all(0.1 <= s <= 100 for s in spacing):
        raise JssrError(f"--spacing: 0.1 to 100 mm along each axis, got {' '.join(f'{s:g}' for s in spacing)}")
    source = Cohort.load(cohort)
    if pairs:
        from jssr.cohorts.paired import check_pairs

        check_pairs(source, structure)
    done = prepare_cohort(
        source,
        out,
        spacing or plan.preprocessing.spacing,
        plan.preprocessing.window,
        rigid,
        workers,
        keep_going=keep_going,
        flat=plan.preprocessing.pixels,
        dims=plan.preprocessing.dims,
    )
    if pairs:
        _make_pairs(done, structure, least_dice, workers)
    opt.console().print(f"{len(Cohort.load(out).cases)} cases written to {out}")


def _make_pairs(done: Cohort, structures: list[str] | None, least_dice: float | None, threads: int) -> None:
    from jssr.cohorts.paired import LEAST_DICE, make_counterparts, training_cases

    with opt.progress() as bar:
        task = bar.add_task("pairs", total=len(training_cases(done)))
        made = make_counterparts(
            done,
            structures,
            LEAST_DICE if least_dice is None else least_dice,
            threads=threads,
            on_case=lambda one: bar.advance(task),
        )
    for one in made:
        state = "kept" if one.kept else "left out"
        told = f"Dice {one.before:.3f}, by SyN {one.syn:.3f}, by demons {one.demons:.3f} (worst {one.worst:.3f})"
        opt.console().print(f"{one.case}: {told}, folds {one.folds:.2f} %: {state}")
    opt.console().print(f"{sum(one.kept for one in made)} of {len(made)} pairs kept")
