"""Displacement fields from control points of a uniform cubic B-spline (Rueckert et al. 1999), in any number of axes.

The weights of an axis are a small matrix, so that evaluating a field at a grid of points, its adjoint and its
least-squares fit are products of matrices, one axis after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jssr.core import kernels, spline_kernels

_RIDGE = 1e-3
"""Weight of second differences in a fit, against its mean squared error: control points beyond the border are not
determined by the field."""


@dataclass(frozen=True)
class ControlGrid:
    """Where the control points of a field lie.

    Attributes:
        shape: voxels of the field along each axis.
        spacing: voxels between control points along each axis, any positive number. The first control point lies one
            spacing before voxel 0.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Control points along each axis."""
        return tuple(math.ceil((n - 1) / s) + 3 for n, s in zip(self.shape, self.spacing, strict=True))

    def zeros(self, like: Tensor) -> Tensor:
        """Control points of a field of zeros, (1, n, *counts)."""
        return torch.zeros(1, len(self.shape), *self.counts, device=like.device)

    def weights(self, positions: Sequence[Tensor]) -> list[Tensor]:
        """The weight of each control point at positions (P,) in voxels along each axis: (P, count) each."""
        return [_weights(*a) for a in zip(positions, self.spacing, self.counts, strict=True)]

    def _voxels(self, like: Tensor) -> list[Tensor]:
        """Positions of all voxels."""
        return [torch.arange(n, dtype=torch.float32, device=like.device) for n in self.shape]

    def read(self, control: Tensor, positions: Sequence[Tensor]) -> Tensor:
        """The field (1, n, *positions) of control points (1, n, *counts), in their unit.

        Args:
            positions: (P,) in voxels along each axis.
        """
        if self._compiled(control):
            return spline_kernels.read(control, self.spacing, positions)
        return evaluate(control, self.weights(positions))

    def back(self, values: Tensor, positions: Sequence[Tensor]) -> Tensor:
        """The adjoint of `read`: a gradient by the field's values (1, n, *positions) as one by the control points."""
        if self._compiled(values):
            return spline_kernels.back(values, self.counts, self.spacing, positions)
        return adjoint(values, self.weights(positions))

    def _compiled(self, given: Tensor) -> bool:
        return kernels.usable(given) and given.shape[1] == 3 and min(self.counts) >= 4

    def dense(self, control: Tensor) -> Tensor:
        """The field at every voxel, (1, n, *shape), in the control points' unit."""
        return self.read(control, self._voxels(control))

    def fit(self, field: Tensor) -> Tensor:
        """The control points (1, n, *counts) whose field comes nearest to a dense one (1, n, *shape)."""
        positions, inverse = self._voxels(field), []
        for weight in self.weights(positions):
            w = weight.double()
            one = torch.eye(w.shape[1], dtype=w.dtype, device=w.device)
            rough = one.diff(n=2, dim=0)
            normal = w.T @ w + _RIDGE * w.shape[0] / w.shape[1] * rough.T @ rough
            inverse.append(torch.linalg.inv(normal + 1e-9 * one))
        # The adjoint has few weights; what is left to solve is among the control points alone.
        return evaluate(self.back(field, positions).double(), inverse).float()


def evaluate(control: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Read control points (1, n, *counts) at a grid of positions (`ControlGrid.weights`): (1, n, *positions)."""
    for axis, weight in enumerate(weights):
        control = _along(control, weight, axis)
    return control


def adjoint(values: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """The adjoint of `evaluate`: a gradient by the field's values (1, n, *positions) as one by the control points."""
    for axis, weight in enumerate(weights):
        values = _along(values, weight.T, axis)
    return values


def _along(values: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Multiply a matrix (rows, columns) onto an axis of (1, n, *spatial) that has `columns` entries."""
    return torch.tensordot(values, matrix, dims=([axis + 2], [1])).movedim(-1, axis + 2)


def _weights(at: Tensor, spacing: float, count: int) -> Tensor:
    place = at / spacing
    first = place.floor()
    t = place - first
    cubic = torch.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], dim=1
    )  # of the control points one before to two behind
    index = (first.long()[:, None] + torch.arange(4, device=at.device)).clamp(0, count - 1)
    return torch.zeros(len(at), count, device=at.device).scatter_add_(1, index, cubic / 6)
