"""How the instance optimisation works on a pair: what a user may turn, and what a preset turns for a task."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Literal, get_args

from jssr.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor

Similarity = Literal["lncc", "mind", "mi", "mixture"]
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)
"""Local cross-correlation of intensities, self-similarity context (MIND-SSC), mutual information, and a mixture of
them."""
STIFFEST = 1e6
"""The most that the regulariser's weight is multiplied or divided by. With 1e30 control points are no longer finite."""


@dataclass(frozen=True, eq=False)
class OptimisationSettings:
    """What the instance optimisation is asked for.

    Args:
        similarity: one of `SIMILARITIES`; None has it chosen from the pair.
        smoothness: the weight of the regulariser is multiplied by it.
        spacing: mm between control points on the finest level; None takes the method's own.
        sliding: let organs slide along each other and along the wall, instead of one smooth field; None has it chosen
            from the pair.
        rigid_parts: (1, 1, *optimisation grid) integers, a number for each part that stays rigid, 0 elsewhere.

    Raises:
        OptionError: another similarity, a smoothness or spacing that is not above 0, parts of another shape or type.
    """

    similarity: Similarity | None = None
    smoothness: float = 1.0
    spacing: float | None = None
    sliding: bool | None = None
    rigid_parts: Tensor | None = None

    def __post_init__(self) -> None:
        check_settings(self.similarity, self.smoothness, self.spacing)
        parts = self.rigid_parts
        if parts is not None and (parts.is_floating_point() or tuple(parts.shape[:2]) != (1, 1)):
            kind = str(parts.dtype).removeprefix("torch.")
            raise OptionError(f"rigid_parts: expected integers (1, 1, *spatial), got {kind} {tuple(parts.shape)}")

    @property
    def n_rigid(self) -> int:
        """How many parts stay rigid."""
        return 0 if self.rigid_parts is None else int((self.rigid_parts.unique() != 0).sum())


def check_settings(similarity: object, smoothness: object, spacing: object) -> None:
    """Make sure that values that a user chose can be used.

    Raises:
        OptionError: another similarity, or a smoothness or spacing that is not a number above 0.
    """
    if similarity is not None and similarity not in SIMILARITIES:
        raise OptionError(f"similarity must be one of {', '.join(SIMILARITIES)}, got {similarity!r}")
    if not _positive(smoothness, STIFFEST):
        told = f"from {1 / STIFFEST:g} to {STIFFEST:g} (1 is the method's own)"
        raise OptionError(f"smoothness must be a number above 0, {told}, got {smoothness!r}")
    if spacing is not None and not _positive(spacing):
        raise OptionError(f"spacing must be mm between control points, above 0, got {spacing!r}")


def _positive(value: object, most: float = sys.float_info.max) -> bool:
    """Whether it is a number from 1 / `most` to `most`."""
    return isinstance(value, Real) and not isinstance(value, bool) and 1 / most <= float(value) <= most
