"""Weights files: what they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jssr._version import __version__
from jssr.api.session import PathLike
from jssr.errors import CheckpointError, RecipeError
from jssr.recipes.config import Recipe
from jssr.recipes.header import read_info
from jssr.recipes.shipped import weights_at
from jssr.recipes.upgrade import current_recipe

__all__ = ["WeightsInfo", "info"]


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
    card, header = path.with_suffix(".md"), read_info(path)
    try:
        Recipe.model_validate(current_recipe(header.get("recipe")))
    except (ValidationError, RecipeError) as error:
        said = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: its recipe cannot be used by jssr {__version__} ({said})") from None
    return WeightsInfo(path, header, card.read_text(encoding="utf-8") if card.is_file() else "")
