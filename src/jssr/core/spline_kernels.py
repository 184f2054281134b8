"""Inner loops of a cubic B-spline in C, of the library of `jssr.core.kernels`: a field at a lattice of positions, its
adjoint, and how rough control points are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jssr.core.kernels import call, int64, shared

_PLANES = 16
"""Planes of a part of the work, at least: what parts have in common is made by each of them."""


def read(control: Tensor, spacing: Sequence[float], positions: Sequence[Tensor]) -> Tensor:
    """`core.bspline.ControlGrid.read` of control points (1, 3, *counts), four along each axis at least, that lie
    `spacing` voxels apart: (1, 3, *positions)."""
    control, sizes = control.contiguous(), [len(p) for p in positions]
    out = torch.empty(1, 3, *sizes)
    given = control, int64(control.shape[2:]), torch.tensor(spacing), torch.cat(list(positions)), int64(sizes), out
    shared(sizes[0], _PLANES, lambda *part: call("jssr_spline", *given, *part))
    return out


def back(values: Tensor, counts: Sequence[int], spacing: Sequence[float], positions: Sequence[Tensor]) -> Tensor:
    """`core.bspline.ControlGrid.back` of values (1, 3, *positions): (1, 3, *counts)."""
    values, sizes = values.contiguous(), [len(p) for p in positions]
    out = torch.empty(1, 3, *counts)
    given = values, int64(counts), torch.tensor(spacing), torch.cat(list(positions)), int64(sizes), out
    shared(counts[0], 4, lambda *part: call("jssr_spline_adjoint", *given, *part))
    return out


def roughness(control: Tensor, spacing: Sequence[float], sliding: float) -> tuple[Tensor, Tensor]:
    """`registration.control_points.roughness` of control points (1, 3, *counts), a scalar, and its derivative.

    Args:
        spacing: mm between control points along each axis.
        sliding: gradient from which on the value grows linearly; 0 where it never does.
    """
    control = control.contiguous()
    slope, sums = torch.empty_like(control), torch.empty(control.shape[2], dtype=torch.float64)
    given = control, int64(control.shape[2:]), torch.tensor(spacing), float(sliding), slope, sums
    shared(control.shape[2], _PLANES, lambda *part: call("jssr_roughness", *given, *part))
    return sums.sum().float(), slope
