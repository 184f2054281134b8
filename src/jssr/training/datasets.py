"""The datasets that a recipe's batches are drawn from."""

from __future__ import annotations

from typing import Protocol

from jssr.cohorts.prepared import prepared_pixels
from jssr.core.grid import dims_in_words
from jssr.errors import TrainingError
from jssr.io.cohort import Cohort
from jssr.io.images import read_grid
from jssr.recipes.config import Recipe
from jssr.systems.base import Batch
from jssr.training.pairs import PairDataset
from jssr.training.synthetic import DeformedPairs


class Dataset(Protocol):
    """What batches are drawn from."""

    def batch(self, step: int, need: frozenset[str], part: tuple[int, int] = (0, 1)) -> Batch:
        """The batch of a step on the CPU, with what `need` names, as `Stage.needs`.

        It depends on `step` and the dataset's own seed alone, never on earlier calls, so that a resumed run has no
        state of a loader to restore; and it may be called from several threads.

        Args:
            part: (k, n) gives the k-th of n equal parts of its samples, the same as in the whole batch; nothing is read
                for the others.
        """
        ...


def dataset_of(
    recipe: Recipe, cohort: Cohort, supervised: Cohort | None, cache_gb: float
) -> PairDataset | DeformedPairs:
    """The pairs of a cohort, or those that are made of its images where the recipe says so (`deform`).

    Args:
        cohort, supervised: prepared.
        cache_gb: memory for prepared scans.

    Raises:
        CohortError, TrainingError: as `PairDataset` and `DeformedPairs`, and for radiographs prepared for another
            recipe, or not at all.
    """
    _check_prepared(recipe, cohort, supervised)
    structures, to = recipe.network.structures, recipe.preprocessing
    if recipe.training.deform is not None:
        return DeformedPairs(cohort, structures, to.window, recipe.training, cache_gb=cache_gb)
    return PairDataset(cohort, supervised, structures, to, recipe.training, cache_gb=cache_gb)


def _check_prepared(recipe: Recipe, cohort: Cohort, supervised: Cohort | None) -> None:
    """Scans must be of the kind that the recipe takes, and lie on the grid that it works on."""
    n = read_grid(cohort.image(cohort.cases[0], cohort.reference_phase)).ndim
    if n not in recipe.preprocessing.dims:
        takes = dims_in_words(recipe.preprocessing.dims)
        raise TrainingError(f"{cohort.root}: holds {n}D images; recipe {recipe.name} takes {takes}")
    if n == 3 and recipe.training.deform is None:
        for part in (cohort, supervised):
            if part is not None:
                _check_grids(recipe, part)
    if n == 2 and prepared_pixels(cohort) != recipe.preprocessing.pixels:
        raise TrainingError(
            f"{cohort.root}: is not prepared for recipe {recipe.name}, which works on {recipe.preprocessing.pixels} "
            f"pixels; run jssr prepare COHORT -o PREPARED --recipe {recipe.name}"
        )


def _check_grids(recipe: Recipe, cohort: Cohort) -> None:
    """By their headers, a case's scans and label maps must lie on one grid, of the recipe's spacing."""
    prepare = f"run jssr prepare COHORT -o PREPARED --recipe {recipe.name}"
    for case in cohort.cases:
        grids = {phase: read_grid(cohort.image(case, phase)) for phase in case.images}
        first = next(iter(grids))
        for phase, grid in grids.items():
            file = cohort.image(case, phase)
            if any(abs(a - b) > 0.01 * b for a, b in zip(grid.spacing, recipe.preprocessing.spacing, strict=True)):
                found, due = ([f"{s:.4g}" for s in sizes] for sizes in (grid.spacing, recipe.preprocessing.spacing))
                raise TrainingError(
                    f"{file}: has voxels of {' x '.join(found)} mm, recipe {recipe.name} works at {' x '.join(due)}; "
                    f"{prepare}, or add --set 'preprocessing.spacing=[{', '.join(found)}]'"
                )
            if not grid.same_as(grids[first], tolerance=0.05):
                raise TrainingError(f"{file}: lies on another grid than the case's {first} scan; {prepare}")
            labels = case.labels.get(phase)
            if labels is not None and not read_grid(cohort.path(labels)).same_as(grid, tolerance=0.05):
                raise TrainingError(f"{cohort.path(labels)}: lies on another grid than its image; {prepare}")
