"""Beginning a training with the weights of another run."""

from __future__ import annotations

from pathlib import Path

from jssr.engine.checkpoint import load_system
from jssr.errors import CheckpointError
from jssr.systems.base import System

__all__ = ["start_from"]


def start_from(system: System, checkpoint: Path) -> list[str]:
    """Give the parts of a system the weights of the parts of that name of a trained one, of any system.

    Args:
        system: untrained; changed in place.
        checkpoint: weights file or run folder.

    Returns:
        The names of those parts.

    Raises:
        CheckpointError: no such checkpoint, no part in common, or one of another shape.
    """
    other, recipe, _ = load_system(checkpoint)
    common = [part for part in system.parts if part in other.parts]
    if not common:
        raise CheckpointError(
            f"{checkpoint}: {recipe.name} has the parts {', '.join(other.parts)}, none of {', '.join(system.parts)}"
        )
    for part in common:
        try:
            system.get_submodule(part).load_state_dict(other.get_submodule(part).state_dict())
        except RuntimeError as error:
            raise CheckpointError(
                f"{checkpoint}: its {part} has another shape than the recipe's; start from a run of the same networks"
            ) from error
    return common
