"""Intensities as the networks see them: -1 to 1, whatever the scanner."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jssr.core.volume import Modality
from jssr.errors import ImageError

Window = tuple[float, float]

NO_DATA = -32768
"""What prepared scans hold where the scanner saw nothing."""


def limits(data: Tensor, window: Window | None) -> Window:
    """The intensities of an image that become -1 and 1: the window (HU, of CT), as it is; without one (MR, no unit) the
    1st and 99.5th percentile of the foreground, which lies above 5 % of the image's own range (so air does not count).

    Raises:
        ValueError: an empty window, or a constant image.
    """
    if window is not None:
        low, high = float(window[0]), float(window[1])
        if not low < high:
            raise ValueError(f"a window goes from low to high, got {window}")
        return low, high
    flat = thinned(data).float()
    flat = flat[torch.isfinite(flat) & (flat > NO_DATA)]
    if flat.numel() == 0 or flat.min() == flat.max():
        raise ValueError("the image is constant: there is nothing to normalise")
    base, top = _quantiles(flat, 0.001, 0.999)
    if base == top:  # nearly everything is one value
        base, top = float(flat.min()), float(flat.max())
    foreground = flat[flat > base + 0.05 * (top - base)]
    low, high = _quantiles(foreground, 0.01, 0.995)
    return (low, high) if low < high else (base, top)


def _quantiles(data: Tensor, low: float, high: float) -> Window:
    """Numpy parts the values round two places, which takes a third of the time that torch takes to sort them all."""
    one, two = np.quantile(data.numpy(), (low, high))
    return float(one), float(two)


def limits_of(name: str, data: Tensor, window: Window | None) -> Window:
    """`limits` of the scan `name`, NaN where it holds no measurement.

    Raises:
        ImageError: it has no two intensities.
    """
    try:
        return limits(data, window)
    except ValueError as error:
        raise ImageError(f"{name}: {error}; expected a scan of more than one intensity") from error


def normalise(data: Tensor, window: Window | None) -> Tensor:
    """Scale the intensities of one image to -1..1 float32 by `limits`, and clip there; NaN becomes -1."""
    low, high = limits(data, window)
    out = (data.float() - low).mul_(2.0 / (high - low)).sub_(1.0)
    return out.nan_to_num_(nan=-1.0).clamp_(-1.0, 1.0)


def denormalise(data: Tensor, window: Window) -> Tensor:
    """Undo `normalise`: -1..1 back to the intensities `window` (from `limits`). What was clipped stays clipped."""
    low, high = window
    return (data.float() + 1.0) * (0.5 * (high - low)) + low


def data_mask(data: Tensor, modality: Modality) -> Tensor:
    """Where an image holds measurements: bool, the shape of `data`.

    Not data are NaN, the sentinel of prepared scans, and in CT what lies below -1500 HU: scanners fill the corners
    outside the circle of reconstruction with -2000 or -3024. A fill of -1024 is like air and counts as data.
    """
    return (data > _floor(modality)) & (data < float("inf"))


def all_data(data: Tensor, modality: Modality) -> bool:
    """Whether an image holds measurements everywhere, as `data_mask` tells them: one pass, and no mask is made."""
    low, high = (float(end) for end in data.aminmax())
    return _floor(modality) < low and high < float("inf")  # false of NaN


def _floor(modality: Modality) -> int:
    return -1500 if modality == "ct" else NO_DATA


def thinned(data: Tensor) -> Tensor:
    """Evenly spaced voxels, about a million: enough for percentiles (torch.quantile takes no more than 16 M)."""
    flat = data.detach().flatten()
    return flat[:: thinning(flat.numel())]


def thinning(voxels: int) -> int:
    """One of how many voxels `thinned` takes."""
    return max(1, voxels // 1_000_000)
