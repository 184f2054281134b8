"""Batches of pairs that are made: a radiograph and the same one deformed, in a known way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F

from jssr.errors import TrainingError
from jssr.io.cohort import Cohort, Split, cases_of_split
from jssr.preprocessing.intensity import Window
from jssr.recipes.augmentation import Deform
from jssr.recipes.config import Training
from jssr.systems.base import Batch
from jssr.training.augment import Scan, augment_single, chances, generator_of, part_of, whose_turn
from jssr.training.cache import ScanCache
from jssr.training.deform import deformed

_LOOKS = ("p_intensity", "p_slices", "p_blur", "p_noise", "p_correlated", "p_cut", "p_remap", "p_remap_supervised")
_MOVES = ("p_affine", "p_elastic")


class DeformedPairs:
    """Where training on known deformations gets its batches. It takes the place of `PairDataset`.

    The fixed image is a radiograph of the cohort (moved, zoomed and bent by `augment`), the moving one is the same
    deformed; each then has a look of its own. What a zoom pushes out of the fixed image the moving one can show: two
    visits differ in their fields of view, and a black border would betray how an image was moved.

    Args:
        cohort: prepared, of 2D images on grids of one size. Every labelled phase of every case counts.
        structures: names of the classes 1, 2, ... of its label maps.
        window: HU that become -1..1, for images that are CT.
        training: how the moving images are made (`deform`), size of a batch, seed, and augmentation.
        split: which cases; a cohort without splits is used as a whole.
        cache_gb: memory for prepared images.

    Raises:
        CohortError: an unknown structure.
        TrainingError: no labelled image.
    """

    def __init__(
        self,
        cohort: Cohort,
        structures: Sequence[str],
        window: Window,
        training: Training,
        split: Split = "train",
        cache_gb: float = 4.0,
    ) -> None:
        self.scans = ScanCache(cohort, window, structures, int(cache_gb * 2**30))
        self.images = [(c, phase) for c in cases_of_split(cohort, split) for phase in c.images if phase in c.labels]
        if not self.images:
            raise TrainingError(f"{cohort.root}: split {split!r} has no image with a label map to make pairs of")
        self.deform, self.size, self.seed = training.deform or Deform(), training.batch, training.seed
        augment = training.augment
        self.looks = augment and augment.model_copy(update=dict.fromkeys(_MOVES, 0.0))
        self.moves = augment and augment.model_copy(update=dict.fromkeys(_LOOKS, 0.0))

    def batch(self, step: int, need: frozenset[str] = frozenset({"pair"}), part: tuple[int, int] = (0, 1)) -> Batch:
        """The batch of a step, or a part of it, a function of the seed and the step alone: pairs, their label maps and
        `truth`."""
        indices = part_of(range(step * self.size, (step + 1) * self.size), part)
        out = _joined([self._pair(index) for index in indices])
        out.chance = chances(self.seed, indices)
        return out

    def check(self, needs: Iterable[str]) -> None:
        """Make sure that stages with these needs find what they need.

        Raises:
            TrainingError: they will not.
        """
        lacking = set(needs) - {"pair", "labels", "labelled", "truth"}
        if lacking:
            raise TrainingError(f"pairs that are made (deform) bring no {', '.join(sorted(lacking))}")

    def described(self, needs: Iterable[str]) -> str:
        """In words, what there is to learn from."""
        return ""

    def _pair(self, index: int) -> tuple[Scan, Scan, torch.Tensor]:
        """Moving and fixed image, and the field from the fixed one to the moving one."""
        case, phase = self.images[whose_turn(self.seed, 12, index, len(self.images))]
        generator = generator_of(self.seed, 11, index)
        more = self.scans.scan(case, phase, True)
        size = more.image.shape[2:]
        margin = max(size) // 2
        more = more.mapped(lambda data, outside: F.pad(data, [margin] * 4, value=outside))
        if self.moves is not None:
            more = augment_single(more, self.moves, generator)
        fixed = more.mapped(lambda data, _: data[:, :, margin : margin + size[0], margin : margin + size[1]])
        assert fixed.labels is not None and more.labels is not None
        how = deformed(fixed.labels, self.deform, generator)
        mask = (how.apply(more.mask, margin=margin) > 0.5).float()
        image = torch.where(mask > 0, how.apply(more.image, outside=-1.0, margin=margin), -1.0)
        moving = Scan(image, mask, how.apply(more.labels.float(), "nearest", margin=margin).round().long())
        if self.looks is not None:
            moving, fixed = (augment_single(scan, self.looks, generator) for scan in (moving, fixed))
        return moving, fixed, how.undone()


def _joined(pairs: list[tuple[Scan, Scan, torch.Tensor]]) -> Batch:
    moving, fixed, fields = zip(*pairs, strict=True)
    images, masks, labels = (
        [torch.cat([getattr(scan, part) for scan in side]) for side in (moving, fixed)]
        for part in ("image", "mask", "labels")
    )
    out = Batch(images[0], images[1], masks[0], masks[1], labels[0], labels[1])
    out.labelled, out.truth = torch.ones(len(pairs), dtype=torch.bool), torch.cat(fields)
    return out
