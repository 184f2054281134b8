"""One aligned scan, and the blocks of pictures that the report shows of it: the scans, what they look like over one
another before and after, the organs and the deformation."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.preprocessing.modality import modality_of
from jssr.report import figures
from jssr.report.letters import Picture as Pixels
from jssr.report.letters import lettered
from jssr.report.planes import CT_WINDOW, Plane, Planes, window, window_of

STRIP, STRIP_WIDTH = 7, 260
"""Slices of a plane, and the pixels of their longest side."""
Painted = Callable[[Plane], Pixels]


@dataclass(frozen=True, eq=False)
class AlignmentView:
    """One moving scan beside the fixed one, every volume on (or convertible to) the fixed grid's space.

    `metrics`, `metrics_before` and `metrics_rigid` (after the rigid step alone; empty where there was none) are as
    `evaluate_pair` gives them, with "seconds" and "peak_mb" where known; `name`
    (a phase or a file) is the heading, by default the moving volume's. `moving_seg` is the moving scan's segmentation
    before the alignment, `own` marks overlaps as of the system's own segmentations, `covered` the fraction of the
    fixed image for which the moving scan has data, `at` the point (LPS mm) that the planes run through (default: the
    middle of the segmentation, else of the body).

    `verdict` is PASS, CHECK or FAIL and what is said of it; `volumes` are by structure and `scans` are "fixed" and
    "moving", as `result.json` has them.

    Where the moving scan has no data the overlays show the fixed image, dimmed: its grid and the displacement tell.
    """

    fixed: Volume
    moving_before: Volume
    moved: Volume
    synthesised: Volume | None = None
    fixed_seg: Volume | None = None
    moved_seg: Volume | None = None
    moving_seg: Volume | None = None
    displacement: Displacement | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_before: Mapping[str, float] = field(default_factory=dict)
    metrics_rigid: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    name: str = ""
    covered: float | None = None
    at: tuple[float, ...] | None = None
    own: bool = False
    verdict: tuple[str, str] | None = None
    volumes: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    scans: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """Images of one cell; `before` is empty where there is nothing to switch."""

    alt: str
    after: str
    before: str = ""


@dataclass(frozen=True)
class Column:
    title: str
    caption: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Block:
    title: str
    lead: str
    planes: tuple[str, ...]
    columns: list[Column]
    switches: bool = False
    legend: bool = False


@dataclass(frozen=True)
class Strip:
    """Slices through the patient in one plane: where each lies, and its picture."""

    plane: str
    pictures: list[tuple[str, str]]


class Cuts:
    """Pictures of a view's volumes, each plane cut once: most are in several columns."""

    def __init__(self, planes: Planes) -> None:
        self.planes = planes
        self.labels = cache(planes.cut)
        self.known = cache(lambda *where: figures.Known(planes.covered(*where)))
        self.window = grey_range = cache(window_of)

        @cache
        def grey(volume: Volume, plane: Plane) -> NDArray[Any]:  # not of self: a circle would keep the volumes
            return window(planes.cut(volume, plane), grey_range(volume))

        self.grey = grey


def scans_block(view: AlignmentView, cuts: Cuts) -> Block:
    shown = [
        ("Fixed", view.fixed.name, view.fixed),
        ("Moving", "before alignment, on the fixed image's grid", view.moving_before),
        ("Moved", "the same scan after alignment, in its own intensities", view.moved),
    ]
    if view.synthesised is not None:
        cut_off = ", cut off at the network's window" if cuts.planes.grid.ndim == 3 else ""
        shown.append(("Synthesised", f"the moved scan in the fixed image's appearance{cut_off}", view.synthesised))
    columns = []
    for title, caption, volume in shown:
        low, high = cuts.window(volume)
        digits = 0 if high - low >= 20 else 2
        unit = " HU" if modality_of(volume) == "ct" and (low, high) == CT_WINDOW else ""
        text = f"{caption}. {_voxels(volume)}. Grey from {low:.{digits}f} to {high:.{digits}f}{unit}."
        columns.append(_column(cuts.planes, title, text, lambda p, v=volume: figures.toned(cuts.grey(v, p))))  # type: ignore[misc]
    lead = "The same three planes through every image. " if cuts.planes.grid.ndim == 3 else ""
    lead += "An organ that stays put from one column to the next is aligned."
    return Block("The scans", lead, cuts.planes.names, columns)


def _voxels(volume: Volume) -> str:
    """Size of its voxels: "1.37 x 1.37 x 4 mm a voxel"."""
    part = "voxel" if volume.grid.ndim == 3 else "pixel"
    return f"{' x '.join(f'{s:.3g}' for s in volume.grid.spacing)} mm a {part}"


def overlay_block(view: AlignmentView, cuts: Cuts) -> Block:
    captions = {
        "checkerboard": "Fixed and moving in turn. Edges should run on across the squares.",
        "fusion": "Fixed in red, moving in cyan: grey where they agree, coloured rims where they do not.",
        "difference": "Red where the moving scan is brighter, blue where it is darker. Differences in contrast stay; "
        "double rims show what is out of place.",
        "edges": "Edges of the moving scan in orange over the fixed one. They should lie on its borders.",
    }

    def paint(name: str, after: bool, plane: Plane) -> figures.Colour:
        other = view.moved if after else view.moving_before
        known = _known(view, cuts, plane, after)
        return figures.overlay(name, cuts.grey(view.fixed, plane), cuts.grey(other, plane), known)

    columns = []
    for name, caption in captions.items():
        after, before = partial(paint, name, True), partial(paint, name, False)
        columns.append(_column(cuts.planes, name.capitalize(), caption, after, before))
    lead = "The fixed and the moving scan over one another, before and after the alignment. Dimmed: no data of the "
    lead += "moving scan."
    return Block("Laid over one another", lead, cuts.planes.names, columns, switches=True)


def field_block(view: AlignmentView, cuts: Cuts) -> Block | None:
    columns = []
    if view.fixed_seg is not None and view.moved_seg is not None:
        columns.append(_contour_column(view, view.fixed_seg, view.moved_seg, cuts))
    if view.displacement is not None:
        columns += _deformation_columns(view, view.displacement, cuts)
    if not columns:
        return None
    lead = "Where the organs lie and how the tissue was moved to bring them there."
    switches = any(picture.before for column in columns for picture in column.pictures)
    return Block("Organs and deformation", lead, cuts.planes.names, columns, switches, view.displacement is not None)


def strips(view: AlignmentView, cuts: Cuts) -> list[Strip]:
    """Checkerboards of the fixed and the moved scan, slice by slice; none of 2D images."""
    grid = cuts.planes.grid
    if grid.ndim != 3:
        return []
    low, high = grid.corners().min(axis=0), grid.corners().max(axis=0)
    found = []
    for plane in cuts.planes.names:
        axis = {"axial": 2, "coronal": 1}.get(plane, 0)
        pictures = []
        for share in np.linspace(0, 1, STRIP + 2)[1:-1]:
            at = np.array(cuts.planes.point)
            at[axis] = low[axis] + share * (high[axis] - low[axis])
            planes = Planes(grid, tuple(at), STRIP_WIDTH)
            fixed, moved = (window(planes.cut(v, plane), cuts.window(v)) for v in (view.fixed, view.moved))
            side = ("LR", "PA", "HF")[axis][int(at[axis] < 0)]
            painted = figures.toned(figures.squares(fixed, moved, STRIP_WIDTH // 8))
            pictures.append((f"{side} {abs(at[axis]):.0f} mm", _data_uri(lettered(painted, plane, 13))))
        found.append(Strip(plane, pictures))
    return found


def _deformation_columns(view: AlignmentView, displacement: Displacement, cuts: Cuts) -> list[Column]:
    planes = cuts.planes

    def grid(plane: Plane) -> figures.Colour:
        mapped = planes.mapped(displacement, plane)
        return figures.deformation_grid(cuts.grey(view.moved, plane), mapped, planes.pixel, planes.lines)

    def jacobian(plane: Plane) -> figures.Colour:
        beneath = cuts.grey(view.fixed, plane)
        out = figures.log_jacobian(*planes.log_jacobian(displacement, plane), beneath)
        return figures.dimmed(out, beneath, _known(view, cuts, plane, True))

    about_grid = f"The moving scan's grid, {planes.lines:g} mm apart, as the alignment bends it, over the moved scan."
    size = "volume" if planes.grid.ndim == 3 else "area"
    about_jacobian = f"Change of {size}. Black: the field folds, no tissue can move like that. Dimmed: no data of the "
    about_jacobian += "moving scan, the field is continued from its border."
    return [
        _column(planes, "Deformation", about_grid, grid),
        _column(planes, "Log Jacobian", about_jacobian, jacobian),
    ]


def _known(view: AlignmentView, cuts: Cuts, plane: Plane, after: bool) -> figures.Known:
    """Where the moving scan has data, after the alignment or before; everywhere after one that left no field."""
    grid = view.moving_before.grid if view.displacement is not None or not after else view.moved.grid
    return cuts.known(grid, plane, view.displacement if after else None)


def _contour_column(view: AlignmentView, fixed_seg: Volume, moved_seg: Volume, cuts: Cuts) -> Column:
    def drawn(seg: Volume) -> Painted:
        return lambda p: figures.contours(cuts.grey(view.fixed, p), cuts.labels(fixed_seg, p), cuts.labels(seg, p))

    caption = "Outlines of the fixed scan's organs in blue, the moving scan's in orange, white where they coincide."
    before = drawn(view.moving_seg) if view.moving_seg is not None else None
    return _column(cuts.planes, "Contours", caption, drawn(moved_seg), before)


def _column(planes: Planes, title: str, caption: str, after: Painted, before: Painted | None = None) -> Column:
    pictures = []
    pixel = planes.pixel if planes.grid.ndim == 3 else None  # a radiograph's millimetres may be its pixels
    for plane in planes.names:
        both = [
            "" if paint is None else _data_uri(lettered(paint(plane), plane, pixel=pixel)) for paint in (after, before)
        ]
        pictures.append(Picture(f"{title}, {plane}", *both))
    return Column(title, caption, pictures)


def _data_uri(picture: Pixels) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(figures.encode(picture, "JPEG")).decode("ascii")
