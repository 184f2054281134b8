"""How rough a displacement field is. Fields are (B, n, *spatial) in voxels."""

from __future__ import annotations

import torch
from torch import Tensor

from jssr.core.precision import full_precision


@full_precision
def diffusion(u: Tensor) -> Tensor:
    """Mean over the axes of the mean squared forward difference: JSSR eq. (5), as VoxelMorph computes it."""
    u = u.float()
    n = u.shape[1]
    terms = [torch.diff(u, dim=axis + 2).pow(2).mean() for axis in range(n)]
    return torch.stack(terms).sum() / n


@full_precision
def bending(u: Tensor) -> Tensor:
    """Bending energy: mean over the voxels of the squared second differences, mixed ones twice, over the components."""
    u = u.float()
    n = u.shape[1]
    total = u.new_zeros(())
    for i in range(n):
        for j in range(i, n):
            second = torch.diff(torch.diff(u, dim=i + 2), dim=j + 2)
            total = total + (1.0 if i == j else 2.0) * second.pow(2).mean()
    return total


@full_precision
def laplacian(u: Tensor) -> Tensor:
    """|Laplacian of u|^2 of Cao et al. 2018, eq. (4): mean over the inner voxels, summed over the components."""
    u = u.float()
    n = u.shape[1]
    inner = tuple(slice(1, -1) for _ in range(n))
    total = u.new_zeros(())
    for axis in range(n):
        second = torch.diff(u, n=2, dim=axis + 2)
        total = total + second[(slice(None), slice(None), *inner[:axis], slice(None), *inner[axis + 1 :])]
    return total.pow(2).sum(dim=1).mean()
