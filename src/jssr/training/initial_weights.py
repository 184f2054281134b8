"""Beginning a training with the weights of another run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from jssr.errors import CheckpointError
from jssr.recipes.weights import load_system, read_info
from jssr.systems.base import System


def start_from(system: System, checkpoint: Path, structures: Sequence[str]) -> list[str]:
    """Give the networks of a system the weights of those of the same name of a trained one, of any system.

    Args:
        system: untrained; changed in place.
        checkpoint: weights file or run folder.
        structures: of the recipe that is to be trained; a segmentor's classes must be theirs.

    Returns:
        The names of those networks.

    Raises:
        CheckpointError: no such checkpoint, no network in common, one of another shape or that was shown something
            else, or a segmentor of other structures.
    """
    other, recipe, _ = load_system(checkpoint)
    common = [name for name in system.networks if name in other.networks]
    if not common:
        theirs, ours = ", ".join(other.networks), ", ".join(system.networks)
        raise CheckpointError(f"{checkpoint}: {recipe.name} has the networks {theirs}, none of {ours}")
    if recipe.network.structures != tuple(structures) and system.outputs.get("segmentation") in common:
        knows, wanted = (", ".join(names) or "none" for names in (recipe.network.structures, structures))
        raise CheckpointError(f"{checkpoint}: its segmentor knows {knows}, the recipe's structures are {wanted}")
    for name in common:
        if system.guide_of(name) != other.guide_of(name):
            raise CheckpointError(
                f"{checkpoint}: its {name} was shown costs of another descriptor than the recipe's; start from a "
                "run of the same options"
            )
        try:
            system.get_submodule(name).load_state_dict(other.get_submodule(name).state_dict())
        except RuntimeError as error:
            raise CheckpointError(
                f"{checkpoint}: its {name} has another shape than the recipe's; start from a run of the same networks"
            ) from error
    return common


def begun(run: Path) -> dict[str, object]:
    """What the header of a run's weights says it began with, to be kept when it goes on."""
    with suppress(CheckpointError):  # stopped before its first weights
        data = read_info(run / "weights.safetensors").get("data") or {}
        if "started from" in data:
            return {"started from": data["started from"]}
    return {}
