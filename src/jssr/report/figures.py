"""Pictures of an alignment: what a reader compares, painted from cuts of one scale.

Painters take pictures in grey (height, width) 0..1, as `window` gives them, and return (height, width, 3) uint8; the
functions below them take volumes and return PNG bytes or a figure. Colours keep apart for the colour-blind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion, binary_propagation, gaussian_filter, map_coordinates, sobel

from jssr.core.volume import Volume
from jssr.metrics.entries import entry
from jssr.metrics.results import CaseResult, value_of
from jssr.report.planes import LETTERS, Plane, Planes, focus, window, window_of

Grey = NDArray[np.float32]
Colour = NDArray[np.uint8]

FEW = 5
"""Values that make no box."""
FIXED_COLOUR = (86, 200, 255)
MOVING_COLOUR = (255, 176, 32)
FOLD_COLOUR = (20, 20, 20)


def grey(picture: Grey) -> Colour:
    """Show a picture as it is."""
    return np.repeat((picture * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=-1)


def checkerboard(fixed: Grey, other: Grey, tile: int = 52) -> Colour:
    """Show squares of the two in turn, `tile` pixels wide; the first square is the fixed image's."""
    rows, columns = np.indices(fixed.shape) // tile
    return grey(np.where((rows + columns) % 2 == 0, fixed, other))


def fusion(fixed: Grey, other: Grey) -> Colour:
    """Show the fixed image in red over the other in cyan: grey where they agree."""
    return (np.stack([fixed, other, other], axis=-1) * 255 + 0.5).astype(np.uint8)


def difference(fixed: Grey, other: Grey) -> Colour:
    """Show other - fixed: red where the other is brighter, blue where darker, white where they are equal.

    Colours are full at half the grey range, so that a rim between two soft tissues is seen.
    """
    return _paint(other - fixed + 0.5, "RdBu_r")


def edges(fixed: Grey, other: Grey, sigma: float = 2.5) -> Colour:
    """Draw the other's edges (Canny, `sigma` in pixels) over the fixed image."""
    lines = canny(other, sigma, low=0.05, high=0.13)
    return _over(grey(fixed * 0.85), lines | np.roll(lines, 1, axis=0), MOVING_COLOUR)


def canny(picture: Grey, sigma: float, low: float, high: float) -> NDArray[np.bool_]:
    """Find edges (Canny 1986): ridges of the smoothed gradient above `low` that are connected to one above `high`."""
    smooth = gaussian_filter(picture.astype(np.float64), sigma, mode="nearest")
    gradient = np.stack([sobel(smooth, axis) for axis in (0, 1)])
    size = np.hypot(*gradient)
    across = gradient / np.maximum(np.abs(gradient).max(axis=0), 1e-12)  # to the next pixel, as the gradient points
    index = np.indices(size.shape)
    beside = [map_coordinates(size, index + sign * across, order=1, mode="nearest") for sign in (1, -1)]
    ridge = (size > low) & (size >= beside[0]) & (size >= beside[1])
    ridge[[0, -1], :] = ridge[:, [0, -1]] = False
    return np.asarray(binary_propagation(ridge & (size >= high), np.ones((3, 3)), mask=ridge), dtype=bool)


def contours(picture: Grey, fixed: NDArray[np.generic], other: NDArray[np.generic]) -> Colour:
    """Outline two label pictures (height, width) over a picture: fixed blue, other orange, both white."""
    ours, theirs = _outline(fixed), _outline(other)
    out = _over(_over(grey(picture), ours, FIXED_COLOUR), theirs, MOVING_COLOUR)
    return _over(out, ours & theirs, (255, 255, 255))


def _outline(labels: NDArray[np.generic], thickness: int = 2) -> NDArray[np.bool_]:
    out = np.zeros(labels.shape, dtype=bool)
    for value in np.unique(labels):
        if value != 0:
            mask = labels == value
            # border_value 1: no line along the edge of the picture, where nothing ends
            out |= mask & ~binary_erosion(mask, iterations=thickness, border_value=1)
    return out


def deformation_grid(picture: Grey, mapped: NDArray[np.float64], pixel: float, step: float = 15.0) -> Colour:
    """Draw the moving image's straight grid as the alignment bends it, over a picture.

    Args:
        picture: usually the moved image.
        mapped: (height, width, 2) millimetres, where each pixel is read from (`Planes.mapped`).
        pixel: millimetres a pixel.
        step: millimetres between lines.
    """
    strength = np.zeros(picture.shape)
    for along in range(2):
        place = mapped[..., along]
        # Distance in pixels to the nearest line: millimetres to it over how fast millimetres pass.
        slope = np.hypot(*np.gradient(place, pixel)).clip(min=0.05)
        distance = np.abs(place - np.round(place / step) * step) / slope / pixel
        strength = np.maximum(strength, np.clip(1.4 - distance, 0, 1))
    base = grey(picture * 0.6).astype(np.float32)
    line = np.array(MOVING_COLOUR, dtype=np.float32)
    return (base + (line - base) * strength[..., None]).round().astype(np.uint8)


def log_jacobian(log_det: Grey, folds: NDArray[np.bool_], picture: Grey | None = None, limit: float = 0.7) -> Colour:
    """Paint the log Jacobian of the map from fixed to moving space, folds in black.

    Red, above 0: the moving tissue is larger there and is compressed to fit; blue, below 0: it is stretched.

    Args:
        log_det: (height, width), any value where it folds.
        folds: where the determinant is not positive.
        picture: shown faintly beneath, for orientation.
        limit: the value of full colour, in either direction.
    """
    out = _paint(np.clip(log_det / limit, -1, 1) / 2 + 0.5, "RdBu_r").astype(np.float32)
    if picture is not None:
        out = out * (0.65 + 0.35 * picture[..., None])
    return _over(out.astype(np.uint8), folds, FOLD_COLOUR)


@lru_cache(maxsize=4)
def _palette(name: str) -> Colour:
    return (mpl.colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255 + 0.5).astype(np.uint8)


def _paint(picture: NDArray[np.floating], palette: str) -> Colour:
    return _palette(palette)[(np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)]


def _over(base: Colour, where: NDArray[np.bool_], colour: tuple[int, int, int]) -> Colour:
    out = base.copy()
    out[where] = colour
    return out


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def lettered(picture: Colour, plane: Plane, size: int = 17) -> Colour:
    """Write the sides of the patient (R, L, A, P, H, F) at the edges of a picture."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    wide, high = image.size
    middles = ((7, high / 2, "lm"), (wide - 7, high / 2, "rm"), (wide / 2, 5, "mt"), (wide / 2, high - 6, "mb"))
    light = picture.mean() > 150
    for (x, y, anchor), letter in zip(middles, LETTERS[plane], strict=True):
        draw.text(
            (x, y), letter, "black" if light else "white", _font(size), anchor, stroke_width=0 if light else 2,
            stroke_fill="black",
        )  # fmt: skip
    return np.asarray(image)


def encode(picture: Colour, kind: str = "PNG", quality: int = 86) -> bytes:
    """Encode a picture as "PNG" or "JPEG" (colours at full resolution: thin lines stay their colour)."""
    buffer = BytesIO()
    options = {"quality": quality, "subsampling": 0} if kind == "JPEG" else {}
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def beside(pictures: Sequence[Colour], gap: int = 6, white: bool = False) -> Colour:
    """Set pictures of different height side by side, centred, on black or white."""
    high = max(p.shape[0] for p in pictures)
    parts: list[Colour] = []
    for picture in pictures:
        spare = high - picture.shape[0]
        edge = ((spare // 2, spare - spare // 2), (0 if not parts else gap, 0), (0, 0))
        parts.append(np.pad(picture, edge, constant_values=255 if white else 0))
    return np.concatenate(parts, axis=1)


OVERLAYS: Mapping[str, Callable[[Grey, Grey], Colour]] = {
    "checkerboard": checkerboard,
    "fusion": fusion,
    "difference": difference,
    "edges": edges,
}


def overlay(name: str, fixed: Grey, other: Grey, inside: NDArray[np.bool_] | None = None) -> Colour:
    """Lay two pictures over one another, one of `OVERLAYS`; where the other has no data the fixed one is shown, dimmed.

    Raises:
        KeyError: no such overlay.
    """
    if inside is None or inside.all():
        return OVERLAYS[name](fixed, other)
    return dimmed(OVERLAYS[name](fixed, np.where(inside, other, fixed)), fixed, inside)


def dimmed(painted: Colour, fixed: Grey, inside: NDArray[np.bool_]) -> Colour:
    """Show the fixed image, dimmed, instead of what was painted where the moving scan has no data."""
    # The border of the data is no edge of the anatomy: dim the pixels along it as well.
    outside = ~binary_erosion(inside, iterations=4, border_value=1)
    out = painted.copy()
    out[outside] = grey(fixed * 0.45)[outside]
    return out


def compare(
    fixed: Volume, other: Volume, how: str = "checkerboard", at: tuple[float, ...] | None = None, width: int = 420
) -> bytes:
    """Show two volumes over one another in three planes, one of `OVERLAYS`, as PNG bytes.

    Raises:
        KeyError: no such overlay.
    """
    paint = OVERLAYS[how]
    planes = Planes(fixed.grid, at or focus(fixed), width)
    a, b = window_of(fixed), window_of(other)
    cuts = [(p, window(planes.cut(fixed, p), a), window(planes.cut(other, p), b)) for p in planes.names]
    return encode(beside([lettered(paint(x, y), p) for p, x, y in cuts]))


@dataclass(frozen=True, eq=False)
class StudyRow:
    """One line of a montage: a moving scan before and after alignment to the fixed one."""

    name: str
    fixed: Volume
    moving: Volume
    moved: Volume


def montage(
    rows: Sequence[StudyRow], plane: Plane = "axial", at: tuple[float, ...] | None = None, width: int = 320
) -> bytes:
    """Show a study as PNG bytes: a row for each phase; fixed, moving, moved, checkerboard before and after."""
    heads = ("fixed", "moving", "moved", "checkerboard before", "checkerboard after")
    lines = []
    for row in rows:
        planes = Planes(row.fixed.grid, at or focus(row.fixed), width)
        volumes = (row.fixed, row.moving, row.moved)
        fixed, moving, moved = (window(planes.cut(v, plane), window_of(v)) for v in volumes)
        tile = max(8, width // 8)
        cells = [grey(fixed), grey(moving), grey(moved)]
        cells += [checkerboard(fixed, moving, tile), checkerboard(fixed, moved, tile)]
        pictures = [lettered(c, plane, 14) for c in cells]
        named = zip(heads, pictures, strict=True)
        titles = [caption(f"{row.name}: {h}" if h == "moving" else h, p.shape[1]) for h, p in named]
        lines.append(np.concatenate([beside(titles, white=True), beside(pictures, white=True)], axis=0))
    widest = max(line.shape[1] for line in lines)
    return encode(
        np.concatenate([np.pad(x, ((0, 4), (0, widest - x.shape[1]), (0, 0)), constant_values=255) for x in lines])
    )


def caption(text: str, width: int, height: int = 26) -> Colour:
    """Write a line of text on white, to be set above a picture of that width."""
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((2, height / 2), text, font=_font(15), fill="black", anchor="lm")
    return np.asarray(image)


def box_plot(
    results: Sequence[CaseResult], metric: str = "dice", structure: str = "liver", phases: Sequence[str] | None = None
) -> Figure:
    """Plot the spread of one metric over the cases, a box for each phase and method (the paper's figure 4).

    Boxes run from the first to the third quartile, whiskers to the last value within 1.5 of their distance. Fewer than
    `FEW` values are shown as points besides: their box may be a line.
    """
    about = entry(metric)
    phases = tuple(phases or dict.fromkeys(r.phase for r in results))
    methods = tuple(dict.fromkeys(r.method for r in results))
    figure = Figure(figsize=(1.6 + 0.42 * len(methods) * len(phases), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    step = 0.8 / max(1, len(methods))
    for m, method in enumerate(methods):
        mine = [(r.phase, value_of(r, metric, structure) * about.factor) for r in results if r.method == method]
        boxes = [[v for phase, v in mine if phase == p and np.isfinite(v)] for p in phases]
        places = [i - 0.4 + (m + 0.5) * step for i in range(len(phases))]
        small = {"markersize": 3}
        drawn = axes.boxplot(boxes, positions=places, widths=step * 0.8, patch_artist=True, flierprops=small)
        for box in drawn["boxes"]:
            box.set_facecolor(mpl.colormaps["cividis"](0.15 + 0.8 * m / max(1, len(methods) - 1)))
            box.set_label(method if box is drawn["boxes"][0] else "_")
        for line in drawn["medians"]:
            line.set_color("#d03030")
        for place, box, values in zip(places, drawn["boxes"], boxes, strict=True):
            if len(values) < FEW:
                axes.plot([place] * len(values), values, "o", markersize=5, color=box.get_facecolor(), zorder=3)
    axes.set_xticks(range(len(phases)), phases)
    axes.set_ylabel(f"{about.title}, {structure}" if structure else about.title)
    axes.yaxis.grid(True, color="#dddddd")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def figure_png(figure: Figure, dpi: int = 150) -> bytes:
    """Encode a matplotlib figure as PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
