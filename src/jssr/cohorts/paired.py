"""Paired ground truth of two scans, made by careful registration: the training data of `dual` (Cao et al. 2018).

Both scans of a training pair are registered by SyN with mutual information, and then by demons on their label maps, as
the paper's section 3 has it. Where SyN makes the label maps fit worse than before, the demons begin without it. Through
the transform each scan is brought onto the other: what looks as one modality and lies on the other. Pairs whose organs
still do not fit are dropped, and a table lists which and why.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields

import numpy as np
import SimpleITK as sitk
import torch

from jssr.cohorts.prepare import PAIRED
from jssr.cohorts.prepared import PREPARED, class_values
from jssr.cohorts.store import Store
from jssr.core.bridges import to_sitk
from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.transform import Affine, Chain, Displacement
from jssr.core.volume import Volume
from jssr.errors import CohortError, JssrError
from jssr.io.cohort import Case, Cohort, cases_of_split
from jssr.io.files import atomic_path
from jssr.io.images import read_image, write_image
from jssr.metrics.masks import dice, mask_of
from jssr.metrics.transforms import regularity
from jssr.peers import PEERS
from jssr.preprocessing.intensity import NO_DATA

LEAST_DICE, MOST_FOLDS = 0.80, 0.5
STEPS, SIGMA_VOXELS = 100, 1.0
REPORT = "paired.csv"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """What became of a pair: mean Dice of the labels before, after SyN and after demons, the worst structure's after
    demons; folded cells in per cent."""

    case: str
    before: float
    syn: float
    demons: float
    worst: float
    folds: float
    kept: bool


@dataclass(frozen=True)
class PairedOptions:
    """How paired ground truth is made.

    Attributes:
        structures: whose labels lead; None takes all that the cohort names.
        least_dice, most_folds: what a pair must reach to be kept: mean Dice, and per cent of folded cells at most.
        threads: of SyN; with one it repeats bit for bit.
    """

    structures: Sequence[str] | None = None
    least_dice: float = LEAST_DICE
    most_folds: float = MOST_FOLDS
    threads: int = 1


def check_pairs(cohort: Cohort, structures: Sequence[str] | None = None) -> dict[str, tuple[int, ...]]:
    """The label values of each structure that leads, after a check that paired ground truth can be made of a cohort.

    Raises:
        CohortError: other than two phases, a training pair without label maps, an unknown structure.
        JssrError: ANTs is not installed.
    """
    lacks = PEERS["syn-mi"].lacks()
    if lacks:
        raise JssrError(f"paired ground truth needs ANTs: {lacks}")
    if len(cohort.phases) != 2:
        raise CohortError(f"{cohort.root}: paired ground truth needs two phases, not {', '.join(cohort.phases)}")
    known = cohort.structures()
    values = class_values(cohort, structures or list(known))
    for case in cases_of_split(cohort, "train"):
        if not set(cohort.phases) <= set(case.images) & set(case.labels):
            both = " or ".join(cohort.phases)
            raise CohortError(f"{cohort.root}: case {case.id} lacks a scan or a label map of {both}")
    return dict(zip(structures or known, values, strict=True))


def make_paired(
    cohort: Cohort,
    options: PairedOptions | None = None,
    on_case: Callable[[int, int, str], None] | None = None,
) -> list[Made]:
    """Give every training pair of a prepared cohort its paired ground truth, in place: `paired` of `cohort.json`.

    Writes ID/PHASE_paired.nii.gz and ID/paired.json as each pair is done (what is there for the same files and options
    is not done again), `paired.csv`, and the cohort without the training pairs that were rejected. Pairs that have
    paired ground truth of their own, as phantoms have, stay as they are.

    Raises:
        CohortError: as `check_pairs`, or no pair that fits.
        JssrError: ANTs is not installed.
    """
    options = options or PairedOptions()
    values = check_pairs(cohort, options.structures)
    store, cases = Store(cohort.root, PAIRED), cases_of_split(cohort, "train")
    done = []
    for number, case in enumerate(cases, start=1):
        if not set(cohort.phases) <= set(case.paired) or store.file(case.id).is_file():
            done.append(_kept_or_made(cohort, case, values, options))
        if on_case is not None:
            on_case(number, len(cases), case.id)
    return _finished(cohort, done)


def _finished(cohort: Cohort, done: list[Made]) -> list[Made]:
    with atomic_path(cohort.root / REPORT) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([f.name for f in fields(Made)])
        writer.writerows(astuple(made) for made in done)
    good, bad = ({made.case for made in done if made.kept is kept} for kept in (True, False))
    _note(cohort, good)
    if done and not good:
        raise CohortError(f"{cohort.root}: no pair fits well enough to learn from; see {REPORT}")
    cohort.model_copy(update={"cases": [case for case in cohort.cases if case.id not in bad]}).save()
    return done


def _note(cohort: Cohort, good: set[str]) -> None:
    """Note in prepared.json how paired ground truth is stored: as the scan that it was made of."""
    file = cohort.root / PREPARED
    if not file.is_file():
        return
    prepared = json.loads(file.read_text(encoding="utf-8"))
    first, second = cohort.phases
    for name in good:
        phases = prepared["cases"][name]["phases"]
        prepared["cases"][name]["paired"] = {first: phases[second], second: phases[first]}
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(prepared, indent=1) + "\n", encoding="utf-8")


def _kept_or_made(cohort: Cohort, case: Case, values: Mapping[str, Sequence[int]], options: PairedOptions) -> Made:
    """What was made of a pair before, where files and options are the same; else it is made now."""
    store = Store(cohort.root, PAIRED)
    case.paired.clear()
    key = {
        "files": cohort.files_of(case),
        "structures": sorted((name, list(v)) for name, v in values.items()),
        "limits": [options.least_dice, options.most_folds],
        "demons": [STEPS, SIGMA_VOXELS],
    }
    before = store.find(case.id, key)
    if before is not None:
        case.paired.update(before["paired"])
        return Made(**before["made"])
    store.forget(case.id)
    made = _make(cohort, case, values, options)
    paired = dict(case.paired)
    store.keep(case.id, key, {"made": asdict(made), "paired": paired}, files=list(paired.values()))
    return made


def _make(cohort: Cohort, case: Case, values: Mapping[str, Sequence[int]], options: PairedOptions) -> Made:
    reference_phase = cohort.reference_phase
    other = next(phase for phase in cohort.phases if phase != reference_phase)
    y, x = (_Scan.of(read_image(cohort.image(case, phase), ndim=3)) for phase in (reference_phase, other))
    p_y, p_x = (read_image(cohort.path(case.labels[phase]), "labels") for phase in (reference_phase, other))
    if not any(mask_of(p_y.array, v).any() and mask_of(p_x.array, v).any() for v in values.values()):
        log.warning("%s: its label maps have no structure in common", case.id)
        return Made(case.id, 0.0, 0.0, 0.0, 0.0, 0.0, kept=False)
    syn = _syn(y.image, x.image, options.threads, case.id)
    before, by_syn = (_overlap(p_y, resample(p_x, y.grid, t), values) for t in (None, syn))
    if by_syn < before:  # what follows begins where the scans were
        syn = Affine.identity(3).displacement(y.grid)
    after = resample(p_x, y.grid, syn)
    # A point goes through the demons first: they move the warped labels onto the fixed ones.
    found = Chain(_demons(p_y, after, values), syn).displacement(y.grid)
    moved = resample(p_x, y.grid, found)
    by_demons, worst = _overlap(p_y, moved, values), _overlap(p_y, moved, values, np.nanmin)
    folds = regularity(found).folds
    kept = by_demons >= options.least_dice and folds <= options.most_folds
    if kept:
        both = {reference_phase: x.moved(y.grid, found), other: y.moved(x.grid, found.inverse(x.grid))}
        for phase, volume in both.items():
            case.paired[phase] = f"{case.id}/{phase}_paired.nii.gz"
            write_image(volume, cohort.path(case.paired[phase]), "int16")
    numbers = {"before": before, "syn": by_syn, "demons": by_demons, "worst": worst, "folds": folds}
    return Made(case=case.id, kept=kept, **{name: round(value, 4) for name, value in numbers.items()})


def _syn(fixed: Volume, moving: Volume, threads: int, name: str) -> Displacement:
    try:
        return PEERS["syn-mi"].run(fixed, moving, Affine.identity(3), threads).displacement(fixed.grid)
    except Exception as error:  # whatever ANTs stops with: one pair must not take the others with it
        log.warning("%s: SyN stopped (%s); the demons begin without it", name, error)
        return Affine.identity(3).displacement(fixed.grid)


@dataclass(frozen=True, eq=False)
class _Scan:
    """A prepared scan without its mark for no data, and where it has data."""

    image: Volume
    mask: Volume

    @classmethod
    def of(cls, stored: Volume) -> _Scan:
        known = stored.data > NO_DATA
        low = float(stored.data[known].min()) if bool(known.any()) else 0.0
        filled = torch.where(known, stored.data.float(), low)
        return cls(stored.with_data(filled), stored.with_data(known.float()))

    @property
    def grid(self) -> Grid:
        return self.image.grid

    def moved(self, grid: Grid, transform: Displacement) -> Volume:
        """Through a map, as a prepared scan again."""
        known = resample(self.mask, grid, transform, fill=0.0).data > 0.5
        moved = resample(self.image, grid, transform)
        return moved.with_data(torch.where(known, moved.data.round(), float(NO_DATA)))


def _overlap(
    fixed: Volume, moved: Volume, values: Mapping[str, Sequence[int]], of: Callable[[list[float]], float] = np.nanmean
) -> float:
    return float(of([dice(mask_of(fixed.array, v), mask_of(moved.array, v)) for v in values.values()]))


def _demons(fixed: Volume, moving: Volume, values: Mapping[str, Sequence[int]]) -> Displacement:
    """Diffeomorphic demons (Vercauteren et al. 2007) on label maps made smooth, on one grid."""
    images = [
        sitk.SmoothingRecursiveGaussian(_levels(v, values), 0.7 * float(v.grid.spacing.mean())) for v in (fixed, moving)
    ]
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetNumberOfIterations(STEPS)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(SIGMA_VOXELS)
    return Displacement.from_sitk(demons.Execute(*images), name="demons")


def _levels(labels: Volume, values: Mapping[str, Sequence[int]]) -> sitk.Image:
    """Each structure a grey level of its own."""
    levels = torch.zeros(labels.grid.shape)
    for k, members in enumerate(values.values(), start=1):
        for value in members:
            levels[labels.data[0] == value] = float(k)
    return to_sitk(levels[None].numpy(), labels.grid)
