"""The state of a run to resume from, and beginning a run with the weights of another.

A folder `RUN/checkpoint` holds weights, optimiser moments and averages as safetensors, never pickle, and `state.json`
the step and a SHA-256 of each file. It replaces its predecessor as a whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from jssr._version import __version__
from jssr.errors import CheckpointError, OutputError
from jssr.io.files import make_folder
from jssr.recipes.header import FORMAT, read_info
from jssr.recipes.weights import copy_into, load_system, plain_tensors, save_tensors, sync
from jssr.systems.base import System, named_tensors
from jssr.training.optimisers import Average


@dataclass
class State:
    """How far a run is.

    Attributes:
        step: steps done.
        scaler: state of the fp16 loss scaler, empty without one.
        seconds: spent training so far.
    """

    step: int
    scaler: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def save_state(folder: Path, state: State, system: System, optimiser: Optimizer, average: Average | None) -> None:
    """Write the state of a run to `folder`. Whenever the process dies, one whole state is there to be found.

    Raises:
        OutputError: it cannot be written; the last state stays.
    """
    make_folder(folder.parent)
    fresh, old = folder.with_name(f".{folder.name}.new"), _old(folder)
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        save_tensors(plain_tensors(named_tensors(system, system.networks)), fresh / "weights.safetensors")
        save_tensors(plain_tensors(_moments(system, optimiser)), fresh / "optimiser.safetensors")
        if average is not None:
            save_tensors(plain_tensors(average.tensors), fresh / "average.safetensors")
        data = {
            "format": FORMAT,
            "version": __version__,
            "step": state.step,
            "seconds": state.seconds,
            "scaler": state.scaler,
            "files": {file.name: _file_checksum(file) for file in sorted(fresh.iterdir())},
        }
        (fresh / "state.json").write_text(json.dumps(data, indent=2), encoding="utf-8")
        sync(fresh / "state.json")
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            folder.replace(old)
        fresh.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{folder}: the checkpoint cannot be written ({error}); the last one stays") from error


def has_state(folder: Path) -> bool:
    """Whether there is a state to resume from."""
    return folder.is_dir() or _old(folder).is_dir()


def load_state(folder: Path, system: System, optimiser: Optimizer, average: Average | None) -> State:
    """Put a saved state into a system, its optimiser and its averages.

    Raises:
        CheckpointError: there is none, it is damaged, or it is of another system.
    """
    # Only a crash between the two renames of `save_state` leaves the old folder alone.
    folder = folder if folder.is_dir() else _old(folder)
    try:
        data = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        for name, checksum in data["files"].items():
            if _file_checksum(folder / name) != checksum:
                raise CheckpointError(f"{folder / name}: is damaged, it does not match its checksum")
        weights = load_file(folder / "weights.safetensors")
        moments = load_file(folder / "optimiser.safetensors")
        averaged = load_file(folder / "average.safetensors") if average is not None else {}
        state = State(int(data["step"]), dict(data["scaler"]), float(data["seconds"]))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder}: is no complete checkpoint of a run ({error})") from None
    copy_into(named_tensors(system, system.networks), weights, folder)
    _set_moments(system, optimiser, moments)
    if average is not None:
        copy_into(average.tensors, averaged, folder)
    return state


def _moments(system: System, optimiser: Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as tensors named "G.conv.weight.exp_avg"."""
    return {
        f"{name}.{key}": value
        for name, parameter in system.named_parameters()
        for key, value in optimiser.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _set_moments(system: System, optimiser: Optimizer, moments: Mapping[str, Tensor]) -> None:
    parameters = dict(system.named_parameters())
    optimiser.state.clear()
    for full, value in moments.items():
        name, _, key = full.rpartition(".")
        parameter = parameters[name]
        if value.shape == parameter.shape:  # a moment: lives where and as its parameter does
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        optimiser.state[parameter][key] = value


def _file_checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


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
