"""Batches for training: which scans meet in which step, cut to one shape and augmented.

What a step gets depends on the seed and the step alone: no loader has a state, so that a resumed run goes on exactly
where it was and any number of processes or threads can draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F

from jssr.cohorts.prepared import check_paired
from jssr.errors import CohortError, GeometryError, TrainingError
from jssr.io.cohort import Case, Cohort, Split, cases_of_split
from jssr.io.images import read_grid
from jssr.recipes.config import Preprocessing, Training
from jssr.systems.base import Batch
from jssr.training.augment import (
    Scan,
    augment_pair,
    augment_single,
    chances,
    generator_of,
    part_of,
    whose_turn,
)
from jssr.training.cache import ScanCache

NEEDS = frozenset({"pair", "labels", "labelled", "paired", "supervised"})
_MULTIPLE = 16
_AROUND = 12
"""Voxels around a patch that its turning and bending may bring in."""
AIR = -0.95
"""Of a normalised image: darker voxels are no body."""


class PairDataset:
    """Where training gets its batches.

    Args:
        cohort: prepared; the pairs.
        supervised: prepared labelled scans of another population; None where no stage needs them.
        structures: names of the classes 1, 2, ... of all label maps.
        preprocessing: which phase is fixed and which is moved, and the intensity window.
        training: patches, size of a batch, seed, augmentation, and the share of the label maps that is seen: one case
            at least unless it is 0. The seed decides which, and a larger share holds all of a smaller one. A patch is
            inside the scan; with `in_body` its middle is a random voxel of the fixed scan's body, so that it may reach
            beyond the scan. Without a patch scans are padded to the next multiple of 16.
        split: which cases of the cohort. A cohort without splits is used as a whole. Supervised scans are of "train".
        cache_gb: memory for prepared scans of both cohorts together.

    Raises:
        CohortError: unknown reference phase or structure.
        TrainingError: no case of that split has two phases.
    """

    def __init__(
        self,
        cohort: Cohort,
        supervised: Cohort | None,
        structures: Sequence[str],
        preprocessing: Preprocessing,
        training: Training,
        split: Split = "train",
        cache_gb: float = 4.0,
    ) -> None:
        reference_phase, moving, window = preprocessing.reference_phase, preprocessing.moving, preprocessing.window
        self.reference_phase, self.moving = reference_phase, moving
        self.patch, self.in_body = training.patch, training.in_body
        self.size, self.seed, self.augment = training.batch, training.seed, training.augment
        try:
            cohort.check_phases(*(phase for phase in (reference_phase, moving) if phase is not None))
        except CohortError as error:
            raise CohortError(
                f"{error}; name them with --set preprocessing.reference_phase=PHASE, --set preprocessing.moving=PHASE"
            ) from None
        room = int(cache_gb * 2**30 / (1 if supervised is None else 2))
        # Pairs without labels need no names: structures are looked up only where the cohort has label maps.
        named = any(case.labels for case in cohort.cases)
        self.scans = ScanCache(cohort, window, structures if named else (), room)
        self.cases = [c for c in cases_of_split(cohort, split) if self._choices(c)]
        needed = set() if moving is None else {reference_phase, moving}
        lacking = ", ".join(c.id for c in cases_of_split(cohort, split) if not needed <= set(c.images))
        if lacking:
            raise TrainingError(
                f"{cohort.root}: {moving} is to be moved onto {reference_phase}, but case {lacking} has not both"
            )
        if not self.cases:
            raise TrainingError(f"{cohort.root}: no case of split {split!r} has two phases to align")
        self.hidden: frozenset[str] = frozenset()
        taught = [case.id for case in self.cases if self._taught(case)]
        order = torch.randperm(len(taught), generator=generator_of(self.seed, 5)).tolist()
        seen = max(round(training.labelled * len(taught)), 1 if training.labelled else 0)
        self.hidden = frozenset(taught[k] for k in order[seen:])
        self.labelled_scans = None if supervised is None else ScanCache(supervised, window, structures, room)
        cases = [] if supervised is None else cases_of_split(supervised, "train")
        self.labelled = [(c, phase) for c in cases for phase in c.images if phase in c.labels]
        if supervised is not None and not self.labelled:
            raise TrainingError(f"{supervised.root}: the supervised cohort has no labelled training scans")

    def batch(self, step: int, need: frozenset[str] = frozenset({"pair"}), part: tuple[int, int] = (0, 1)) -> Batch:
        """The batch of a step, a function of the seed and the step alone.

        Args:
            step: from 0. Cases come in a new random order in each round through them.
            part: (k, n) gives the k-th of n equal parts of it; of the other scans nothing but sizes is read.
            need: of "pair", "labels" (also its label maps, where it has them), "labelled" (only pairs that have them),
                "paired" (paired scans of both) and "supervised".

        Raises:
            ValueError: an unknown need.
            TrainingError: supervised scans, labelled pairs or paired scans are needed and there are none.
        """
        if need - NEEDS:
            raise ValueError(f"unknown need {sorted(need - NEEDS)}; there are {sorted(NEEDS)}")
        out = Batch()
        every = range(step * self.size, (step + 1) * self.size)
        mine = part_of(every, part)
        others = [index for index in every if index not in mine] if self.patch is None else []
        if need - {"supervised"}:
            size = [self._size(self.scans, *self._which(index, need)[:2]) for index in others]
            self._add(out, [self._pair(index, need) for index in mine], size)
            out.chance = chances(self.seed, mine)
        if "supervised" in need:
            self.check({"supervised"})
            assert self.labelled_scans is not None
            size = [self._size(self.labelled_scans, *self._which_single(index)) for index in others]
            scans = _one_shape([self._single(index) for index in mine], size)
            out.supervised = torch.cat([s.image for s in scans])
            out.supervised_labels = torch.cat([s.labels for s in scans if s.labels is not None])
        return out

    def check(self, needs: Iterable[str]) -> None:
        """Make sure that stages with these needs find what they need.

        Raises:
            TrainingError: they will not.
            CohortError: a label map holds values without a name.
            ImageError, GeometryError: a paired scan that cannot be read, or lies elsewhere than its scan.
        """
        needs = set(needs)
        if "supervised" in needs and self.labelled_scans is None:
            raise TrainingError("this recipe learns from labelled scans; name a cohort of them with --supervised")
        unpaired = [c.id for c in self.cases if any(set(pair) - set(c.paired) for pair in self._choices(c))]
        if "paired" in needs and unpaired:
            raise TrainingError(
                f"{self.scans.cohort.root}: this recipe learns from paired scans of both (paired), and case "
                f"{unpaired[0]} lacks one; jssr prepare --pairs makes them"
            )
        if "paired" in needs:
            self._check_paired()
        taught = self.taught if needs & {"labels", "labelled"} else []
        if "labelled" in needs and not taught:
            why = (
                f"the share 0 (labelled) hides those of {len(self.hidden)} cases; --set training.labelled=1 shows them"
                if self.hidden
                else "no training case has them"
            )
            raise TrainingError(
                f"{self.scans.cohort.root}: this recipe learns from label maps of both scans of a pair; {why}"
            )
        if taught:
            self._check_classes(taught)

    def described(self, needs: Iterable[str]) -> str:
        """In words, how much there is to learn from label maps of pairs; nothing where that is not asked for."""
        if not set(needs) & {"labels", "labelled"}:
            return ""
        hidden = f", hidden of {len(self.hidden)} more (labelled)" if self.hidden else ""
        return f"{len(self.cases)} training cases; label maps of both scans seen of {len(self.taught)}{hidden}"

    def _check_paired(self) -> None:
        """Each must lie where its scan does, by their headers."""
        cohort = self.scans.cohort
        for case in self.cases:
            for phase in dict.fromkeys(phase for pair in self._choices(case) for phase in pair):
                file = cohort.path(case.paired[phase])
                check_paired(file, read_grid(file), phase, read_grid(cohort.image(case, phase)))

    def _check_classes(self, taught: Sequence[Case]) -> None:
        """Values of label maps must have names, and each phase's must hold some of the structures."""
        classes = {value for values in self.scans.values for value in values}
        if not classes:
            raise TrainingError(
                "this recipe learns from label maps and names no structures: --set network.structures='[...]'"
            )
        found: dict[str, set[int]] = {}
        for case in taught:
            for phase in dict.fromkeys(phase for pair in self._taught(case) for phase in pair):
                found.setdefault(phase, set()).update(self.scans.label_values(case, phase))
        for phase, values in found.items():
            if not values & classes:
                raise TrainingError(
                    f"{self.scans.cohort.root}: the label maps of phase {phase} hold none of the recipe's structures; "
                    "do label_names in cohort.json fit the numbers in the files?"
                )

    @property
    def taught(self) -> list[Case]:
        """The cases whose label maps training sees."""
        return [case for case in self.cases if self._taught(case)]

    def _add(self, out: Batch, pairs: list[tuple[Scan, ...]], others: Sequence[Sequence[int]]) -> None:
        each = len(pairs[0])  # moving and fixed, and their paired scans where these are asked for
        every = _one_shape([scan for pair in pairs for scan in pair], others)
        moving, fixed = every[0::each], every[1::each]
        if each > 2:
            out.moving_like, out.fixed_like = (torch.cat([s.image for s in every[k::each]]) for k in (2, 3))
        out.moving, out.fixed = (torch.cat([s.image for s in side]) for side in (moving, fixed))
        out.moving_mask, out.fixed_mask = (torch.cat([s.mask for s in side]) for side in (moving, fixed))
        if any(s.labels is not None for s in (*moving, *fixed)):
            out.moving_labels, out.fixed_labels = (
                torch.cat([torch.zeros_like(s.mask).long() if s.labels is None else s.labels for s in side])
                for side in (moving, fixed)
            )
            out.labelled = torch.tensor([s.labels is not None for s in moving])

    def _choices(self, case: Case) -> list[tuple[str, str]]:
        """The ordered pairs (moving, fixed) of a case."""
        return [
            (m, f)
            for f in case.images
            if self.reference_phase in (None, f)
            for m in case.images
            if m != f and self.moving in (None, m)
        ]

    def _which(self, index: int, need: frozenset[str]) -> tuple[Case, str, str, torch.Generator]:
        """Case, moving and fixed phase of a pair, and what it is augmented with."""
        generator = generator_of(self.seed, 1, index)
        cases = self.taught if "labelled" in need else self.cases
        if not cases:
            self.check({"labelled"})
        case = cases[whose_turn(self.seed, 2, index, len(cases))]
        choices = self._taught(case) if "labelled" in need else self._choices(case)
        moving, fixed = choices[int(torch.randint(len(choices), (), generator=generator))]
        return case, moving, fixed, generator

    def _pair(self, index: int, need: frozenset[str]) -> tuple[Scan, ...]:
        case, moving, fixed, generator = self._which(index, need)
        labels = bool(need & {"labels", "labelled"})
        scans = list(self._read(case, moving, fixed, labels))
        if "paired" in need:
            scans += [self.scans.paired(case, phase) for phase in (moving, fixed)]
            if any(scan.image.shape != scans[0].image.shape for scan in scans):
                raise GeometryError(f"{self.scans.cohort.root}: a paired scan of case {case.id} lies on another grid")
        if self.augment is None:
            return tuple(self._cut(scans, None))
        # A patch within a scan is turned together with what surrounds it, and cut out afterwards.
        more = _AROUND if self.in_body else 0
        a, b, *beside = self._cut(scans, generator, more)
        turned = augment_pair(a, b, self.augment, generator, beside)
        inner = [s - 2 * more for s in a.image.shape[2:]]
        return tuple(_window(scan, [more] * len(inner), inner) for scan in turned)

    def _which_single(self, index: int) -> tuple[Case, str]:
        return self.labelled[whose_turn(self.seed, 4, index, len(self.labelled))]

    def _single(self, index: int) -> Scan:
        assert self.labelled_scans is not None
        generator = generator_of(self.seed, 3, index)
        case, phase = self._which_single(index)
        scan = self._cut([self.labelled_scans.scan(case, phase, True)], generator if self.augment else None)[0]
        return augment_single(scan, self.augment, generator) if self.augment else scan

    def _size(self, scans: ScanCache, case: Case, phase: str) -> tuple[int, ...]:
        """The shape that a whole scan has in a batch, by its header."""
        return _padded(scans.shape(case, phase))

    def _taught(self, case: Case) -> list[tuple[str, str]]:
        """Those of which both scans have a label map that training may see."""
        if case.id in self.hidden:
            return []
        return [(m, f) for m, f in self._choices(case) if {m, f} <= set(case.labels)]

    def _read(self, case: Case, moving: str, fixed: str, labels: bool) -> tuple[Scan, Scan]:
        """Both scans; with their label maps if asked for and both have one that may be seen."""
        labels = labels and (moving, fixed) in self._taught(case)
        a, b = self.scans.scan(case, moving, labels), self.scans.scan(case, fixed, labels)
        if a.image.shape != b.image.shape:
            raise GeometryError(
                f"{self.scans.cohort.root}: case {case.id}, {moving} and {fixed} lie on different grids; "
                "run jssr prepare on the cohort first"
            )
        return a, b

    def _cut(self, scans: list[Scan], generator: torch.Generator | None, more: int = 0) -> list[Scan]:
        """Cut scans of one shape alike, at a random place (the middle without a generator), `more` around."""
        shape = scans[0].image.shape[2:]
        wanted = self.patch or _padded(shape)
        wanted = tuple(s + 2 * more for s in wanted)
        if self.in_body and generator is not None and len(scans) > 1:
            first = [m - w // 2 for m, w in zip(_somewhere(scans[1], generator), wanted, strict=True)]
            return [_window(scan, first, wanted) for scan in scans]
        first = []
        for spare in (have - want for have, want in zip(shape, wanted, strict=True)):
            drawn = int(torch.randint(max(spare, 0) + 1, (), generator=generator)) if generator else spare // 2
            first.append(drawn if spare > 0 else spare // 2)
        return [_window(scan, first, wanted) for scan in scans]


def _somewhere(scan: Scan, generator: torch.Generator) -> list[int]:
    """A random voxel of the body; the middle where there is none."""
    body = (scan.image[0, 0] > AIR).nonzero()
    if not len(body):
        return [s // 2 for s in scan.image.shape[2:]]
    found: list[int] = body[int(torch.randint(len(body), (), generator=generator))].tolist()
    return found


def _padded(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-s // _MULTIPLE) * _MULTIPLE for s in shape)


def _one_shape(scans: list[Scan], others: Sequence[Sequence[int]] = ()) -> list[Scan]:
    """Pad scans at their far ends to the largest of them and of the shapes of others, so that they make one batch."""
    shapes = [*others, *(tuple(s.image.shape[2:]) for s in scans)]
    wanted = [max(sizes) for sizes in zip(*shapes, strict=True)]
    return [_window(s, [0] * len(wanted), wanted) for s in scans]


def _window(scan: Scan, first: Sequence[int], shape: Sequence[int]) -> Scan:
    """The part of a scan that begins at voxel `first` (may be negative) and has `shape`; no data beyond the scan."""
    have = scan.image.shape[2:]
    if tuple(shape) == tuple(have) and not any(first):
        return scan
    pads: list[int] = []
    for size, start, want in zip(reversed(have), reversed(list(first)), reversed(list(shape)), strict=True):
        pads += [-start, start + want - size]  # negative padding crops

    return scan.mapped(lambda data, outside: F.pad(data, pads, value=outside))
