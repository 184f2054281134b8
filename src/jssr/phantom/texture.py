"""Structure inside tissues, and the small filters that make it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from jssr.core import field as ff
from jssr.core.grid import Grid

__all__ = ["bounding_box", "filter_axis", "kernel", "make_texture", "mottle"]


def kernel(sigma: float, box: float) -> Tensor:
    """Weights of a Gaussian or a box (both in voxels), fractions of voxels at the box's ends counted."""
    if box > 1:
        half = (box - 1) / 2
        radius = int(np.ceil(half))
        weight = np.clip(half + 1 - np.abs(np.arange(-radius, radius + 1)), 0, 1)
    elif sigma > 0.2:
        radius = int(np.ceil(2.5 * sigma))
        weight = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    else:
        weight = np.ones(1)
    return torch.from_numpy(weight / weight.sum()).float()


def filter_axis(image: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Filter along one axis by shifted sums, border repeated: on one CPU thread several times faster than conv1d."""
    radius, n = len(weights) // 2, image.shape[axis]
    if radius == 0:
        return image
    first, last = image.narrow(axis, 0, 1), image.narrow(axis, n - 1, 1)
    count = [1, 1, 1]
    count[axis] = radius
    padded = torch.cat([first.repeat(count), image, last.repeat(count)], dim=axis)
    out = torch.zeros_like(image)
    for k, weight in enumerate(weights.tolist()):
        out.add_(padded.narrow(axis, k, n), alpha=weight)
    return out


def make_texture(
    rng: np.random.Generator, codes: NDArray[np.uint8], grid: Grid, sd: NDArray[np.float32], length: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Structure inside the tissues, HU of zero mean on the fine grid: made once, it moves with the patient.

    Args:
        rng: the patient's stream.
        codes: (*grid.shape) tissue codes.
        grid: the fine grid.
        sd: (256,) standard deviation of each code (HU).
        length: (256,) correlation length of each code (mm); rounded to one of three.
    """
    kinds = (3.0, 4.5, 7.0)
    nearest = np.abs(length[:, None] - np.array(kinds)).argmin(1)
    noise = torch.from_numpy(rng.standard_normal(grid.shape, dtype=np.float32))
    out = np.zeros(grid.shape, dtype=np.float32)
    reached = 0.0
    present = np.unique(nearest[np.bincount(codes.ravel(), minlength=256) > 0])
    for kind, wanted in enumerate(kinds):
        if kind not in present:
            continue
        # One noise, smoothed further for each longer length.
        sigma = float(np.sqrt(max((wanted / 2) ** 2 - reached**2, 0.0)))
        for axis, step in enumerate(grid.spacing):
            noise = filter_axis(noise, kernel(sigma / float(step), 0), axis)
        noise, reached = noise / noise.std(), wanted / 2
        out += np.where(nearest == kind, sd, 0).astype(np.float32)[codes] * noise.numpy()
    return out


def mottle(
    values: NDArray[np.float32],
    inside: NDArray[np.bool_],
    grid: Grid,
    rng: np.random.Generator,
    amplitude: float,
    length: float,
    bands: bool = False,
) -> None:
    """Add blotches of one phase to the voxels of one organ, in place.

    Args:
        values: (*grid.shape) HU.
        inside: (*grid.shape) the organ.
        grid: their grid.
        rng: the phase's stream.
        amplitude: standard deviation (HU).
        length: correlation length (mm).
        bands: winding bands, as in a spleen of the arterial phase, instead of blotches.
    """
    box = bounding_box(inside)
    if box is None:
        return
    part = inside[box]
    sigma = length / 2 / grid.spacing
    step = [max(1, int(s)) for s in sigma]
    coarse = tuple(max(3, -(-n // s) + 1) for n, s in zip(part.shape, step, strict=True))
    noise = ff.smooth(torch.from_numpy(rng.standard_normal((1, 1, *coarse), dtype=np.float32)), 0.9)
    noise = F.interpolate(noise, size=part.shape, mode="trilinear", align_corners=True)[0, 0]
    noise = noise / noise.std()
    if bands:
        noise = torch.sin(2.2 * noise) * 1.4
    values[box] += np.where(part, amplitude * noise.numpy(), 0).astype(np.float32)


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    """The slices that hold every True voxel; None where there is none."""
    spans = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if len(hit) == 0:
            return None
        spans.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return spans[0], spans[1], spans[2]
