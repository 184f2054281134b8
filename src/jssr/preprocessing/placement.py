"""Where the networks work: one grid per patient, and every scan put onto it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.regions import filled, largest
from jssr.core.resampling import coverage, resample
from jssr.core.transform import Affine
from jssr.core.volume import Volume
from jssr.preprocessing.intensity import Modality, Window, all_data, data_mask, limits_of, normalise
from jssr.preprocessing.modality import guess_modality, window_for
from jssr.preprocessing.shrinking import SLAB, Change, Turned

MARGIN = 12.0
"""mm kept around the body and beyond the common field of view."""
_COARSE = 8.0
_LEAST = 48.0
"""mm; a crop that would leave less along an axis is not made along that axis."""


@dataclass(frozen=True)
class Ready:
    """One scan, averaged to about the working resolution, and how it lies.

    `volume` holds its own units with air (or the minimum) where there is no data; `mask` 1 where there is, None where
    there is data everywhere. `limits` become -1 and 1. `transform` takes points of the reference phase's space to the
    scan's. `counted` is 1 where a mask of the user's has the scan count, None where there is none.
    """

    volume: Volume
    mask: Volume | None
    full: Grid
    limits: Window
    modality: Modality
    transform: Affine
    counted: Volume | None = None


@dataclass(frozen=True)
class Cleaned:
    """One scan at its own resolution, its axes read in canonical order: `Ready` before it is averaged. `about` is
    the scan as it was given, `air` what it shows where it has no data, None where it has data everywhere."""

    scan: Turned
    about: Volume
    air: float | None
    limits: Window
    modality: Modality
    counted: Turned | None = None

    def ready(self, spacing: Sequence[float] | float, transform: Affine) -> Ready:
        """Averaged to about `spacing` mm."""
        air, modality, kept, counted = self.air, self.modality, None, None
        if air is None:
            volume = self._shrunk(self.scan, spacing)
        else:
            volume = self._shrunk(self.scan, spacing, lambda one: torch.where(data_mask(one, modality), one, air))
            kept = self._shrunk(self.scan, spacing, lambda one: data_mask(one, modality).float())
        if self.counted is not None:
            counted = self._shrunk(self.counted, spacing, lambda one: (one[:1] != 0).float())
        return Ready(volume, kept, self.scan.grid, self.limits, modality, transform, counted)

    def _shrunk(self, voxels: Turned, spacing: Sequence[float] | float, change: Change | None = None) -> Volume:
        return self.about.with_data(*_shrunk(voxels, spacing, change))


def cleaned(volume: Volume, window: Window | None, counted: Volume | None = None) -> Cleaned:
    """A scan with its axes in canonical order, and air (or the minimum) where it has no data.

    Arguments and errors as `ready`.
    """
    scan = Turned.canonical(volume.data, volume.grid)  # the networks know one orientation only
    if volume.grid.voxels <= SLAB:  # once, not each time that it is averaged
        scan = scan.straight
    few = scan.thinned()
    modality = volume.modality or guess_modality(volume)
    shown = torch.where(data_mask(few, modality), few, float("nan"))
    ends = limits_of(volume.name, shown, window_for(modality, window))
    air = None
    if not all_data(scan.data, modality):
        air = -1024.0 if modality == "ct" else _least(scan, modality)
    wanted = None if counted is None else Turned.canonical(counted.data, counted.grid)
    return Cleaned(scan, volume, air, ends, modality, wanted)


def _least(scan: Turned, modality: Modality) -> float:
    """The smallest value that is measured."""
    found = (part[data_mask(part, modality)] for _, part in scan.slabs())
    return min(float(values.min()) for values in found if values.numel())


def ready(
    volume: Volume,
    spacing: Sequence[float] | float,
    window: Window | None,
    transform: Affine,
    counted: Volume | None = None,
) -> Ready:
    """Clean a scan, bring its axes into canonical order and average it to about `spacing` mm.

    Args:
        counted: a label map on the scan's grid; only what is not 0 in it counts.

    Raises:
        ImageError: nothing in the scan but one value.
    """
    return cleaned(volume, window, counted).ready(spacing, transform)


def canonical(volume: Volume) -> Volume:
    """A volume with its axes in the order of `Turned.canonical`."""
    turned = Turned.canonical(volume.data, volume.grid)
    return volume if turned.order is None else volume.with_data(turned.whole, turned.grid)


def shrink(volume: Volume, spacing: Sequence[float] | float, change: Change | None = None) -> Volume:
    """Average blocks of voxels so that the spacing comes near (not above about 1.4 times) the one asked for.

    This is the filter against aliasing before a volume is resampled to a coarser grid. Labels keep every n-th voxel.

    Args:
        change: what is done to the voxels of an image or a mask before they are averaged.
    """
    factor = _blocks(volume.grid, spacing)
    if (factor == 1).all() and change is None:
        return volume
    if volume.kind != "labels":
        data, grid = _shrunk(Turned(volume.data, volume.grid), spacing, change)
        return replace(volume, data=data, grid=grid, kind="image")
    shape = np.array(volume.grid.shape) // factor
    affine = volume.grid.affine @ np.diag([*factor, 1.0])
    affine[:-1, -1] = volume.grid.world(factor // 2)
    pick = tuple(slice(f // 2, f * s, f) for f, s in zip(factor, shape, strict=True))
    return volume.with_data(volume.data[(slice(None), *pick)], Grid(tuple(shape), affine))


def _shrunk(voxels: Turned, spacing: Sequence[float] | float, change: Change | None) -> tuple[Tensor, Grid]:
    """Voxels of an image averaged as `shrink` has it, and where they then lie."""
    grid, factor = voxels.grid, _blocks(voxels.grid, spacing)
    if (factor == 1).all():
        return voxels.whole if change is None else change(voxels.whole), grid
    affine = grid.affine @ np.diag([*factor, 1.0])
    affine[:-1, -1] = grid.world((factor - 1) / 2)
    return voxels.averaged(factor.tolist(), change), Grid(tuple(np.array(grid.shape) // factor), affine)


def _blocks(grid: Grid, spacing: Sequence[float] | float) -> NDArray[np.int64]:
    """Voxels of a block along each axis."""
    ratio = np.broadcast_to(np.asarray(spacing, dtype=float), (grid.ndim,)) / grid.spacing
    return np.minimum(np.maximum(1, np.floor(ratio + 0.3)), grid.shape).astype(np.int64)


def put(scan: Ready, grid: Grid) -> tuple[Tensor, Tensor]:
    """Read a scan on the working grid.

    Returns:
        image in its own units and mask, (1, 1, *grid.shape) float32. Without data the image repeats air.
    """
    air = float(scan.volume.data.min())
    both, fill = scan.volume, [air]
    if scan.mask is not None:  # both are read at the same places: at once
        both, fill = both.with_data(torch.cat([both.data.float(), scan.mask.data])), [air, 0.0]
    read = resample(both, grid, scan.transform, fill=fill).data
    there = coverage(grid, scan.full, scan.transform)
    if scan.mask is not None:
        there = there & (read[1:] > 0.5)
    return read[None, :1], there[None].float()


def counts(scan: Ready, grid: Grid) -> Tensor | None:
    """Where the user's mask has a scan count, (1, 1, *grid.shape) float32; None without a mask."""
    if scan.counted is None:
        return None
    return (resample(scan.counted, grid, scan.transform, fill=0.0).data[None] > 0.5).float()


def working_grid(
    reference_phase: Ready, others: Sequence[Ready], spacing: Sequence[float] | float, common: bool = True
) -> tuple[Grid, list[str]]:
    """The grid that all scans of a patient are put onto: the reference phase's axes in canonical order, `spacing` mm,
    cropped.

    Cropped to the bodies, and (with `common`) to the field of view that all scans share, as far as a box can and with a
    margin. An axis along which too little would remain is not cropped.

    Returns:
        the grid, and warnings in words.
    """
    full = reference_phase.full.respaced(spacing)
    coarse = reference_phase.full.respaced(_COARSE)
    body = _body(reference_phase, coarse)
    shared = np.ones(coarse.shape, dtype=bool)
    for other in others:
        body |= _body(other, coarse)
        shared &= coverage(coarse, other.full, other.transform)[0].numpy()
    wanted = [_box(body, coarse)]
    warnings = []
    if common and others:
        if shared.any():
            wanted.append(_box(shared, coarse))
        else:
            warnings.append("the scans have no field of view that all of them share; nothing was cropped to it")
    low = np.max([w[0] for w in wanted], axis=0)
    high = np.min([w[1] for w in wanted], axis=0)
    start, stop = np.zeros(full.ndim, dtype=int), np.array(full.shape)
    step, edge = full.spacing, reference_phase.full.index(full.origin) * reference_phase.full.spacing
    for axis in range(full.ndim):
        if high[axis] - low[axis] < _LEAST:
            continue
        # Boxes are in mm along the reference phase's axes from its first voxel; voxel i of `full` lies at
        # edge + i * step.
        start[axis] = max(0, int(np.floor((low[axis] - MARGIN - edge[axis]) / step[axis])))
        stop[axis] = min(full.shape[axis], int(np.ceil((high[axis] + MARGIN - edge[axis]) / step[axis])) + 1)
    return full.cropped(tuple(start.tolist()), tuple((stop - start).tolist())), warnings


def body_of(image: Volume) -> Volume:
    """Whatever of a scan is not the air around it, what it encloses in each axial slice (lungs, bowel) included: a mask
    on a coarse grid.

    Raises:
        ValueError: as `ready`.
    """
    n = image.grid.ndim
    step = _COARSE if n == 3 else float((image.grid.spacing * image.grid.shape).max()) / 128
    scan = ready(image, step, None, Affine.identity(n))
    solid = _solid(scan, scan.volume.grid)
    if n == 2:
        solid = filled(solid)
    for k in range(solid.shape[2] if n == 3 else 0):
        solid[:, :, k] = filled(solid[:, :, k])
    return Volume(torch.from_numpy(solid)[None], scan.volume.grid, "mask", image.name)


def _solid(scan: Ready, grid: Grid) -> NDArray[np.bool_]:
    """What is not air."""
    small = shrink(scan.volume, _COARSE) if grid.ndim == 3 else scan.volume
    # -190 HU for CT: fat counts, foam and clothes do not. MR: a tenth of the range.
    window = (-250.0, 350.0) if scan.modality == "ct" else scan.limits
    data = normalise(resample(small, grid, scan.transform).data[0], window)
    return np.asarray((data > -0.8).numpy())


def _body(scan: Ready, grid: Grid) -> NDArray[np.bool_]:
    """The largest connected thing that is not air, on a coarse grid."""
    solid = _solid(scan, grid)
    return largest(solid) if solid.any() else np.ones(grid.shape, dtype=bool)


def _box(mask: NDArray[np.bool_], grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and last edges of a mask in mm along the axes, from the outer edge of the grid's first voxel."""
    index = np.argwhere(mask)
    return index.min(axis=0) * grid.spacing, (index.max(axis=0) + 1) * grid.spacing
