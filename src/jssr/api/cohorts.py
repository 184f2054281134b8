"""Cohorts: files checked, cases prepared for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

from jssr.api.session import OnProgress, PathLike, begin
from jssr.cohorts import check as checks
from jssr.cohorts import prepare as preparation
from jssr.cohorts.check_report import CheckReport
from jssr.cohorts.paired import LEAST_DICE, Made, PairedOptions, check_pairs, make_paired
from jssr.errors import JssrError
from jssr.io.cohort import Cohort
from jssr.recipes.load import build_system, load_recipe

__all__ = ["PrepareOptions", "Prepared", "check", "cohort_of", "prepare"]


def cohort_of(cohort: Cohort | PathLike) -> Cohort:
    return cohort if isinstance(cohort, Cohort) else Cohort.load(cohort)


def check(
    cohort: Cohort | PathLike,
    *,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    on_progress: OnProgress | None = None,
) -> CheckReport:
    """Read every file of a cohort and find what is wrong: `jssr check`.

    Args:
        cohort: or its folder.
        recipe: also whether this recipe finds the phases, label maps and structures that it trains on.
        overrides: of the recipe: "preprocessing.moving=mr".
        on_progress: called with cases done, all cases, words.

    Returns:
        `ok`, `errors`, `warnings`, facts of each scan, and `to_dict()`.

    Raises:
        CohortError: no such cohort; RecipeError: no such recipe, or one that cannot be built.
    """
    plan = load_recipe(recipe or "jssr-compact", list(overrides))
    if recipe:
        build_system(plan)  # a recipe that cannot be built is refused before the scans are read
    spacing = plan.preprocessing.spacing
    return checks.check(cohort_of(cohort), plan if recipe else None, spacing, on_progress)


class PrepareOptions(TypedDict, total=False):
    """How a cohort is prepared."""

    recipe: str
    spacing: tuple[float, float, float] | None
    rigid: bool
    keep_going: bool
    structures: Sequence[str] | None
    least_dice: float | None


@dataclass(frozen=True)
class Prepared:
    """A prepared cohort, and what became of each pair where paired ground truth was made."""

    cohort: Cohort
    pairs: tuple[Made, ...] = ()


def prepare(
    cohort: Cohort | PathLike,
    out: PathLike,
    *,
    pairs: bool = False,
    workers: int = 2,
    on_progress: OnProgress | None = None,
    **options: Unpack[PrepareOptions],
) -> Prepared:
    """Put every case of a cohort onto one grid for training: `jssr prepare`.

    Rigid alignment, crop to the common field of view, window, resampling. Cases that are done already are kept.

    Args:
        cohort: or its folder.
        out: folder of the new cohort.
        pairs: then make paired ground truth for `dual`: SyN, then demons on the labels.
        workers: processes.
        on_progress: called with cases done, all cases, words.
        recipe: whose spacing and window to use; "jssr-compact" by default.
        spacing: mm along each axis; None takes the recipe's.
        rigid: align rigidly first.
        keep_going: drop cases that fail.
        structures: with `pairs`, whose labels lead; None takes all.
        least_dice: with `pairs`, the mean Dice that a pair must reach; 0.8 by default.

    Raises:
        CohortError: cases that failed, after all others were done; OutputError: `out` cannot be written.
    """
    begin(options, PrepareOptions)
    to = load_recipe(options.get("recipe") or "jssr-compact").preprocessing
    spacing = options.get("spacing")
    if spacing is not None and not all(0.1 <= s <= 100 for s in spacing):
        raise JssrError(f"--spacing: expected 0.1 to 100 mm along each axis, got {' '.join(f'{s:g}' for s in spacing)}")
    source = cohort_of(cohort)
    structures = options.get("structures")
    if pairs:
        check_pairs(source, structures)
    rigid, keep_going = options.get("rigid", True), options.get("keep_going", False)
    how = preparation.PrepareOptions(spacing or to.spacing, to.window, rigid, to.pixels, to.dims, workers, keep_going)
    done = preparation.prepare(source, out, how, on_progress)
    if not pairs:
        return Prepared(done)
    dice = options.get("least_dice")
    paired = PairedOptions(structures, LEAST_DICE if dice is None else dice, threads=workers)
    made = make_paired(done, paired, on_progress)
    return Prepared(Cohort.load(out), tuple(made))
