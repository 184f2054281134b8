"""Whether the grey values of one scan tell those of the other: phases of CT and two T1 scans do, CT and MR do not.

A test of signs, which needs no alignment. Each block of the fixed scan looks for its counterpart among all places
around it, by the correlation of local contrasts, and for the counterpart of its negative. In scans of one contrast the
block finds more than its negative does; in scans that have nothing to do with each other each of them wins half of the
blocks, whatever the search found and however far the patient breathed.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import field as ff
from jssr.core.precision import full_precision
from jssr.losses.mind import described
from jssr.losses.similarity import box_mean
from jssr.preprocessing.prepare import PreparedImage
from jssr.registration.expected_error import coarse, pooled

RELATED = 0.7
"""Share of blocks from which on scans are related. Tuning pairs: phases of CT and MR and MR of one contrast 0.96 to
0.99, hippocampi of two people 0.77 to 0.85; T1 and T2 0.60, MR and ultrasound 0.44 to 0.58, CT and MR 0.23 to 0.40."""
REACH = 3
"""Coarse voxels that a block looks around it."""
_TOGETHER = 32
"""Places that are looked at in one operation."""
LEAST = 0.5
"""Of a block that has data, to be asked."""
WINDOW, LEAST_DEVIATION = 5, 0.05
"""Voxels along the window of local intensities, and a standard deviation (of -1..1) that is noise."""


def are_related(fixed: PreparedImage, moving: PreparedImage, displacement: Tensor) -> bool:
    """Whether intensities of one scan tell those of the other.

    Args:
        fixed, moving: on one grid.
        displacement: (1, n, *spatial) voxels, under which the moving scan is read.
    """
    return positive_share(fixed, moving, displacement) > RELATED


@torch.no_grad()
@full_precision
def positive_share(fixed: PreparedImage, moving: PreparedImage, displacement: Tensor) -> float:
    """Share of the fixed body's blocks whose best correlation around them is greater than that of their negative."""
    body = fixed.mask * described(fixed.image)
    _, size = coarse(fixed.grid, float(body.sum()))
    there = ff.warp(moving.image, displacement), ff.warp(moving.mask, displacement, padding="zeros")
    a, inside, b, seen = (pooled(x, size) for x in (fixed.image, body, *there))
    inside, seen = (inside > 0.5).float(), (seen > 0.5).float()
    n = a.ndim - 2
    thin = (slice(None), slice(None), *[slice(None, None, 2)] * n)
    mine, its = local_contrast(a, inside)[thin].contiguous(), local_contrast(b, seen)
    padded = F.pad(its, [REACH] * (2 * n))
    most, least = torch.full_like(mine, -1.0), torch.full_like(mine, 1.0)
    places = list(itertools.product(range(2 * REACH + 1), repeat=n))
    for first in range(0, len(places), _TOGETHER):
        others = [
            padded[(slice(None), slice(None), *[slice(o, o + s, 2) for o, s in zip(place, a.shape[2:], strict=True)])]
            for place in places[first : first + _TOGETHER]
        ]
        other = torch.cat(others, dim=1)
        # Divided by the block's own length as well, which is the same for both signs, this is the correlation.
        found = box_mean(mine * other, 3) / box_mean(other.square(), 3).clamp(min=1e-3).sqrt()
        most = torch.maximum(most, found.amax(dim=1, keepdim=True))
        least = torch.minimum(least, found.amin(dim=1, keepdim=True))
    asked = (inside[thin] > 0.5) & (box_mean(seen[thin], 3) > LEAST)
    return float((most > -least)[asked].float().mean()) if bool(asked.any()) else 0.0


def local_contrast(image: Tensor, mask: Tensor, window: int = WINDOW) -> Tensor:
    """An image (1, 1, *spatial) in -1..1 less its local mean, over its local standard deviation; 0 without data.

    The mean squared difference of two such images is 2 less twice their local cross-correlation, where both vary.
    """
    inside = (mask > 0.5).float()
    share = box_mean(inside, window).clamp(min=1e-3)
    mean = box_mean(image * inside, window) / share
    variance = (box_mean(image.square() * inside, window) / share - mean.square()).clamp(min=0)
    return (image - mean) / (variance + LEAST_DEVIATION**2).sqrt() * inside
