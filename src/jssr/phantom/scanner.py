"""The scanner: from what the patient is made of to the image of one scan.

Everything of the patient (mean values, texture) lives on a fine grid in the reference space; a scan is that, blurred by
the scanner's point spread (in the plane) and slice profile (along z), read where the motion says each voxel comes from,
with the scanner's noise and field of view added on its own grid.

CT noise is not white: filtered back projection shapes its spectrum like the ramp times the kernel's roll-off, and the
rays through the long axis of the body are the noisiest, which draws horizontal streaks (Riederer et al., Phys Med Biol
1978;23:446; Siewerdsen et al., Med Phys 2002;29:2655; Solomon et al., Med Phys 2012 for clinical spectra).
MR magnitude noise is Rician (Gudbjartsson and Patz, Magn Reson Med 1995;34:910).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.volume import Volume, volume_of
from jssr.phantom.texture import filter_axis, kernel

__all__ = ["LabelReader", "Scanner", "scan_image"]

AIR = -1000.0
OUTSIDE = -1024.0


@dataclass(frozen=True)
class Scanner:
    """How one scan is taken and reconstructed.

    Args:
        grid: the voxels of the scan, axis-aligned LPS.
        modality: "ct" or "mr".
        circle: centre x, y and radius (mm) of the reconstruction circle; outside of it CT holds -1024. None: a square.
        blur: full width at half maximum of the in-plane point spread (mm).
        thickness: slice thickness (mm), a box.
        slices: distance of the slices as acquired (mm), interpolated along z onto the grid; None: the grid's own.
        edge: edge enhancement of the kernel, 0 none to 1 strong.
        noise: standard deviation of the noise (HU, or signal) in the middle of an average body.
        ramp: exponent of the rising part of the noise spectrum, 0 white to 1 ramp.
        cutoff: where the kernel rolls off, in units of the Nyquist frequency.
        streaks: strength of the anisotropy, 0 none.
        modulation: how much of the body's attenuation the tube current leaves in the noise, 0 none to 1 all.
        gain, offset: calibration, `gain * value + offset`.
        bias: amplitude of the MR bias field (standard deviation of its logarithm).
    """

    grid: Grid
    modality: Literal["ct", "mr"] = "ct"
    circle: tuple[float, float, float] | None = None
    blur: float = 2.0
    thickness: float = 4.0
    slices: float | None = None
    edge: float = 0.0
    noise: float = 10.0
    ramp: float = 0.4
    cutoff: float = 1.0
    streaks: float = 0.5
    modulation: float = 0.4
    gain: float = 1.0
    offset: float = 0.0
    bias: float = 0.0


def scan_image(
    values: NDArray[np.float32],
    source: Grid,
    at: Tensor,
    scanner: Scanner,
    rng: np.random.Generator,
    cut: bool = False,
) -> Volume:
    """Take one scan.

    Args:
        values: (*source.shape) what the patient is made of, HU or MR signal.
        source: the fine grid of `values`, in the reference space.
        at: (1, 3, *scanner.grid.shape) where each voxel of the scan comes from, in voxels of `source`.
        scanner: how it is taken.
        rng: for the noise.
        cut: beyond `source` nothing is known (-1024) instead of air.

    Returns:
        Whole numbers in float32: -1024..3071 for CT, 0..4095 for MR.
    """
    ct = scanner.modality == "ct"
    where = _as_acquired(at, scanner)
    clean = _point_spread(torch.from_numpy(np.ascontiguousarray(values)), source, scanner)
    image = ff.sample(clean[None, None], where)[0, 0]
    size = torch.tensor(source.shape).view(3, 1, 1, 1)
    beyond = ((where[0] < -0.5) | (where[0] > size - 0.5)).any(0)
    image[beyond] = AIR if ct else 0.0
    image = _sharpen(image, scanner.edge)
    image = _ct_noise(image, scanner, rng) if ct else _mr_noise(image, scanner, rng)
    image = image * scanner.gain + (scanner.offset if ct else 0.0)
    image = _along_z(image, scanner.grid.shape[2])
    if not ct:
        return Volume(image.clamp(0, 4095).round()[None], scanner.grid)
    if cut:
        image[_along_z(beyond.float(), scanner.grid.shape[2]) > 0.5] = OUTSIDE
    if scanner.circle is not None:
        image[_outside_circle(scanner.grid, scanner.circle)] = OUTSIDE
    return Volume(image.clamp(OUTSIDE, 3071).round()[None], scanner.grid)


def _as_acquired(at: Tensor, scanner: Scanner) -> Tensor:
    """The positions of the acquired slices, where they are not the grid's."""
    if scanner.slices is None:
        return at
    extent = (scanner.grid.shape[2] - 1) * float(scanner.grid.spacing[2])
    return _along_z(at[0], max(2, int(round(extent / scanner.slices)) + 1))[None]


def _along_z(image: Tensor, n: int) -> Tensor:
    """Resample (..., x, y, z) linearly to n slices between the same first and last."""
    if image.shape[-1] == n:
        return image
    place = torch.linspace(0, image.shape[-1] - 1, n)
    low = place.long().clamp(max=image.shape[-1] - 2)
    part = place - low
    return image[..., low] * (1 - part) + image[..., low + 1] * part


def _point_spread(values: Tensor, source: Grid, scanner: Scanner) -> Tensor:
    sigma = scanner.blur / 2.355
    for axis, step in enumerate(source.spacing):
        # Linear reading of the fine grid blurs by about a third of a voxel already.
        own = 0.35 * float(step)
        width = float(np.sqrt(max(sigma**2 - own**2, 0.0))) if axis < 2 else 0.0
        box = scanner.thickness if axis == 2 else 0.0
        values = filter_axis(values, kernel(width / float(step), box / float(step)), axis)
    return values


def _sharpen(image: Tensor, edge: float) -> Tensor:
    if edge <= 0:
        return image
    soft = kernel(1.1, 0)
    # Gas and bone would ring by hundreds of HU; real kernels act before the logarithm's range is that wide.
    shown = image.clamp(-300, 400)
    return image + edge * (shown - filter_axis(filter_axis(shown, soft, 0), soft, 1))


def _ct_noise(image: Tensor, scanner: Scanner, rng: np.random.Generator) -> Tensor:
    if scanner.noise <= 0:
        return image
    step = torch.tensor(scanner.grid.spacing[:2]).float()
    water = ((image + 1000) / 1000).clamp(0, 1.8)
    # Attenuation of water at 70 keV: 0.019 per mm. Longest paths from side to side and from front to back.
    across = (water.sum(0) * step[0]).amax(0) * 0.019
    through = (water.sum(1) * step[1]).amax(0) * 0.019
    level = torch.exp(0.5 * scanner.modulation * (0.5 * (across + through) - 5.5)).clamp(0.6, 1.8)
    # Noise is largest in the middle of the body.
    middle = (water > 0.5).float()
    wide = kernel(max(4.0, 0.08 * image.shape[0]), 0)
    middle = 0.55 + 0.45 * filter_axis(filter_axis(middle, wide, 0), wide, 1)
    uneven = scanner.streaks * ((across - through) / 4).clamp(0, 1.5)
    noise = _correlated(rng, tuple(image.shape), scanner, uneven)
    return image + scanner.noise * level * middle * noise


def _correlated(rng: np.random.Generator, shape: tuple[int, ...], scanner: Scanner, uneven: Tensor) -> Tensor:
    """(x, y, z) noise of unit deviation where `uneven` (z,) is 0; more where streaks are added."""
    white = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    # Neighbouring slices share a little of the data (overlap, interpolation of the helix).
    white = filter_axis(white, torch.tensor([0.12, 1.0, 0.12]) / float(np.sqrt(1 + 2 * 0.12**2)), 2)
    fx = torch.fft.rfftfreq(shape[0], 0.5).view(1, -1)
    fy = torch.fft.fftfreq(shape[1], 0.5).view(-1, 1)
    f = torch.sqrt(fx**2 + fy**2)
    rise = (f + 0.12) ** scanner.ramp * torch.exp(-((f / (1.6 * scanner.cutoff)) ** 2))
    # A streak is long along x: its power sits near the y axis of the spectrum.
    wedge = torch.exp(-((fx / (0.25 * (fy.abs() + 0.1))) ** 2) - (fy / 0.7) ** 2) * rise
    spectrum = torch.fft.rfft2(white.permute(2, 1, 0))
    parts = []
    for shape_of in (rise, wedge):
        count = torch.ones_like(fx)
        count[:, 1 : (shape[0] + 1) // 2] = 2  # half of the spectrum is stored
        power = (count * shape_of**2).sum() / (shape[0] * shape[1])
        parts.append(torch.fft.irfft2(spectrum * (shape_of / power.sqrt()), s=(shape[1], shape[0])))
    out = parts[0] + parts[1] * uneven.view(-1, 1, 1)
    return out.permute(2, 1, 0)


def _mr_noise(image: Tensor, scanner: Scanner, rng: np.random.Generator) -> Tensor:
    if scanner.bias > 0:
        coarse = torch.from_numpy(rng.standard_normal((1, 1, 4, 4, 4), dtype=np.float32))
        field = F.interpolate(coarse, size=tuple(image.shape), mode="trilinear", align_corners=True)[0, 0]
        image = image * torch.exp(scanner.bias * 1.5 * field)
    real, other = (torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32)) for _ in range(2))
    return torch.hypot(image + scanner.noise * real, scanner.noise * other)


def _outside_circle(grid: Grid, circle: tuple[float, float, float]) -> Tensor:
    x = grid.origin[0] + np.arange(grid.shape[0]) * grid.spacing[0] - circle[0]
    y = grid.origin[1] + np.arange(grid.shape[1]) * grid.spacing[1] - circle[1]
    return torch.from_numpy(np.hypot(x[:, None], y[None]) > circle[2])


class LabelReader:
    """Reads a label map between its voxels: the label with the greatest linear weight, as from one-hot channels.

    Args:
        labels: (*shape) uint8. Cells whose eight corners agree are found once; only the others are weighed.
    """

    def __init__(self, labels: NDArray[np.uint8]) -> None:
        self.labels = labels
        low, high = labels, labels
        for axis in range(3):
            head = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
            tail = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
            low, high = np.minimum(low[head], low[tail]), np.maximum(high[head], high[tail])
        self.mixed = np.ones(labels.shape, dtype=np.bool_)
        self.mixed[:-1, :-1, :-1] = low != high

    def __call__(self, at: Tensor, grid: Grid) -> Volume:
        """Labels on `grid`, whose voxels lie `at` (1, 3, *grid.shape) voxels of the map; 0 outside of it."""
        shape = np.array(self.labels.shape).reshape(3, 1)
        flat = at.reshape(3, -1).numpy()
        outside = ((flat < -0.5) | (flat > shape - 0.5)).any(axis=0)
        flat = np.clip(flat, 0, shape - 1)
        low = np.minimum(flat.astype(np.int32), shape - 2)
        strides = np.array([self.labels.shape[1] * self.labels.shape[2], self.labels.shape[2], 1])
        first = strides @ low.astype(np.int64)
        out = self.labels.ravel()[first]
        hard = np.flatnonzero(self.mixed.ravel()[first] & ~outside)
        part = (flat[:, hard] - low[:, hard]).astype(np.float32)
        weight = np.zeros((len(hard), int(self.labels.max()) + 1), dtype=np.float32)
        row = np.arange(len(hard))
        for corner in range(8):
            bit = [(corner >> a) & 1 for a in range(3)]
            share = np.prod([part[a] if bit[a] else 1 - part[a] for a in range(3)], axis=0)
            weight[row, self.labels.ravel()[first[hard] + int(strides @ np.array(bit))]] += share
        out[hard] = weight.argmax(axis=1)
        out[outside] = 0
        return volume_of(out.reshape(grid.shape), grid, "labels")
