"""Pictures of an alignment: what a reader compares, painted from cuts of one scale.

Painters take pictures in grey (height, width) 0..1, as `window` gives them, and return (height, width, 3) uint8; the
functions below them take volumes and return PNG bytes. Colours keep apart for the colour-blind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jssr.core.regions import eroded, reached
from jssr.core.volume import Volume
from jssr.report.letters import Picture, caption, lettered
from jssr.report.planes import Plane, Planes, focus, window, window_of

Grey = NDArray[np.float32]
Colour = NDArray[np.uint8]

FIXED_COLOUR = (86, 200, 255)
MOVING_COLOUR = (255, 176, 32)
FOLD_COLOUR = (20, 20, 20)
BLUE_TO_RED = (
    (5, 48, 97), (33, 102, 172), (67, 147, 195), (146, 197, 222), (209, 229, 240), (247, 247, 247),
    (253, 219, 199), (244, 165, 130), (214, 96, 77), (178, 24, 43), (103, 0, 31),
)  # fmt: skip
"""RdBu of ColorBrewer (Brewer 2003, colorbrewer2.org; Apache-2.0), from its blue end: equal steps from 0 to 1."""


def toned(picture: Grey) -> Picture:
    """Show a picture as it is, in grey alone: (height, width)."""
    return (picture * 255 + 0.5).astype(np.uint8)


def grey(picture: Grey) -> Colour:
    """Show a picture as it is."""
    return np.repeat(toned(picture)[..., None], 3, axis=-1)


def squares(fixed: Grey, other: Grey, tile: int = 52) -> Grey:
    """Squares of the two in turn, `tile` pixels wide; the first square is the fixed image's."""
    rows, columns = (np.arange(count) // tile for count in fixed.shape)
    return np.where((rows[:, None] + columns) % 2 == 0, fixed, other)


def checkerboard(fixed: Grey, other: Grey, tile: int = 52) -> Colour:
    """Show `squares` of the two."""
    return grey(squares(fixed, other, tile))


def fusion(fixed: Grey, other: Grey) -> Colour:
    """Show the fixed image in red over the other in cyan: grey where they agree."""
    return (np.stack([fixed, other, other], axis=-1) * 255 + 0.5).astype(np.uint8)


def difference(fixed: Grey, other: Grey) -> Colour:
    """Show other - fixed: red where the other is brighter, blue where darker, white where they are equal.

    Colours are full at half the grey range, so that a rim between two soft tissues is seen.
    """
    return _paint(other - fixed + 0.5)


def edges(fixed: Grey, other: Grey, sigma: float = 2.5) -> Colour:
    """Draw the other's edges (Canny, `sigma` in pixels) over the fixed image."""
    lines = canny(other, sigma, low=0.05, high=0.13)
    return _over(grey(fixed * 0.85), lines | np.roll(lines, 1, axis=0), MOVING_COLOUR)


def canny(picture: Grey, sigma: float, low: float, high: float) -> NDArray[np.bool_]:
    """Find edges (Canny 1986): ridges of the smoothed gradient above `low` that are connected to one above `high`."""
    smooth = _smoothed(picture.astype(np.float64), sigma)
    down, right = _slope(smooth), _slope(smooth.T).T
    size = np.hypot(down, right)
    steep = np.zeros(size.shape, dtype=bool)
    steep[1:-1, 1:-1] = size[1:-1, 1:-1] > low
    at = np.stack(np.nonzero(steep)).astype(np.float64)
    gradient = np.stack([down[steep], right[steep]])
    across = gradient / np.abs(gradient).max(axis=0, initial=1e-12)  # to the next pixel, as the gradient points
    ridge = steep.copy()
    ridge[steep] = (size[steep] >= _between(size, at + across)) & (size[steep] >= _between(size, at - across))
    return reached(ridge, ridge & (size >= high), corners=True)


def _smoothed(picture: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """A picture smoothed by a Gaussian, up to 4 sigma, in both directions; its border is repeated beyond it."""
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    weights /= 2 * weights.sum() - weights[0]
    for _ in range(2):  # down, then right: the picture is transposed in between
        wide, count = np.pad(picture, ((reach, reach), (0, 0)), mode="edge"), len(picture)
        out = weights[0] * picture
        for k in range(1, reach + 1):
            out += weights[k] * (wide[reach - k :][:count] + wide[reach + k :][:count])
        picture = np.ascontiguousarray(out.T)
    return picture


def _slope(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sobel's difference from row to row, 8 times the slope."""
    wide = np.pad(picture, 1, mode="edge")
    along = wide[2:] - wide[:-2]
    return along[:, :-2] + 2 * along[:, 1:-1] + along[:, 2:]


def _between(picture: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """A picture read linearly at places (2, N) inside it: (N,)."""
    wide = picture.shape[1]
    row, column = np.minimum(at.astype(np.intp), np.array(picture.shape)[:, None] - 2)
    down, right = at[0] - row, at[1] - column
    values, first = picture.ravel(), row * wide + column
    above = values[first] * (1 - right) + values[first + 1] * right
    below = values[first + wide] * (1 - right) + values[first + wide + 1] * right
    return above * (1 - down) + below * down


def contours(picture: Grey, fixed: NDArray[np.generic], other: NDArray[np.generic]) -> Colour:
    """Outline two label pictures (height, width) over a picture: fixed blue, other orange, both white."""
    ours, theirs = _outline(fixed), _outline(other)
    out = _over(_over(grey(picture), ours, FIXED_COLOUR), theirs, MOVING_COLOUR)
    return _over(out, ours & theirs, (255, 255, 255))


def _over(base: Colour, where: NDArray[np.bool_], colour: tuple[int, int, int]) -> Colour:
    return np.where(where[..., None], np.array(colour, np.uint8), base)


def _outline(labels: NDArray[np.generic], thickness: int = 2) -> NDArray[np.bool_]:
    masks = [labels == value for value in np.unique(labels) if value != 0]
    lines = [m & ~eroded(m, thickness) for m in masks]
    return np.any([np.zeros(labels.shape, dtype=bool), *lines], axis=0)


def deformation_grid(picture: Grey, mapped: NDArray[np.float64], pixel: float, step: float = 15.0) -> Colour:
    """Draw the moving image's straight grid as the alignment bends it, over a picture.

    `mapped` (height, width, 2) holds the millimetres that each pixel is read from (`Planes.mapped`); `pixel` is
    millimetres a pixel, `step` millimetres between lines.
    """
    strength = np.zeros(picture.shape, np.float32)
    for along in range(2):
        place = mapped[..., along].astype(np.float32)
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
    out = _paint(np.clip(log_det / limit, -1, 1) / 2 + 0.5).astype(np.float32)
    if picture is not None:
        out = out * (0.65 + 0.35 * picture[..., None])
    return _over(out.astype(np.uint8), folds, FOLD_COLOUR)


@lru_cache(maxsize=1)
def _palette() -> Colour:
    """`BLUE_TO_RED` in 256 steps, (256, 3)."""
    ends = np.linspace(0, 1, len(BLUE_TO_RED))
    colours = [np.interp(np.linspace(0, 1, 256), ends, one) for one in zip(*BLUE_TO_RED, strict=True)]
    return (np.stack(colours, axis=-1) + 0.5).astype(np.uint8)


def _paint(picture: NDArray[np.floating]) -> Colour:
    return _palette()[(np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)]


def encode(picture: Picture, kind: str = "PNG", quality: int = 86) -> bytes:
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


def overlay(name: str, fixed: Grey, other: Grey, known: Known | None = None) -> Colour:
    """Lay two pictures over one another, one of `OVERLAYS`; where the other has no data the fixed one is shown,
    dimmed."""
    if known is None or known.all:
        return OVERLAYS[name](fixed, other)
    return dimmed(OVERLAYS[name](fixed, np.where(known.inside, other, fixed)), fixed, known)


@dataclass(frozen=True, eq=False)
class Known:
    """Where the moving scan has data: `inside`, (height, width)."""

    inside: NDArray[np.bool_]

    @cached_property
    def all(self) -> bool:
        return bool(self.inside.all())

    @cached_property
    def dim(self) -> NDArray[np.bool_]:
        """Where pictures are dimmed: the border of the data is no edge of the anatomy, the pixels along it are too."""
        return ~eroded(self.inside, 4)


def dimmed(painted: Colour, fixed: Grey, known: Known) -> Colour:
    """Show the fixed image, dimmed, instead of what was painted where the moving scan has no data."""
    return painted if known.all else np.where(known.dim[..., None], grey(fixed * 0.45), painted)


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
