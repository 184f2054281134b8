"""Table 2 of the JSSR paper: synthesis judged by what segmentors make of it.

Every segmentor looks at every phase as it is ("non-synthesis") and as every generator shows it, on the networks' grid,
against the known labels of that phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from jssr.core.grid import dims_in_words
from jssr.core.resampling import resample
from jssr.core.volume import Volume
from jssr.errors import JssrError
from jssr.evaluation.alignment import rigid_of
from jssr.evaluation.methods import ON, model_of, run_name
from jssr.evaluation.runner import Method, Pair
from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.metrics.pair import evaluate_segmentation
from jssr.metrics.results import CaseResult
from jssr.preprocessing.prepare import PreparedPair, prepare_pair
from jssr.registration.full_size import largest_parts
from jssr.registration.model import Model

AS_IT_IS = "non-synthesis"


@dataclass(frozen=True)
class Synthesis(Method):
    """A segmentor (a run) on the scans as they are, or as a generator (another run) shows them."""

    segmentor: str = ""
    generator: str = ""

    def identity(self) -> dict[str, Any]:
        generator = model_of(self.generator).header.get("checksum") if self.generator else None
        return {"weights": model_of(self.segmentor).header.get("checksum"), "weights of the generator": generator}

    def measure(self, pair: Pair, done: Sequence[CaseResult]) -> list[CaseResult]:
        """Dice and the like of a moving scan, and once for each case of the fixed one."""
        cohort, case = pair.cohort, pair.case
        if pair.moving not in case.labels:
            return []
        y, x = pair.scan(pair.fixed), pair.scan(pair.moving)
        model = model_of(self.segmentor)
        to = model.recipe.preprocessing
        rigid = rigid_of(pair, y, x)
        prepared = prepare_pair(y, x, to.spacing, to.window, rigid, pixels=to.pixels)
        goal = resample(_labels(pair, pair.moving), prepared.grid, prepared.transform)
        image = _synthesised(model_of(self.generator), prepared) if self.generator else prepared.moving
        values = _judged(model, image, goal, cohort, moving=not self.generator)
        rows = [CaseResult(case.id, pair.moving, self.name, values)]
        if pair.fixed in case.labels and not any(row.phase == pair.fixed for row in done):
            goal = resample(_labels(pair, pair.fixed), prepared.grid)
            values = _judged(model, prepared.fixed, goal, cohort, moving=False)
            rows.append(CaseResult(case.id, pair.fixed, self.name, values))
        return rows


def synthesis_methods(sources: Sequence[str], n: int) -> list[Synthesis]:
    """Every segmentor of some runs of ours on the scans as they are, then through every generator of theirs.

    Refused: no segmentor among them, two of one name, scans of n axes that they do not take, or runs that do not share
    one grid and one intensity window.
    """
    runs = {run_name(source): source for source in sources}
    if len(runs) < len(sources):
        raise JssrError("two runs of --synthesis have one name; name the runs' folders differently")
    models = {name: model_of(source) for name, source in runs.items()}
    for name, model in models.items():
        if n not in model.recipe.preprocessing.dims:
            takes = dims_in_words(model.recipe.preprocessing.dims)
            raise JssrError(f"{name} takes {takes} images; the scans of this cohort are {n}D")
    grids = [m.recipe.preprocessing for m in models.values()]
    kinds = {(p.spacing, p.window, p.dims, p.pixels) for p in grids}
    if len(kinds) > 1:
        raise JssrError("table 2 needs runs of one spacing and window: a segmentor must read what a generator makes")
    segmentors, generators = (
        [name for name, m in models.items() if m.system.outputs.get(what) in m.system.networks]
        for what in ("segmentation", "synthesised")
    )
    if sources and not segmentors:
        raise JssrError("table 2 needs a segmentor among the runs of --synthesis")
    shown = {AS_IT_IS: "", **{name: runs[name] for name in generators}}
    return [Synthesis(f"{s}{ON}{g}", runs[s], source) for s in segmentors for g, source in shown.items()]


def split_row(method: str) -> tuple[str, str]:
    """Segmentor and generator of a row's name."""
    segmentor, _, generator = method.partition(ON)
    return segmentor, generator


def _labels(pair: Pair, phase: str) -> Volume:
    return read_image(pair.cohort.path(pair.case.labels[phase]), kind="labels")


def _synthesised(model: Model, pair: PreparedPair) -> Tensor:
    with model.computing(pair.grid):
        g = model.system.synthesise(pair.moving, pair.fixed).float().clone()
    return g * pair.moving_mask + pair.moving * (1 - pair.moving_mask)


def _judged(model: Model, image: Tensor, goal: Volume, cohort: Cohort, moving: bool) -> dict[str, float]:
    """A segmentor's values of an image; the moving modality's is asked of a moving scan as it is, where there are
    two."""
    with model.computing(goal.grid):
        found = (model.system.segment_moving if moving else model.system.segment)(image).float().clone()
    classes = largest_parts(found, model.pieces).argmax(dim=1)[0].numpy()
    return evaluate_segmentation(classes, goal, model.structures, cohort.structures(), distances=False)
