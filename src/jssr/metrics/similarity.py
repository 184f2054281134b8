"""The similarity of two normalised images: mutual information and SSIM, as in macJNet's tables."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from jssr.losses.similarity import ssim_map

BINS = 64
WINDOW = 7
"""Voxels along the side of SSIM's windows."""


def mutual_information(a: ArrayLike, b: ArrayLike, bins: int = BINS) -> float:
    """Mutual information in nats of paired values in -1..1, from their joint histogram (macJNet, eq. 1)."""
    if not np.size(a):
        return math.nan
    joint, _, _ = np.histogram2d(np.ravel(a), np.ravel(b), bins=bins, range=[(-1, 1), (-1, 1)])
    p = joint / max(joint.sum(), 1)
    apart = p.sum(axis=1, keepdims=True) * p.sum(axis=0, keepdims=True)
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / apart[seen])).sum())


def structural_similarity(a: Tensor, b: Tensor, inside: Tensor) -> float:
    """Mean SSIM of windows of 7 voxels that lie inside entirely; nan where there is none.

    macJNet's equation (2) is printed with sums where the standard (Wang et al. 2004) has products, as here.

    Args:
        a, b: (1, 1, *spatial) in -1..1.
        inside: the same shape, bool: where both have data.
    """
    size = [min(WINDOW, s) for s in a.shape[2:]]
    values = ssim_map(a, b, [torch.full((s,), 1 / s) for s in size])
    pool = torch.nn.functional.max_pool3d if a.ndim == 5 else torch.nn.functional.max_pool2d
    full = pool((~inside).float(), size, stride=1) == 0
    return float(values[full].mean()) if bool(full.any()) else math.nan
