"""What a user may choose of an alignment, and what is known of the pair: they travel as two objects."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Literal, TypedDict

from jssr.core.volume import MODALITIES, Modality, Points, Volume
from jssr.errors import check_options
from jssr.io.images import ImageLike
from jssr.io.points import PointsLike
from jssr.registration.model import Model

Initial = Literal["geometry", "centre"]


class ModelOptions(TypedDict, total=False):
    """Which system works, and how."""

    system: str | None
    checkpoint: str | os.PathLike[str] | Model | None
    device: str
    deterministic: bool


class EvaluateOptions(ModelOptions, total=False):
    """How the pairs of a cohort are aligned."""

    refine: int | None
    rigid: bool
    descriptor: str | None


class OptionsDict(EvaluateOptions, total=False):
    """The fields of `RegistrationOptions`, as keyword arguments."""

    initial: Initial
    fixed_modality: Modality | None
    moving_modality: Modality | None


class KnownDict(TypedDict, total=False):
    """The fields of `Known`, as a user gives them."""

    fixed_labels: ImageLike | None
    moving_labels: ImageLike | None
    fixed_landmarks: PointsLike | None
    moving_landmarks: PointsLike | None
    structures: Mapping[str, Sequence[int]] | None


class RegistrationOptionsDict(OptionsDict, KnownDict, total=False):
    """Every keyword of `register`."""


@dataclass(frozen=True)
class RegistrationOptions:
    """How to align a pair, each field as in `jssr.register`.

    Raises:
        ValueError: another `initial`, `refine` or modality.
    """

    system: str | None = None
    checkpoint: str | os.PathLike[str] | Model | None = None
    refine: int | None = None
    rigid: bool = True
    descriptor: str | None = None
    initial: Initial = "geometry"
    fixed_modality: Modality | None = None
    moving_modality: Modality | None = None
    device: str = "cpu"
    deterministic: bool = False

    def __post_init__(self) -> None:
        if self.initial not in ("geometry", "centre"):
            raise ValueError(f'initial must be "geometry" or "centre", got {self.initial!r}')
        steps = 0 if self.refine is None else self.refine
        if not isinstance(steps, Real) or not float(steps).is_integer() or steps < 0:
            raise ValueError(f"refine must be a number of steps, 0 or more, got {self.refine!r}")
        for name in ("fixed_modality", "moving_modality"):
            value = getattr(self, name)
            if value is not None and value not in MODALITIES:
                raise ValueError(f"{name} must be one of {', '.join(MODALITIES)}, got {value!r}")


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a pair: label maps on the images' grids, landmarks, and the names of the labels."""

    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    fixed_landmarks: Points | None = None
    moving_landmarks: Points | None = None
    structures: Mapping[str, Sequence[int]] | None = None

    @property
    def measurable(self) -> bool:
        return self.fixed_labels is not None or self.fixed_landmarks is not None


def parse_options(given: Mapping[str, Any]) -> tuple[RegistrationOptions, KnownDict]:
    """Sort keyword arguments into options and what is known.

    Raises:
        TypeError: a keyword that does not exist; the message names the nearest one.
        ValueError: as `RegistrationOptions`.
    """
    options, known = [f.name for f in fields(RegistrationOptions)], [f.name for f in fields(Known)]
    check_options(given, [*options, *known])
    chosen = RegistrationOptions(**{k: v for k, v in given.items() if k in options})
    told: Any = {k: v for k, v in given.items() if k in known}
    return chosen, told
