"""How well a registration went, in each of its states: initial, rigid, network, refined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement, Transform, resample
from jssr.core.volume import Points, Volume
from jssr.metrics.overlap import dice
from jssr.metrics.pair import evaluate_pair
from jssr.metrics.regularity import regularity
from jssr.preprocessing.start2d import from_start
from jssr.registration.full_size import labels_at

if TYPE_CHECKING:
    from jssr.registration.working import Working

__all__ = ["Measures", "Truth", "class_dice", "measure"]


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of a pair: label maps on the images' grids, landmarks, and the names of the labels."""

    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    fixed_landmarks: Points | None = None
    moving_landmarks: Points | None = None
    structures: Mapping[str, Sequence[int]] | None = None

    @property
    def known(self) -> bool:
        return self.fixed_labels is not None or self.fixed_landmarks is not None


@dataclass(frozen=True, eq=False)
class Measures:
    """Numbers of a registration.

    Attributes:
        states: "initial", "rigid" (where aligned rigidly), "network", "refined" (where refined), each as
            `evaluate_pair` gives it, of the known labels and landmarks; folds and log Jacobian in the last.
        segmentations: the same states, Dice of the system's own segmentations.
        covered: share of the fixed image for which the moving one has data.
        inverse_error: mean and largest error of the inverse in mm, where the inverse lands inside the fixed image.
    """

    states: dict[str, dict[str, float]] = field(default_factory=dict)
    segmentations: dict[str, dict[str, float]] = field(default_factory=dict)
    covered: float = 1.0
    inverse_error: tuple[float, float] = (0.0, 0.0)


def measure(
    y: Volume, x: Volume, work: Working, displacement: Displacement, inverse: Displacement, seen: Tensor, truth: Truth
) -> Measures:
    """Measure every state of a registration."""
    transforms: dict[str, Transform] = {"initial": work.pair.start}
    if work.pair.rigid is not None:
        transforms["rigid"] = work.pair.transform
    transforms |= {name: found.chain for name, found in work.maps.items()}
    last = list(work.maps)[-1]
    transforms[last] = displacement
    states = {name: _of_truth(y, transform, truth) for name, transform in transforms.items()}
    states[last]["folds"], states[last]["log_jacobian_sd"] = regularity(from_start(displacement, y.grid, x.grid))
    for name, found in list(work.maps.items())[:-1]:
        states[name]["folds"], states[name]["log_jacobian_sd"] = regularity(found.field)
    return Measures(
        states, _of_segmentations(work), float(seen.float().mean()), _inverse_error(displacement, inverse, y.grid)
    )


def class_dice(a: Tensor, b: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Dice of classes 1, 2, ... of two label maps: {"dice/liver": 0.95, ...}."""
    return {f"dice/{name}": dice((a == k).numpy(), (b == k).numpy()) for k, name in enumerate(names, start=1)}


def _of_truth(y: Volume, transform: Transform, truth: Truth) -> dict[str, float]:
    moved = None
    if truth.moving_labels is not None:
        moved = resample(truth.moving_labels, y.grid, transform)
    return evaluate_pair(
        truth.fixed_labels, moved, truth.structures, transform=transform,
        fixed_points=truth.fixed_landmarks, moving_points=truth.moving_landmarks,
    )  # fmt: skip


def _of_segmentations(work: Working) -> dict[str, dict[str, float]]:
    """Dice of S(y) with S of the moving scan, on the network's grid."""
    moving, fixed, grid = work.alignment.moving_segmentation, work.alignment.fixed_segmentation, work.pair.grid
    if moving is None or fixed is None:
        return {}
    goal = fixed.argmax(dim=1).to(torch.uint8)
    labels = moving.argmax(dim=1).to(torch.uint8)
    seen = Volume(labels, grid, "labels")
    names = work.model.structures
    # What was segmented lies where the rigid motion put it: its inverse gives the initial state.
    back = Affine(work.pair.transform.inverse().matrix @ work.pair.start.matrix)
    initial = resample(seen, grid, back, nearest=True).data
    out = {"initial": class_dice(initial, goal, names)}
    if work.pair.rigid is not None:
        out["rigid"] = class_dice(labels, goal, names)
    for name, found in work.maps.items():
        out[name] = class_dice(labels_at(moving, grid, grid, found), goal, names)
    return out


def _inverse_error(
    displacement: Displacement, inverse: Displacement, fixed: Grid, most: int = 20_000
) -> tuple[float, float]:
    """|T(T^-1(q)) - q| in mm on a regular choice of the moving grid's voxels whose image lies inside the fixed grid."""
    grid = inverse.grid
    step = max(1, round((grid.voxels / most) ** (1 / grid.ndim)))
    axes = [np.arange(step // 2, s, step) if s > step // 2 else np.arange(1) for s in grid.shape]
    q = grid.world(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, grid.ndim))
    p = inverse(q)
    inside = fixed.contains(p)
    if not inside.any():
        return 0.0, 0.0
    miss = np.linalg.norm(displacement(p[inside]) - q[inside], axis=1)
    return float(miss.mean()), float(miss.max())
