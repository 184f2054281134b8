"""Known deformations of flat images, from which JRS-Net learns (Mahapatra et al. 2018, section 2.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jssr.core import field as ff
from jssr.recipes.augmentation import Deform

_TRIES = 50


class Deformation:
    """S, which says where a pixel of the deformed image is read: bent, turned and zoomed about the middle, shifted.

    deformed(q) = image(S(q)), S(q) = c + R (q + b(q) - c) / z + t

    Attributes:
        bend, shift: b and t.
        linear, inverse: R / z and its inverse, (2, 2).
    """

    def __init__(self, bend: Tensor, angle: float, shift: Tensor, zoom: float = 1.0) -> None:
        """Keep it.

        Args:
            bend: b, (1, 2, H, W) pixels.
            angle: of R, radians.
            shift: t, (2,) pixels.
            zoom: z, above 1 magnifies.
        """
        self.bend = bend
        c, s = math.cos(angle), math.sin(angle)
        turn = torch.tensor([[c, -s], [s, c]])
        self.linear, self.inverse = turn / zoom, turn.T * zoom
        self.shift = shift.view(1, 2, 1, 1)
        self.middle = (torch.tensor(bend.shape[2:]).float() - 1).view(1, 2, 1, 1) / 2

    def apply(self, image: Tensor, mode: str = "bilinear", outside: float = 0.0, margin: int = 0) -> Tensor:
        """The deformed image (1, C, H, W) of one (1, C, H + 2 margin, W + 2 margin), which shows more on each side."""
        q = ff.identity(self.bend.shape[2:])
        at = margin + self.middle + self._turned(q + self.bend - self.middle, self.linear) + self.shift
        return ff.sample(image - outside, at, mode, "zeros") + outside

    def undone(self) -> Tensor:
        """u, (1, 2, H, W) pixels, that brings the deformed image back: image(p) = deformed(p + u(p))."""
        p = ff.identity(self.bend.shape[2:])
        straight = self.middle + self._turned(p - self.shift - self.middle, self.inverse)
        return straight + ff.sample(ff.invert(self.bend), straight) - p

    @staticmethod
    def _turned(at: Tensor, by: Tensor) -> Tensor:
        return torch.einsum("ij,bj...->bi...", by, at)


def deformed(mask: Tensor, how: Deform, generator: torch.Generator) -> Deformation:
    """Draw a deformation of an image.

    Args:
        mask: (1, 1, H, W) above 0 on the structure whose overlap decides. An empty one is taken as it is.
        how: ranges.
        generator: CPU generator; its state alone decides the outcome.

    Returns:
        One that does not fold, and leaves the overlap of what the image shows below `most_dice` unless it is mild.
        Where 50 drawings are not enough (a structure that fills the image overlaps in any case) the one that overlaps
        least.
    """
    kind = float(torch.rand((), generator=generator))
    if kind < how.p_same:
        return Deformation(torch.zeros(1, 2, *mask.shape[2:]), 0.0, torch.zeros(2))
    mild = kind < how.p_same + how.p_mild
    best, least = None, math.inf
    inside = (mask > 0).float()
    for _ in range(_TRIES):
        drawn = _drawn(mask.shape[2:], how, generator, mild)
        if bool((ff.jacobian_determinant(drawn.bend) <= 0.05).any()):
            continue
        if mild or not bool(inside.any()):
            return drawn
        left = _dice(inside, drawn.apply(inside, "nearest"))
        if left < how.most_dice:
            return drawn
        best, least = (drawn, left) if left < least else (best, least)
    return best or Deformation(torch.zeros(1, 2, *mask.shape[2:]), 0.0, torch.zeros(2))


def _drawn(shape: tuple[int, ...], how: Deform, generator: torch.Generator, mild: bool) -> Deformation:
    scale = max(shape) / how.pixels
    spacing = max(2, 2 * round(how.control_points * scale / 2))
    control_points = [-(-s // spacing) for s in shape]
    bend = scale * _signed(how.mild_bend if mild else how.bend, (1, 2, *control_points), generator)
    low, high = how.mild_rotation if mild else how.rotation
    count = int((high - low) / how.rotation_step)
    step = int(torch.randint(count + 1, (), generator=generator)) * how.rotation_step + low
    angle = math.radians(step) * (1 if float(torch.rand((), generator=generator)) < 0.5 else -1)
    shift = scale * _signed(how.mild_shift if mild else how.shift, (2,), generator)
    zoom = math.exp(how.mild_zoom * (2 * float(torch.rand((), generator=generator)) - 1)) if mild else 1.0
    if not mild:  # left, right, up or down
        shift[int(torch.randint(2, (), generator=generator))] = 0.0
    return Deformation(ff.bspline_field(bend, spacing, shape), angle, shift, zoom)


def _signed(bounds: tuple[float, float], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    size = bounds[0] + (bounds[1] - bounds[0]) * torch.rand(shape, generator=generator)
    return size * (1 - 2 * torch.randint(2, shape, generator=generator))


def _dice(a: Tensor, b: Tensor) -> float:
    return float(2 * (a * b).sum() / (a.sum() + b.sum()).clamp(min=1))
