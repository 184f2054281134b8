"""Results read back: the folders that `register` and `align` write, and weights files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from jssr.api.session import PathLike
from jssr.core.transform import Transform
from jssr.core.volume import Volume
from jssr.errors import JssrError
from jssr.io.images import read_image
from jssr.io.transforms import read_transform
from jssr.recipes import weights
from jssr.registration.model import weights_at
from jssr.registration.reload import found_again, result_of

__all__ = ["SavedResult", "WeightsInfo", "info", "load_result"]


@dataclass(frozen=True)
class SavedResult:
    """A registration as it was saved; each file is read when it is first asked for.

    Attributes:
        folder: of the result.
        result: the content of `result.json`.
        registrations: of a study, the result of each phase; else empty.
    """

    folder: Path
    result: dict[str, Any]
    registrations: dict[str, SavedResult]

    @cached_property
    def fixed(self) -> Volume:
        """The fixed scan. Raises ImageError where it is no longer where it was."""
        return found_again(self.result, "fixed", self.folder)

    @cached_property
    def moving(self) -> Volume:
        """The moving scan. Raises ImageError where it is no longer where it was."""
        return found_again(self.result, "moving", self.folder)

    @cached_property
    def moved(self) -> Volume:
        """The moving scan on the fixed grid."""
        return read_image(self._file("moved"))

    @cached_property
    def displacement(self) -> Transform:
        """The full transform, on the fixed grid, from the fixed to the moving space."""
        return read_transform(self._file("displacement"))

    @cached_property
    def inverse(self) -> Transform:
        """The inverse, on the moving grid."""
        return read_transform(self._file("inverse"))

    @cached_property
    def synthesised(self) -> Volume | None:
        """The moving scan in the fixed scan's appearance; None where the system makes none."""
        return self._made("synthesised", "image")

    @cached_property
    def fixed_segmentation(self) -> Volume | None:
        """The label map of the fixed scan; None where the system makes none."""
        return self._made("fixed_segmentation")

    @cached_property
    def moved_segmentation(self) -> Volume | None:
        """The label map of the moved scan; None where the system makes none."""
        return self._made("moved_segmentation")

    def _made(self, name: str, kind: Literal["image", "labels"] = "labels") -> Volume | None:
        path = self.folder / f"{name}.nii.gz"
        return read_image(path, kind) if path.is_file() else None

    def _file(self, name: str) -> Path:
        path = self.folder / f"{name}.nii.gz"
        if self.registrations:
            phases = ", ".join(self.registrations)
            raise JssrError(f"{self.folder}: holds a study: take one of its registrations ({phases})")
        if not path.is_file():
            raise JssrError(f"{path}: is no longer there: register the scans again")
        return path


def load_result(folder: str | os.PathLike[str]) -> SavedResult:
    """Read a result back.

        found = jssr.load_result("aligned")
        found.result["folds_percent"], found.moved, found.displacement

    Args:
        folder: that `register` or `align` wrote.

    Raises:
        JssrError: it holds no result.
    """
    place = Path(folder)
    result = result_of(place)
    return SavedResult(place, result, {phase: load_result(place / phase) for phase in result.get("phases", ())})


@dataclass(frozen=True)
class WeightsInfo:
    """What a weights file is: its header (system, recipe, data, scores) and its model card, as Markdown."""

    path: Path
    header: dict[str, Any]
    card: str = ""


def info(checkpoint: PathLike | None = None) -> WeightsInfo:
    """What a checkpoint is, what it was trained on, how it scored: `jssr info`.

    Args:
        checkpoint: weights file, run folder, or "jssr" (the default) or "jrsnet" for the weights that ship.

    Raises:
        CheckpointError: no such file, or a damaged one.
    """
    path = weights_at(checkpoint or "jssr")
    card, header = path.with_suffix(".md"), weights.read_info(path)
    weights.recipe_of(header, path)
    return WeightsInfo(path, header, card.read_text(encoding="utf-8") if card.is_file() else "")
