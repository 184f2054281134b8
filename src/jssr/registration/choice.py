"""What the instance optimisation does with a pair where the user does not say: chosen from the pair itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jssr.preprocessing.prepare import PreparedPair
from jssr.registration.relation import WINDOW
from jssr.registration.settings import OptimisationSettings, Similarity

FINEST, FINEST_SMALL = 5.0, 3.0
"""Voxels between control points on the last level, where the user does not say otherwise; of small MR scans, see
`is_small_mr`."""
LEVELS = {2: ((6.4, 4), (3.2, 2), (1.6, 1), (1.0, 1)), 3: ((3.2, 2), (1.6, 1), (1.0, 1))}
"""From coarse to fine, by the number of axes: control spacing, of the last level's, and how many voxels are averaged
along each axis."""
TRUNK_MM = 220.0
"""The longest side of a working grid that shows a trunk; heads are smaller."""
SMOOTHNESS = {"lncc": 0.5, "mind": 0.5, "mixture": 0.5, "mi": 5.0}
"""Weight of the squared gradient of the field."""
LOOSER = 0.1
"""Times that, of small MR scans whose intensities are related. Mean Dice of 6 tuning pairs of hippocampi, with control
points 5 and 3 voxels apart: 78.0 and 78.8 % with the weight of others, 78.5 and 79.5 % with a quarter of it, 80.0 %
with 3 voxels and a tenth. Hearts, livers and CT gain nothing by it or lose."""
STIFFER = 4.0
"""Times that, where the intensities of one scan do not tell those of the other (`are_related`), but for "mi"."""
IN_PLANE = 0.4
"""Times that, in 2D. Mean Dice of 14 tuning pairs of radiographs: after the search 83.8 %; mixture with 4, 1 and 0.4
83.6, 84.5 and 84.6 %; the same with WINDOW_2D and 4 levels 85.7 %, and so "lncc" 86.1 %."""
WINDOW_2D = 17
"""Voxels along the window of local intensities in 2D."""
AGAIN, CLEARLY = 2, 0.05
"""Where organs slide, the first level is done again, at most so often, while unseen points become more alike by this
part: what moves by 20 mm beside what stands still is not there at once. Tuning pairs, all levels so, with and without:
liver MR 0.95 and 0.98 mm in the liver, 1.30 and 1.36 mm outside it, hearts 86.3 and 86.2 %. Where nothing slides it
gains nothing."""


@dataclass(frozen=True)
class Choice:
    """How a pair is optimised.

    Attributes:
        similarity: what is compared; window: voxels along that of local intensities.
        smoothness: weight of the regulariser; sliding: whether organs may slide.
        spacing: mm between the control points of the last level, given `voxel`, the smallest voxel in mm.
        levels: of `LEVELS`; again: how often the first one may be repeated.
        doubtful: the system's field is led by noise where it makes the scans little more alike.
    """

    similarity: Similarity
    smoothness: float
    sliding: bool
    spacing: float
    window: int
    levels: tuple[tuple[float, int], ...]
    again: int
    doubtful: bool


def choose(pair: PreparedPair, related: bool, system: str, voxel: float, settings: OptimisationSettings) -> Choice:
    """How to optimise a pair.

    Args:
        related: of `are_related`; system: what found the field to begin with.
        voxel: the smallest voxel of the grid of optimisation, mm.
        settings: what the user asks for, which wins.
    """
    is_2d = pair.grid.ndim == 2
    small = is_small_mr(pair) and related
    similarity = settings.similarity or ("lncc" if is_2d else "mixture" if related else "mind")
    smoothness = SMOOTHNESS[similarity] * settings.smoothness
    if similarity != "mi":
        smoothness *= IN_PLANE if is_2d else LOOSER if small else 1.0 if related else STIFFER
    sliding = slides(pair) and related if settings.sliding is None else settings.sliding
    return Choice(
        similarity, smoothness, sliding,
        spacing=settings.spacing or voxel * (FINEST_SMALL if small else FINEST),
        window=WINDOW_2D if is_2d else WINDOW,
        levels=LEVELS[pair.grid.ndim],
        again=AGAIN if sliding else 0,
        # A network knows better, and in 2D the affine map is in the field.
        doubtful=not related and system == "discrete" and not is_2d,
    )  # fmt: skip


def slides(pair: PreparedPair) -> bool:
    """Whether organs are let slide where the user does not say: in two MR scans that show the width of a trunk.

    Four tuning pairs of livers and hearts gain by it (1.16 and 1.16 to 1.07 and 1.13 mm, Dice 80.2 and 89.8 to 82.5 and
    90.0 %), hippocampi and CT lose.
    """
    return pair.modalities == ("mr", "mr") and pair.grid.ndim == 3 and not is_small_mr(pair)


def is_small_mr(pair: PreparedPair) -> bool:
    """Whether two MR scans show less than the width of a trunk: a head or a part of one, of which every fold counts."""
    extent = float((np.array(pair.grid.shape) * pair.grid.spacing).max())
    return pair.modalities == ("mr", "mr") and pair.grid.ndim == 3 and extent < TRUNK_MM
