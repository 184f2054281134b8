"""What is written into pictures: the sides of the patient, a scale bar, titles."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from jssr.report.planes import LETTERS, Plane

Picture = NDArray[np.uint8]
"""(height, width) in grey or (height, width, 3) in colour."""

BARS_MM = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
LIGHT = 150
"""Mean grey of a picture that is written on in black."""


def lettered(picture: Picture, plane: Plane, size: int = 17, pixel: float | None = None) -> Picture:
    """Write the sides of the patient (R, L, A, P, H, F) at the edges of a picture, and with `pixel`, millimetres a
    pixel, draw a scale bar. The picture stays as it is; what comes back is another one."""
    high, wide = picture.shape[:2]
    at, black, share = _stamp(plane, size, (wide, high), pixel, bool(picture.mean() > LIGHT))
    out = np.array(picture, order="C")  # cuts come transposed
    spots = out.reshape(high * wide, -1)
    spots[at] = black[:, None] + share[:, None] * spots[at] + 0.5
    return out


@lru_cache(maxsize=32)
def _stamp(
    plane: Plane, size: int, extent: tuple[int, int], pixel: float | None, light: bool
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """What letters and bar make of a picture so wide and high: the pixels they touch, in its flat order, what they are
    on black, and the share of the picture that shines through. Most pictures of a report are written on alike."""
    grounds = [np.asarray(_drawn(Image.new("L", extent, g), plane, size, pixel, light), np.float32) for g in (0, 255)]
    black, share = grounds[0].ravel(), ((grounds[1] - grounds[0]) / np.float32(255)).ravel()
    at = np.flatnonzero(share < 1)
    return at, black[at], share[at]


def _drawn(image: Image.Image, plane: Plane, size: int, pixel: float | None, light: bool) -> Image.Image:
    """The letters and the bar on an image, in black where it is light."""
    draw = ImageDraw.Draw(image)
    wide, high = image.size
    middles = ((7, high / 2, "lm"), (wide - 7, high / 2, "rm"), (wide / 2, 5, "mt"), (wide / 2, high - 6, "mb"))
    colour = "black" if light else "white"
    for (x, y, anchor), letter in zip(middles, LETTERS[plane], strict=True):
        edge = 0 if light else 2
        draw.text((x, y), letter, colour, _font(size), anchor, stroke_width=edge, stroke_fill="black")
    if pixel is not None and (bar := bar_of(wide * pixel)):
        _draw_bar(draw, bar, bar / pixel, high, colour)
    return image


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


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


def caption(text: str, width: int, height: int = 26) -> Picture:
    """Write a line of text on white, to be set above a picture of that width."""
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((2, height / 2), text, font=_font(15), fill="black", anchor="lm")
    return np.asarray(image)
