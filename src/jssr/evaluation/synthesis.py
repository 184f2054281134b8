"""Table 2 of the paper: synthesis judged by what segmentors make of it.

Every segmentor looks at every phase as it is ("non-synthesis") and as every generator shows it, on the networks' grid,
against the known labels of that phase.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from jssr.core.grid import dims_in_words
from jssr.core.processes import in_processes
from jssr.core.transform import resample
from jssr.core.volume import Volume
from jssr.errors import JssrError
from jssr.evaluation.benchmark import rigid_of
from jssr.evaluation.evaluate import cases_of
from jssr.evaluation.methods import ON, model_of
from jssr.evaluation.rows import attempt, is_measured, keep
from jssr.evaluation.settings import same_settings
from jssr.io.atomic import make_folder
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_image
from jssr.metrics.pair import evaluate_segmentation
from jssr.metrics.results import CaseResult
from jssr.preprocessing.prepare import PreparedPair, prepare_pair
from jssr.registration.components import largest_parts
from jssr.registration.model import Model
from jssr.report.tables import read_csv, write_csv

__all__ = ["AS_IT_IS", "TABLE", "makers", "note_makers", "run_synthesis", "split_row"]

AS_IT_IS = "non-synthesis"
TABLE = "table2"
"""Its folder."""


def makers(runs: Mapping[str, str], n: int) -> tuple[dict[str, str], dict[str, str]]:
    """Which of the runs (name to source) have a segmentor, and which a generator.

    Args:
        n: axes of the cohort's scans.

    Raises:
        JssrError: they take no such scans, or do not share one grid and one intensity window.
    """
    models = {name: model_of(source) for name, source in runs.items()}
    for name, model in models.items():
        dims = model.recipe.preprocessing.dims
        if n not in dims:
            raise JssrError(f"{name} takes {dims_in_words(dims)} images; the scans of this cohort are {n}D")
    grids = [m.recipe.preprocessing for m in models.values()]
    kinds = {(p.spacing, p.window, p.dims, p.pixels) for p in grids}
    if len(kinds) > 1:
        raise JssrError("table 2 needs runs of one spacing and window: a segmentor must read what a generator makes")
    return tuple(  # type: ignore[return-value]
        {
            name: runs[name]
            for name, m in models.items()
            if what in m.system.outputs and m.system.outputs[what] in m.system.networks
        }
        for what in ("segmentation", "synthesised")
    )


def split_row(method: str) -> tuple[str, str]:
    """Segmentor and generator of a row's name."""
    segmentor, _, generator = method.partition(ON)
    return segmentor, generator


def run_synthesis(
    cohort: Cohort,
    segmentors: Mapping[str, str],
    generators: Mapping[str, str],
    out: Path,
    *,
    split: str = "test",
    fixed: str | None = None,
    workers: int = 1,
    on_case: Callable[[str], None] | None = None,
) -> list[CaseResult]:
    """Dice of every segmentor on every phase, as it is and through every generator.

    A scan that fails is left out and told (`engine.rows`). Leaves `table2/ID.csv` as each case is done, and
    `table2.csv`.

    Args:
        segmentors, generators: of `makers`.
        split, fixed, workers: as in `run_benchmark`.
        on_case: called with the id of each case when it is done.
    """
    cases = [case for case in cases_of(cohort, split) if case.labels]
    note_makers({**segmentors, **generators}, out)
    folder = make_folder(out / TABLE)
    reference_phase = fixed or cohort.reference_phase
    wanted = [f"{s}{ON}{g}" for s in segmentors for g in (AS_IT_IS, *generators)]
    todo = [case for case in cases if not _complete(folder, case.id, wanted)]
    job = partial(_case, cohort, dict(segmentors), dict(generators), reference_phase, out)
    for case, _ in in_processes(job, todo, workers):
        if on_case is not None:
            on_case(case.id)
    results = [r for case in cases for r in read_csv(folder / f"{case.id}.csv") if r.method in wanted]
    write_csv(results, out / "table2.csv")
    return results


def note_makers(runs: Mapping[str, str], out: Path) -> None:
    """Write down of which weights table 2 is.

    Raises:
        OutputError: it is of others.
    """
    for name, source in runs.items():
        place = make_folder(out / TABLE / "runs" / name)
        same_settings(place, {"weights": model_of(source).header.get("checksum")}, "row.json")


def _complete(folder: Path, id: str, wanted: Sequence[str]) -> bool:
    return is_measured(folder, id) and set(wanted) <= {r.method for r in read_csv(folder / f"{id}.csv")}


def _case(
    cohort: Cohort, segmentors: dict[str, str], generators: dict[str, str], reference_phase: str, out: Path, case: Case
) -> None:
    results: list[CaseResult] = []
    failed: dict[str, str] = {}
    for phase in (p for p in case.images if p != reference_phase and p in case.labels):
        known = any(r.phase == reference_phase for r in results)
        found, wrong = attempt(
            partial(_phase, cohort, segmentors, generators, reference_phase, out, case, phase, not known)
        )
        if found is None:
            failed[phase] = wrong
        else:
            results += found
    keep(out / TABLE, case.id, results, failed)


def _phase(
    cohort: Cohort,
    segmentors: dict[str, str],
    generators: dict[str, str],
    reference_phase: str,
    out: Path,
    case: Case,
    phase: str,
    reference_too: bool,
) -> list[CaseResult]:
    """A moving scan under everybody, and the reference phase's if that is asked for."""
    y, x = (read_image(cohort.path(case.images[p])) for p in (reference_phase, phase))
    to = model_of(next(iter(segmentors.values()))).recipe.preprocessing
    rigid = rigid_of(y, x, out / "rigid" / f"{case.id}_{phase}.json")
    pair = prepare_pair(y, x, to.spacing, to.window, found=rigid, flat=to.pixels)
    images = {AS_IT_IS: pair.moving}
    images |= {name: _synthesised(model_of(source), pair) for name, source in generators.items()}
    results = []
    goal = resample(read_image(cohort.path(case.labels[phase]), kind="labels"), pair.grid, pair.transform)
    for s, source in segmentors.items():
        for g, image in images.items():
            values = _dice(model_of(source), image, goal, cohort, moving=g == AS_IT_IS)
            results.append(CaseResult(case.id, phase, f"{s}{ON}{g}", values))
    if reference_too and reference_phase in case.labels:
        goal = resample(read_image(cohort.path(case.labels[reference_phase]), kind="labels"), pair.grid)
        for s, source in segmentors.items():
            values = _dice(model_of(source), pair.fixed, goal, cohort, moving=False)
            results += [CaseResult(case.id, reference_phase, f"{s}{ON}{g}", values) for g in images]
    return results


def _synthesised(model: Model, pair: PreparedPair) -> Tensor:
    with model.computing():
        g = model.system.synthesise(pair.moving, pair.fixed).float().clone()
    return g * pair.moving_mask + pair.moving * (1 - pair.moving_mask)


def _dice(model: Model, image: Tensor, goal: Volume, cohort: Cohort, moving: bool) -> dict[str, float]:
    """Of a moving scan as it is, the moving modality's segmentor speaks, where there are two."""
    with model.computing():
        said = (model.system.segment_moving if moving else model.system.segment)(image).float().clone()
    classes = largest_parts(said, model.pieces).argmax(dim=1)
    return evaluate_segmentation(classes[0].numpy(), goal, model.structures, cohort.structures(), distances=False)
