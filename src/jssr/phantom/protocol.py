"""How a department scans: fields of view, kernels, doses and slices, drawn widely so that training carries over.

Clinical abdominal CT: soft-tissue kernels resolve 0.8 to 1.5 mm in the plane; noise in the liver is 8 to 20 HU in thin
slices; multi-phase studies differ in z coverage by centimetres (the arterial phase often holds the liver alone).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.phantom.scanner import Scanner

__all__ = ["SUPERVISED_PROTOCOL", "TARGET_PROTOCOL", "Extent", "Protocol", "draw_scanner", "draw_views"]

Circle = tuple[float, float, float]


@dataclass(frozen=True)
class Protocol:
    """Ranges of one population of scanners; millimetres and HU."""

    width: tuple[float, float] = (1.04, 1.22)
    """Side of the field of view over the body's larger diameter."""
    narrow_share: float = 0.08
    """Share of patients whose field of view cuts the body."""
    circle_share: float = 0.6
    above: tuple[float, float] = (8.0, 38.0)
    """Millimetres scanned above the liver."""
    height: tuple[float, float] = (228.0, 276.0)
    shift: float = 15.0
    """Largest difference of a phase's start or stop from the patient's."""
    noise: tuple[float, float] = (5.0, 20.0)
    resolution: tuple[float, float] = (0.75, 1.5)
    """Point spread over the larger of the in-plane voxel and 1.4 mm."""
    edge: tuple[float, float] = (0.0, 0.6)
    thick_share: float = 0.25
    """Share of scans taken in slices thicker than the grid's and interpolated."""


TARGET_PROTOCOL = Protocol()

SUPERVISED_PROTOCOL = Protocol(
    width=(1.0, 1.3),
    circle_share=0.4,
    above=(5.0, 60.0),
    height=(215.0, 285.0),
    noise=(6.0, 26.0),
    resolution=(0.6, 1.3),
    edge=(0.0, 0.9),
    thick_share=0.1,
)


@dataclass(frozen=True)
class Extent:
    """Boxes in LPS millimetres, (2, 3) low and high: the body, the liver, and all there is to scan."""

    body: NDArray[np.float64]
    liver: NDArray[np.float64]
    scannable: NDArray[np.float64]


def draw_views(
    rng: np.random.Generator,
    streams: Mapping[str, np.random.Generator],
    extent: Extent,
    shape: Sequence[int],
    protocol: Protocol,
    slice_thickness: float | None = None,
) -> dict[str, tuple[Grid, Circle | None]]:
    """Draw the field of view of each phase.

    Args:
        rng: the patient's stream.
        streams: each phase's stream.
        extent: where the patient is.
        shape: voxels of a scan.
        protocol: the ranges.
        slice_thickness: distance of the slices (mm); then the number of slices follows from the coverage.

    Returns:
        phase -> grid and reconstruction circle (None: square).
    """
    low, high = extent.body
    side = float((high - low)[:2].max()) * rng.uniform(*protocol.width)
    if rng.random() < protocol.narrow_share:
        side *= rng.uniform(0.78, 0.9)
    middle = (low + high)[:2] / 2 + rng.normal(0, 4, 2)
    top = float(extent.liver[1, 2]) + rng.uniform(*protocol.above)
    bottom = min(top - rng.uniform(*protocol.height), float(extent.liver[0, 2]) - 12)
    round_view = rng.random() < protocol.circle_share
    views: dict[str, tuple[Grid, Circle | None]] = {}
    for phase, own in streams.items():
        factor, shift = own.uniform(0.94, 1.08), own.normal(0, 5, 2)
        ends = own.normal(0, 0.6 * protocol.shift, 2).clip(-protocol.shift, protocol.shift)
        same = own.random() < 0.4  # reconstructed like the patient's other phases
        width = side if same else side * factor
        centre = middle if same else middle + shift
        above = min(top + ends[0], float(extent.scannable[1, 2]) - 2)
        below = max(bottom + ends[1], float(extent.scannable[0, 2]) + 2)
        grid = _grid(centre, width, below, above, shape, slice_thickness)
        views[phase] = (grid, (float(centre[0]), float(centre[1]), width / 2) if round_view else None)
    return views


def _grid(
    centre: NDArray[np.float64], width: float, below: float, above: float, shape: Sequence[int], thickness: float | None
) -> Grid:
    # Files hold single precision: few decimals survive it.
    plane = round(width / max(shape[0], shape[1]), 4)
    slices = shape[2] if thickness is None else max(2, int((above - below) / thickness))
    step = round((above - below) / slices, 3) if thickness is None else thickness
    spacing = np.array([plane, plane, step])
    size = (shape[0], shape[1], slices)
    middle = np.array([centre[0], centre[1], (below + above) / 2])
    return Grid.of(size, spacing.tolist(), np.round(middle - spacing * (np.array(size) - 1) / 2, 2).tolist())


def draw_scanner(
    style: np.random.Generator,
    rng: np.random.Generator,
    phase: str,
    grid: Grid,
    circle: Circle | None,
    protocol: Protocol,
    slice_thickness: float | None = None,
) -> Scanner:
    """Draw how one phase is taken.

    Args:
        style: a fresh generator of the patient's style, the same for each phase: one department, one machine.
        rng: the phase's stream.
        phase: its name; "t1" and "t2" are MR.
        grid, circle: its field of view.
        protocol: the ranges.
        slice_thickness: slice thickness of the study (mm); None draws one.
    """
    noise = float(np.exp(style.uniform(*np.log(protocol.noise))))
    resolution = style.uniform(*protocol.resolution)
    edge = max(0.0, style.uniform(protocol.edge[0] - 0.3, protocol.edge[1]))  # many kernels have none
    ramp, cutoff, streaks = style.uniform(0.0, 0.8), style.uniform(0.55, 1.3), style.uniform(0.0, 0.9)
    modulation = style.uniform(0.1, 0.55)
    step = float(grid.spacing[2])
    thickness, slices = step * rng.uniform(0.8, 1.2), None
    if slice_thickness is not None:
        thickness = slice_thickness
    elif rng.random() < protocol.thick_share:
        slices = float(rng.choice([5.0, 5.0, 6.0, 7.5]))
        thickness, slices = (slices, slices) if slices > step else (thickness, None)
    blur = max(float(grid.spacing[0]), 1.4) * resolution * rng.uniform(0.95, 1.05)
    jitter = float(np.exp(rng.normal(0, 0.15)))
    if phase in ("t1", "t2"):
        return _mr_scanner(rng, grid, blur, thickness, slices)
    return Scanner(
        grid,
        "ct",
        circle,
        blur=blur,
        thickness=thickness,
        slices=slices,
        edge=edge,
        noise=noise * jitter * float(np.sqrt(4.0 / max(thickness, 2.0))),  # thick slices average noise
        ramp=ramp,
        cutoff=cutoff,
        streaks=streaks,
        modulation=modulation,
        gain=1 + rng.normal(0, 0.008),
        offset=rng.normal(0, 1.5),
    )


def _mr_scanner(rng: np.random.Generator, grid: Grid, blur: float, thickness: float, slices: float | None) -> Scanner:
    return Scanner(
        grid,
        "mr",
        blur=blur * 1.1,
        thickness=thickness,
        slices=slices,
        noise=rng.uniform(6, 28),
        gain=float(np.exp(rng.uniform(np.log(0.4), np.log(2.2)))),
        bias=rng.uniform(0.03, 0.16),
    )
