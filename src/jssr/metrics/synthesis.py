"""What a synthesised image is judged by."""

from __future__ import annotations

import math

import torch
from torch import Tensor

COPIES_BELOW = 0.05


SAME_BELOW = 1e-3
"""Images of -1..1 whose mean absolute difference is below this are the same: nothing to move or to recolour."""


def copy_ratio(synthesised: Tensor, moving: Tensor, fixed: Tensor, mask: Tensor | None = None) -> float:
    """How far the synthesised image is from the fixed one, relative to how far the moving one is. NaN where moving
    and fixed are the same. All (B, 1, *spatial); `mask` is 1 where both have data."""
    weight = torch.ones_like(fixed) if mask is None else mask
    apart = ((moving - fixed).abs() * weight).sum()
    if float(apart) <= SAME_BELOW * float(weight.sum()):
        return math.nan
    return float(((synthesised - fixed).abs() * weight).sum() / apart)
