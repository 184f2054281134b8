"""Pictures of an alignment: what a reader compares, painted from cuts of one scale.

Painters take pictures in grey (height, width) 0..1, as `window` gives them, and return (height, width, 3) uint8; the
functions below them take volumes and return PNG bytes or a figure. Colours keep apart for the colour-blind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from io import BytesIO

import matplotlib as mpl
import numpy as np
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
BARS_MM = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)


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


def _over(base: Colour, where: NDArray[np.bool_], colour: tuple[int, int, int]) -> Colour:
    return np.where(where[..., None], np.array(colour, np.uint8), base)


def _outline(labels: NDArray[np.generic], thickness: int = 2) -> NDArray[np.bool_]:
    # border_value 1: no line along the edge of the picture, where nothing ends
    masks = [labels == value for value in np.unique(labels) if value != 0]
    lines = [m & ~binary_erosion(m, iterations=thickness, border_value=1) for m in masks]
    return np.any([np.zeros(labels.shape, dtype=bool), *lines], axis=0)


def deformation_grid(picture: Grey, mapped: NDArray[np.float64], pixel: float, step: float = 15.0) -> Colour:
    """Draw the moving image's straight grid as the alignment bends it, over a picture.

    `mapped` (height, width, 2) holds the millimetres that each pixel is read from (`Planes.mapped`); `pixel` is
    millimetres a pixel, `step` millimetres between lines.
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
    """Paint the log Jacobian of the map from fixed to moving space, folds in black, the picture faintly beneath.

    Red, above 0: the moving tissue is larger there and is compressed to fit; blue, below 0: it is stretched. Colours
    are full at `limit`, in either direction.
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


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def lettered(picture: Colour, plane: Plane, size: int = 17, pixel: float | None = None) -> Colour:
    """Write the sides of the patient (R, L, A, P, H, F) at the edges of a picture, and with `pixel`, millimetres a
    pixel, draw a scale bar."""
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
    if pixel is not None and (bar := bar_of(wide * pixel)):
        _draw_bar(draw, bar, bar / pixel, high, "black" if light else "white")
    return np.asarray(image)


def bar_of(millimetres: float) -> float:
    """How long a scale bar is, mm, in a picture so wide: the longest round length up to a third of it; 0 for none."""
    return max((mm for mm in BARS_MM if mm <= millimetres / 3), default=0.0)


def _draw_bar(draw: ImageDraw.ImageDraw, millimetres: float, pixels: float, high: int, colour: str) -> None:
    """In the lower left corner, with its length."""
    left, bottom, other = 8, high - 9, "white" if colour == "black" else "black"
    draw.line((left, bottom, left + pixels, bottom), fill=other, width=5)
    draw.line((left, bottom, left + pixels, bottom), fill=colour, width=3)
    words = f"{millimetres / 10:g} cm" if millimetres >= 10 else f"{millimetres:g} mm"
    draw.text((left, bottom - 5), words, colour, _font(13), "lb", stroke_width=2, stroke_fill=other)


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
    """Lay two pictures over one another, one of `OVERLAYS`; where the other has no data the fixed one is shown,
    dimmed."""
    if inside is None or inside.all():
        return OVERLAYS[name](fixed, other)
    return dimmed(OVERLAYS[name](fixed, np.where(inside, other, fixed)), fixed, inside)


def dimmed(painted: Colour, fixed: Grey, inside: NDArray[np.bool_]) -> Colour:
    """Show the fixed image, dimmed, instead of what was painted where the moving scan has no data."""
    # The border of the data is no edge of the anatomy: dim the pixels along it as well.
    outside = ~binary_erosion(inside, iterations=4, border_value=1)
    return np.where(outside[..., None], grey(fixed * 0.45), painted)


def montage(name: str, fixed: Volume, moving: Volume, moved: Volume, plane: Plane, width: int = 320) -> bytes:
    """Show one scan's alignment as PNG bytes: fixed, moving, moved, checkerboard before and after."""
    planes, tile = Planes(fixed.grid, focus(fixed), width), max(8, width // 8)
    y, x, warped = (window(planes.cut(v, plane), window_of(v)) for v in (fixed, moving, moved))
    cells = {
        "fixed": grey(y),
        f"{name}: moving": grey(x),
        "moved": grey(warped),
        "checkerboard before": checkerboard(y, x, tile),
        "checkerboard after": checkerboard(y, warped, tile),
    }
    return encode(captioned(list(cells), [lettered(c, plane, 14) for c in cells.values()]))


def captioned(titles: Sequence[str], pictures: Sequence[Colour]) -> Colour:
    """Set pictures side by side on white, each below its title."""
    heads = [caption(title, p.shape[1]) for title, p in zip(titles, pictures, strict=True)]
    return np.concatenate([beside(heads, white=True), beside(pictures, white=True)], axis=0)


def caption(text: str, width: int, height: int = 26) -> Colour:
    """Write a line of text on white, to be set above a picture of that width."""
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((2, height / 2), text, font=_font(15), fill="black", anchor="lm")
    return np.asarray(image)


def box_plot(results: Sequence[CaseResult], metric: str = "dice", structure: str = "liver") -> Figure:
    """Plot the spread of one metric over the cases, a box for each phase and method (the paper's figure 4).

    Boxes run from the first to the third quartile, whiskers to the last value within 1.5 of their distance. Fewer than
    `FEW` values are shown as points besides: their box may be a line.
    """
    about = entry(metric)
    phases = tuple(dict.fromkeys(r.phase for r in results))
    methods = tuple(dict.fromkeys(r.method for r in results))
    figure = Figure(figsize=(1.6 + 0.42 * len(methods) * len(phases), 3.6), layout="constrained")
    axes = figure.add_subplot()
    step = 0.8 / max(1, len(methods))
    for m, method in enumerate(methods):
        mine = [(r.phase, value_of(r, metric, structure) * about.factor) for r in results if r.method == method]
        boxes = [[v for phase, v in mine if phase == p and np.isfinite(v)] for p in phases]
        places = [i - 0.4 + (m + 0.5) * step for i in range(len(phases))]
        colour = mpl.colormaps["cividis"](0.15 + 0.8 * m / max(1, len(methods) - 1))
        axes.boxplot(
            boxes, positions=places, widths=step * 0.8, patch_artist=True, label=method,
            boxprops={"facecolor": colour}, medianprops={"color": "#d03030"}, flierprops={"markersize": 3},
        )  # fmt: skip
        points = [(place, v) for place, values in zip(places, boxes, strict=True) if len(values) < FEW for v in values]
        axes.plot(*np.reshape(points, (-1, 2)).T, "o", markersize=5, color=colour, zorder=3)
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
