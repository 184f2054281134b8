"""What a user may choose of an alignment, and what is known of the pair: they travel as two objects."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from jssr.core.volume import MODALITIES, Modality, Points, Volume
from jssr.errors import OptionError, check_options, nearest
from jssr.io.formats import split_format
from jssr.io.images import ImageLike
from jssr.io.points import PointsLike
from jssr.io.transforms import TransformLike
from jssr.registration.presets import PRESETS, PresetName
from jssr.registration.settings import Similarity, check_settings

if TYPE_CHECKING:
    from jssr.registration.model import Model

Initial = Literal["geometry", "centre"]
KNOBS = ("similarity", "smoothness", "spacing", "sliding", "rigid_labels")
"""Options of the instance optimisation."""


class ModelOptions(TypedDict, total=False):
    """Which system works, and how."""

    system: str | None
    checkpoint: str | os.PathLike[str] | Model | None
    device: str
    deterministic: bool


class Knobs(TypedDict, total=False):
    """How the instance optimisation works, in a cohort or a study."""

    preset: PresetName | None
    similarity: Similarity | None
    smoothness: float | None
    spacing: float | None
    sliding: bool | None
    rigid_labels: Sequence[int | str] | None


class EvaluateOptions(ModelOptions, Knobs, total=False):
    """How the pairs of a cohort are aligned."""

    refine: int | None
    rigid: bool
    descriptor: str | None


class OptionsDict(EvaluateOptions, total=False):
    """The fields of `RegistrationOptions`, as keyword arguments."""

    initial: Initial | TransformLike
    fixed_modality: Modality | None
    moving_modality: Modality | None


class KnownDict(TypedDict, total=False):
    """The fields of `Known`, as a user gives them."""

    fixed_labels: ImageLike | None
    moving_labels: ImageLike | None
    fixed_landmarks: PointsLike | None
    moving_landmarks: PointsLike | None
    structures: Mapping[str, Sequence[int]] | str | os.PathLike[str] | None
    fixed_mask: ImageLike | None
    moving_mask: ImageLike | None


class RegistrationOptionsDict(OptionsDict, KnownDict, total=False):
    """Every keyword of `register`."""

    label_names: Mapping[int, str] | str | os.PathLike[str] | None


@dataclass(frozen=True)
class RegistrationOptions:
    """How to align a pair, each field as in `jssr.register`.

    Raises:
        ValueError: another `initial`, `refine`, modality, preset, or a value of the instance optimisation that cannot
            be used.
    """

    system: str | None = None
    checkpoint: str | os.PathLike[str] | Model | None = None
    refine: int | None = None
    rigid: bool = True
    descriptor: str | None = None
    initial: Initial | TransformLike = "geometry"
    fixed_modality: Modality | None = None
    moving_modality: Modality | None = None
    preset: PresetName | None = None
    similarity: Similarity | None = None
    smoothness: float | None = None
    spacing: float | None = None
    sliding: bool | None = None
    rigid_labels: Sequence[int | str] | None = None
    device: str = "cpu"
    deterministic: bool = False

    def __post_init__(self) -> None:
        start = self.initial
        file = split_format(start)[1] if isinstance(start, str) else start if isinstance(start, os.PathLike) else None
        lost = file is not None and file not in ("geometry", "centre") and not Path(file).exists()
        if start is None or lost:
            raise OptionError(f'initial must be "geometry", "centre" or a transform that exists, got {start!r}')
        steps = 0 if self.refine is None else self.refine
        if not isinstance(steps, Real) or not float(steps).is_integer() or steps < 0:
            raise OptionError(f"refine must be a number of steps, 0 or more, got {self.refine!r}")
        for name in ("rigid", "deterministic"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name} must be True or False, got {getattr(self, name)!r}")
        for name in ("fixed_modality", "moving_modality"):
            value = getattr(self, name)
            if value is not None and value not in MODALITIES:
                raise OptionError(f"{name} must be one of {', '.join(MODALITIES)}, got {value!r}")
        if self.preset is not None and self.preset not in PRESETS:
            raise OptionError(f"unknown preset {self.preset!r}{nearest(str(self.preset), PRESETS)}")
        check_settings(self.similarity, 1.0 if self.smoothness is None else self.smoothness, self.spacing)
        if self.sliding not in (None, True, False):
            raise OptionError(f"sliding must be True, False or None (chosen from the pair), got {self.sliding!r}")
        asked = [name for name in KNOBS if getattr(self, name)]
        if asked and self.refine is not None and steps == 0:
            what = asked[0].replace("_", " ")
            raise OptionError(f"{what}: acts in the instance optimisation, and refine is 0: give it steps")

    @property
    def asks(self) -> bool:
        """Whether something of the instance optimisation was named, so that there must be one."""
        return any(getattr(self, name) for name in KNOBS)


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a pair: label maps on the images' grids, landmarks, the names of the labels, and masks (label
    maps; only what is not 0 counts)."""

    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    fixed_landmarks: Points | None = None
    moving_landmarks: Points | None = None
    structures: Mapping[str, Sequence[int]] | None = None
    fixed_mask: Volume | None = None
    moving_mask: Volume | None = None

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
