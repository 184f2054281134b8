"""Sees while training when a network has given up, and warns once.

The figures come from one alignment of the current batch (`inspect`), so every system is watched in the same way:

| key | of | bad when |
| --- | --- | --- |
| `copy_ratio` | mean abs(G(x, y) - y) / mean abs(x - y) inside both masks | below 0.05: the generator copies y |
| `mean_displacement_voxels` | mean length of the displacement inside the fixed mask | below 0.01: the field is zero |
| `foreground_fraction` | foreground by likeliest class, of x or y, the worse | below 1e-4 or above 0.9999: blank |
| `folded_percent` | voxels whose Jacobian determinant is not positive | above 5: the field folds |

Any figure that is not finite is bad too. The first three say nothing of a batch whose two images are nearly the same.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from jssr.core.field import jacobian_determinant
from jssr.io.files import atomic_path
from jssr.metrics.warnings import COPIES_BELOW, copy_ratio
from jssr.systems.base import Alignment, Batch, System

log = logging.getLogger(__name__)

STILL_BELOW_VOXELS = 0.01
BLANK_BELOW = 1e-4
FOLDS_ABOVE_PERCENT = 5.0


def mean_displacement(displacement: Tensor, mask: Tensor | None = None) -> float:
    """Mean length in voxels of a field (B, n, *spatial) inside a mask (B, 1, *spatial)."""
    length = displacement.square().sum(1, keepdim=True).sqrt()
    weight = torch.ones_like(length) if mask is None else mask
    return float((length * weight).sum() / weight.sum().clamp(min=1))


def foreground_fraction(probabilities: Tensor) -> float:
    """Share of the voxels of (B, K, *spatial) class probabilities whose likeliest class is not the background."""
    return float((probabilities.argmax(1) != 0).float().mean())


@contextmanager
def inference(system: System) -> Iterator[None]:
    """Within the block: no gradients, evaluation mode; the networks' modes are restored."""
    modes = {module: module.training for module in system.modules()}
    system.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def look(system: System, batch: Batch) -> Alignment:
    """Align a batch's pair as inference does."""
    if batch.moving is None or batch.fixed is None:
        raise ValueError("the batch has no pair")
    with inference(system):
        return system.align(batch.moving, batch.fixed, *_masks(batch))


def inspect(system: System, batch: Batch, trained: frozenset[str]) -> dict[str, float]:
    """The figures of the table above for whatever the batch has, of the networks that have been trained so far."""
    if batch.moving is not None and batch.fixed is not None:
        return figures(look(system, batch), batch, system.outputs, trained)
    if batch.supervised is not None and system.outputs.get("segmentation") in trained:
        with inference(system):
            return {"foreground_fraction": foreground_fraction(system.segment(batch.supervised))}
    return {}


def figures(alignment: Alignment, batch: Batch, makes: Mapping[str, str], trained: frozenset[str]) -> dict[str, float]:
    """The figures of the table above, of the outputs whose network (`System.outputs`) has been trained so far."""
    if batch.moving is None or batch.fixed is None:
        raise ValueError("the batch has no pair")

    def judged(output: str) -> bool:
        return not makes or makes.get(output) in trained

    moving_mask, fixed_mask = _masks(batch)
    both = moving_mask * fixed_mask
    found: dict[str, float] = {}
    same = math.isnan(copy_ratio(batch.fixed, batch.moving, batch.fixed, both))
    if judged("displacement"):
        if not same:
            found["mean_displacement_voxels"] = mean_displacement(alignment.displacement.float(), fixed_mask)
        determinants = jacobian_determinant(alignment.displacement.float())
        found["folded_percent"] = 100 * float((determinants <= 0).float().mean())
    if alignment.synthesised is not None and judged("synthesised") and not same:
        found["copy_ratio"] = copy_ratio(alignment.synthesised.float(), batch.moving, batch.fixed, both)
    segmentations = alignment.moving_segmentation, alignment.fixed_segmentation
    shares = [foreground_fraction(one) for one in segmentations if one is not None]
    if shares and judged("segmentation"):
        found["foreground_fraction"] = min(shares, key=lambda share: min(share, 1 - share))
    return found


def problems(found: Mapping[str, float]) -> dict[str, str]:
    """What is wrong by the table above: kind ("nan", "copies", "still", "blank", "folds") -> a sentence."""
    wrong: dict[str, str] = {}
    bad = [key for key, value in found.items() if not math.isfinite(value)]
    if bad:
        wrong["nan"] = f"{', '.join(bad)} not finite; lower the learning rate or train in 32-true"
    if found.get("copy_ratio", 1.0) < COPIES_BELOW:
        wrong["copies"] = (
            f"the generator copies the fixed image (it differs by {found['copy_ratio']:.3f} of the moving image's "
            "difference), so nothing is left to register; lower the weight of the reconstruction"
        )
    if found.get("mean_displacement_voxels", 1.0) < STILL_BELOW_VOXELS:
        wrong["still"] = (
            f"the field is zero (mean {found['mean_displacement_voxels']:.4f} voxels) although the images differ; "
            "lower the smoothness weight"
        )
    share = found.get("foreground_fraction", 0.5)
    if share < BLANK_BELOW or share > 1 - BLANK_BELOW:
        wrong["blank"] = (
            f"the segmentor is blank: {100 * share:.2f} % of the voxels are foreground; "
            "check the labels, or train the segmentation stage longer"
        )
    if found.get("folded_percent", 0.0) > FOLDS_ABOVE_PERCENT:
        wrong["folds"] = (
            f"the field folds in {found['folded_percent']:.1f} % of the voxels; raise the smoothness weight"
        )
    return wrong


class Monitor:
    """Collects problems over a run and warns once of each kind, when it was there on several looks in a row.

    Attributes:
        warnings: what was warned of, as {"kind", "step", "message"}; also in `path` (JSON) once there is one.
    """

    def __init__(self, path: Path, patience: int = 3) -> None:
        self.path = path
        self.patience = patience
        self.warnings: list[dict[str, str | int]] = []
        self._streak: dict[str, int] = {}

    def update(self, step: int, found: Mapping[str, float]) -> None:
        """Judge the figures of one look. "nan" is warned of at once."""
        now = problems(found)
        self._streak = {kind: self._streak.get(kind, 0) + 1 for kind in now}
        for kind, message in now.items():
            if kind == "nan" or self._streak[kind] >= self.patience:
                self.warn(kind, step, message)

    def warn(self, kind: str, step: int, message: str) -> None:
        """Log a warning and record it, unless there has been one of its kind."""
        if any(warning["kind"] == kind for warning in self.warnings):
            return
        log.warning("step %d: %s", step, message)
        self.warnings.append({"kind": kind, "step": step, "message": message})
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(self.warnings, indent=2), encoding="utf-8")

    def resume(self, step: int) -> None:
        """Take up the record of a run that goes on after `step`."""
        if self.path.exists():
            warnings = json.loads(self.path.read_text(encoding="utf-8"))
            self.warnings = [warning for warning in warnings if warning["step"] <= step]


def _masks(batch: Batch) -> tuple[Tensor, Tensor]:
    if batch.moving is None or batch.fixed is None:
        raise ValueError("the batch has no pair")
    moving = torch.ones_like(batch.moving) if batch.moving_mask is None else batch.moving_mask
    fixed = torch.ones_like(batch.fixed) if batch.fixed_mask is None else batch.fixed_mask
    return moving, fixed
