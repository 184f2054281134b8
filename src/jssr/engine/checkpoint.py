"""Checkpoints: safetensors and JSON, never pickle.

Two kinds:
- weights for use, one file: the tensors, and in the safetensors header (key "jssr") the recipe, the system, the
  version, how it was trained and scored, and a SHA-256 of the tensors;
- the state of a run, a folder `RUN/checkpoint` with weights, optimiser moments and averages as safetensors and
  `state.json` with the step and a SHA-256 of each file. It replaces its predecessor as a whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from torch.optim import Optimizer

from jssr import __version__
from jssr.engine.optimise import Average, named_tensors
from jssr.engine.recipe import Recipe, build_system, recipe_from
from jssr.errors import CheckpointError, OutputError, RecipeError
from jssr.io.atomic import atomic_path, make_folder
from jssr.systems.base import System

__all__ = [
    "State",
    "has_state",
    "load_state",
    "load_system",
    "read_info",
    "save_state",
    "save_weights",
    "tensors_checksum",
]

FORMAT = 1
HEADER = "jssr"


@dataclass
class State:
    """Where a run stands.

    Attributes:
        step: steps done.
        scaler: state of the fp16 loss scaler, empty without one.
        seconds: spent training so far.
    """

    step: int
    scaler: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def tensors_checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, independent of the order and of the file's layout."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_weights(
    path: Path,
    system: System,
    recipe: Recipe,
    info: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    parts: Collection[str] | None = None,
) -> dict[str, Any]:
    """Write weights for use and return the header.

    Args:
        path: ends in .safetensors.
        info: plain data to keep beside the weights: step, scores, data.
        dtype: float16 or bfloat16 halves the file; computation is in float32 again after loading.
        parts: those to keep; all by default. Inference needs no discriminator.

    Raises:
        OutputError: the file cannot be written.
    """
    kept = tuple(part for part in system.parts if parts is None or part in parts)
    tensors = _plain(named_tensors(system, kept), dtype)
    header = {
        "format": FORMAT,
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": recipe.system,
        "parts": list(kept),
        "checksum": tensors_checksum(tensors),
        "recipe": recipe.model_dump(mode="json"),
        **(info or {}),
    }
    with atomic_path(path) as temporary:
        _save(tensors, temporary, {HEADER: json.dumps(header)})
    return header


def read_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a weights file, without its tensors.

    Raises:
        CheckpointError: missing, truncated, not safetensors, not one of ours, or written by a later version.
    """
    path = _find(Path(path))
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        header = json.loads(metadata[HEADER])
        later = header["format"] > FORMAT
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is corrupt, truncated or no safetensors file ({error})") from None
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{path}: is a safetensors file, but no jssr checkpoint (no valid header)") from None
    if later:
        raise CheckpointError(f"{path}: was written by jssr {header.get('version')}; upgrade jssr to read it")
    return dict(header)


def load_system(path: str | os.PathLike[str], system: str | None = None) -> tuple[System, Recipe, dict[str, Any]]:
    """Build the system of a weights file, or of a run's folder, on the CPU in evaluation mode.

    Args:
        path: the file, or the folder of a training run.
        system: its name, where only that one will do.

    Returns:
        The system, its recipe and the file's header.

    Raises:
        CheckpointError: as `read_info`; another system than asked; tensors that are damaged or do not fit.
    """
    path = _find(Path(path))
    header = read_info(path)
    if system is not None and header.get("system") != system:
        raise CheckpointError(f"{path}: is a checkpoint of {header.get('system')!r}, not of {system!r}")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is corrupt or truncated ({error})") from None
    if tensors_checksum(tensors) != header.get("checksum"):
        raise CheckpointError(f"{path}: is damaged, its weights do not match their checksum; copy or download it again")
    try:
        recipe = recipe_from(header.get("recipe"), str(path))
        # Parts that were left out of the file, a discriminator as a rule, are not built for use either.
        stored = {part: args for part, args in recipe.networks.items() if part in header.get("parts", recipe.networks)}
        built = build_system(recipe.model_copy(update={"networks": stored}))
    except RecipeError as error:
        raise CheckpointError(f"{path}: its recipe cannot be used by jssr {__version__} ({error})") from None
    _copy_into(named_tensors(built, header.get("parts", built.parts)), tensors, path)
    return built.eval(), recipe, header


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
        _save(_plain(named_tensors(system, system.parts)), fresh / "weights.safetensors")
        _save(_plain(_moments(system, optimiser)), fresh / "optimiser.safetensors")
        if average is not None:
            _save(_plain(average.tensors), fresh / "average.safetensors")
        data = {
            "format": FORMAT,
            "version": __version__,
            "step": state.step,
            "seconds": state.seconds,
            "scaler": state.scaler,
            "average_updates": average.updates if average is not None else {},
            "files": {file.name: _file_checksum(file) for file in sorted(fresh.iterdir())},
        }
        (fresh / "state.json").write_text(json.dumps(data, indent=2), encoding="utf-8")
        _sync(fresh / "state.json")
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
        raise CheckpointError(f"{folder}: is no whole checkpoint of a run ({error})") from None
    _copy_into(named_tensors(system, system.parts), weights, folder)
    _set_moments(system, optimiser, moments)
    if average is not None:
        average.load(averaged, data["average_updates"])
    return state


def _find(path: Path) -> Path:
    """The weights file meant by a path; refuses what is missing, empty or a pickle before anything reads it."""
    if path.is_dir():
        path = path / "weights.safetensors"
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None
    # A pickle starts with 0x80 and a zip with PK; a safetensors file with a length, which may too, and then a brace.
    pickled = start[:1] == b"\x80" or start[:4] == b"PK\x03\x04"
    if path.suffix in (".pt", ".pth", ".ckpt", ".pkl") or (pickled and start[8:9] != b"{"):
        raise CheckpointError(
            f"{path}: is a PyTorch pickle, which can run code when loaded; jssr reads .safetensors only: convert it"
        )
    return path


def _plain(tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, each with its own memory, floating ones in `dtype`."""
    plain = {}
    for name, value in tensors.items():
        to = dtype if dtype is not None and value.is_floating_point() else value.dtype
        copy = torch.empty(value.shape, dtype=to)  # also undoes channels-last, which safetensors cannot hold
        plain[name] = copy.copy_(value.detach())
    return plain


def _copy_into(into: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Path) -> None:
    missing, extra = sorted(set(into) - set(tensors)), sorted(set(tensors) - set(into))
    if missing or extra:
        name = (missing or extra)[0]
        raise CheckpointError(f"{source}: is of another network, {name} is {'missing' if missing else 'not known'}")
    with torch.no_grad():
        for name, value in into.items():
            if value.shape != tensors[name].shape:
                shapes = f"{tuple(tensors[name].shape)} instead of {tuple(value.shape)}"
                raise CheckpointError(f"{source}: is of another network size, {name} is {shapes}")
            value.copy_(tensors[name])


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


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    try:
        path.write_bytes(save(tensors, metadata))  # its own writer leaves a file that nobody else may read
    except SafetensorError as error:
        raise OSError(str(error)) from error
    _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _file_checksum(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
