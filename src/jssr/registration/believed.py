"""Which of the structures that a segmentor found are believed: a wrong organ is worse than none.

A segmentor gives every voxel a class, also in a scan of a body part, or in a contrast, that it has never seen. A
structure is taken back, and told, where the network was in doubt about it, or where it is smaller than in any grown
patient. The limits stand in the recipe (`Inference.least_confidence`, `least_ml`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core.grid import Grid
from jssr.recipes.config import Inference

__all__ = ["Found", "believed"]

WORTH_TELLING = 1.0
"""Millilitres of a structure below which it is left out without a word."""
AT_BORDER = 0.2
"""Share of the least volume that a structure must have where it touches the scan's border, and may go on beyond it."""


@dataclass(frozen=True)
class Found:
    """Probabilities (1, K, *spatial) without what is not believed, and the reason for each structure taken back."""

    probabilities: Tensor
    taken_back: dict[str, str]

    @property
    def nothing(self) -> bool:
        """Whether no voxel bears a structure."""
        return not bool((self.probabilities[0].argmax(dim=0) > 0).any())

    def warnings(self, scan: str) -> tuple[str, ...]:
        """What the user should know."""
        out = []
        if self.taken_back:
            told = ", ".join(f"{name} ({why})" for name, why in self.taken_back.items())
            out.append(f"Not believed, and left out: {told}.")
        if self.nothing:
            out.append(f"Unknown: {scan} shows nothing that this segmentor knows, or shows it in another contrast.")
        return tuple(out)


def believed(probabilities: Tensor, grid: Grid, data: Tensor, names: Mapping[int, str], after: Inference) -> Found:
    """Give structures that are not believed to the background.

    Args:
        probabilities: (1, K, *spatial), class 0 the background.
        grid: theirs.
        data: (1, 1, *spatial), 1 where the scan has data.
        names: class to structure.
        after: the limits.
    """
    out = probabilities.clone()
    labels = probabilities[0].argmax(dim=0).numpy()
    near = _border(data[0, 0].numpy() > 0.5)
    millilitres = float(np.prod(grid.spacing)) / 1000
    taken: dict[str, str] = {}
    for k, name in names.items():
        there = labels == k
        if not there.any():
            continue
        mask = torch.from_numpy(there)
        confidence = float(probabilities[0, k][mask].mean())
        volume = millilitres * int(there.sum())
        least = after.least_ml.get(name, 0.0) * (AT_BORDER if (there & near).any() else 1.0)
        why = ""
        if confidence < after.least_confidence:
            why = f"probability {confidence:.3f}, at least {after.least_confidence:g} expected"
        elif volume < least:
            why = f"{volume:.0f} ml, at least {least:g} expected"
        if why:
            if volume >= WORTH_TELLING:
                taken[name] = why
            # To the background, which is then the most: no other structure takes its place. Everywhere: between voxels
            # a little of it would come back.
            out[0, 0] += out[0, k]
            out[0, k] = 0
    return Found(out, taken)


def _border(data: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels with data next to the array's sides or to one without data: what is there may go on beyond the scan."""
    inside = data.copy()
    for axis in range(data.ndim):
        view, whole = np.moveaxis(inside, axis, 0), np.moveaxis(data, axis, 0)
        view[[0, -1]] = False
        view[1:-1] &= whole[2:] & whole[:-2]
    found: NDArray[np.bool_] = data & ~inside
    return found
