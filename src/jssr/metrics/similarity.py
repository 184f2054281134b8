"""How alike two images are as a whole: mutual information and structural similarity, as macJNet's tables have them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from jssr.errors import requires

__all__ = ["likeness", "mutual_information", "structural_similarity"]

BINS = 64
WINDOW = 7
"""Voxels along the side of SSIM's windows."""


def likeness(fixed: Tensor, moved: Tensor, mask: Tensor) -> dict[str, float]:
    """ "mi" and "ssim" of two normalised images.

    Args:
        fixed, moved: (1, 1, *spatial) in -1..1.
        mask: (1, 1, *spatial), above 0.5 where both scans have data; SSIM counts windows that lie inside entirely.

    Returns:
        Both nan where the mask leaves nothing.
    """
    inside = mask > 0.5
    if not bool(inside.any()):
        return {"mi": math.nan, "ssim": math.nan}
    a, b = (image[inside].double().numpy() for image in (fixed, moved))
    return {"mi": mutual_information(a, b), "ssim": structural_similarity(fixed, moved, inside)}


def mutual_information(a: ArrayLike, b: ArrayLike, bins: int = BINS) -> float:
    """Mutual information in nats of paired values in -1..1, from their joint histogram (macJNet, eq. 1)."""
    joint, _, _ = np.histogram2d(np.ravel(a), np.ravel(b), bins=bins, range=[(-1, 1), (-1, 1)])
    p = joint / max(joint.sum(), 1)
    apart = p.sum(axis=1, keepdims=True) * p.sum(axis=0, keepdims=True)
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / apart[seen])).sum())


def structural_similarity(a: Tensor, b: Tensor, inside: Tensor) -> float:
    """Mean SSIM of windows of 7 voxels with data throughout, of images in -1..1. Equation (2) is printed with sums
    where the standard (Wang et al. 2004), which MONAI computes, has products."""
    requires("train", "monai")
    from monai.metrics.regression import compute_ssim_and_cs  # MONAI takes seconds to import

    dims = a.ndim - 2
    size = tuple(min(WINDOW, s) for s in a.shape[2:])
    values, _ = compute_ssim_and_cs(
        (a + 1) / 2, (b + 1) / 2, dims, kernel_size=size, kernel_sigma=(1.5,) * dims, data_range=1.0,
        kernel_type="uniform",
    )  # fmt: skip
    pool = torch.nn.functional.max_pool3d if dims == 3 else torch.nn.functional.max_pool2d
    whole = pool((~inside).float(), size, stride=1) == 0
    return float(values[whole].mean()) if bool(whole.any()) else math.nan
