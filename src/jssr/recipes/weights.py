"""Weights for use: one safetensors file, and in its header (key "jssr") the recipe, the system, the version, how it was
trained and scored, and a SHA-256 of the tensors. Never pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from jssr._version import __version__
from jssr.errors import CheckpointError, RecipeError
from jssr.io.files import atomic_path
from jssr.recipes.config import Recipe
from jssr.recipes.header import FORMAT, HEADER, read_info, split, weights_file
from jssr.recipes.load import build_system, recipe_from
from jssr.recipes.project import recipe_of_file
from jssr.systems.base import System, named_tensors


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
    networks: Collection[str] | None = None,
) -> dict[str, Any]:
    """Write weights for use and return the header.

    Args:
        path: ends in .safetensors.
        info: plain data to keep beside the weights: step, scores, data.
        dtype: float16 or bfloat16 halves the file; computation is in float32 again after loading.
        networks: those to keep; all by default. Inference needs no discriminator.

    Raises:
        OutputError: the file cannot be written.
    """
    kept = tuple(name for name in system.networks if networks is None or name in networks)
    tensors = plain_tensors(named_tensors(system, kept), dtype)
    header = {
        "format": FORMAT,
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": recipe.network.system,
        "networks": list(kept),
        "checksum": tensors_checksum(tensors),
        "recipe": recipe.model_dump(mode="json"),
        **(info or {}),
    }
    with atomic_path(path) as temporary:
        save_tensors(tensors, temporary, {HEADER: json.dumps(header)})
    return header


def load_system(path: str | os.PathLike[str], system: str | None = None) -> tuple[System, Recipe, dict[str, Any]]:
    """Build the system of a weights file, or of a run's folder, on the CPU in evaluation mode.

    Args:
        path: the file, or the folder of a training run; "FILE.py:RUN" where FILE.py defines its system.
        system: its name, where only that one will do.

    Returns:
        The system, its recipe and the file's header.

    Raises:
        CheckpointError: as `read_info`; another system than asked; tensors that are damaged or do not fit.
    """
    project, path = split(path)
    path = weights_file(path)
    header = read_info(path)
    if system is not None and header.get("system") != system:
        raise CheckpointError(f"{path}: is a checkpoint of {header.get('system')!r}, not of {system!r}")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is corrupt or truncated ({error})") from None
    if tensors_checksum(tensors) != header.get("checksum"):
        raise CheckpointError(f"{path}: is damaged, its weights do not match their checksum; copy or download it again")
    recipe = recipe_of(header, path)
    try:
        if project is not None:
            recipe_of_file(project)
            recipe = recipe.changed(network={"project": project.as_posix()})
        # Networks that were left out of the file, a discriminator as a rule, are not built for use either.
        stored = set(header.get("networks", recipe.network.networks))
        kept = {name: arguments for name, arguments in recipe.network.networks.items() if name in stored}
        network = recipe.network.model_copy(update={"networks": kept})
        built = build_system(recipe.model_copy(update={"network": network}))
    except RecipeError as error:
        raise _unusable(path, error) from None
    copy_into(named_tensors(built, header.get("networks", built.networks)), tensors, path)
    return built.eval(), recipe, header


def recipe_of(header: Mapping[str, Any], path: Path) -> Recipe:
    """The recipe in the header of a weights file.

    Raises:
        CheckpointError: it is none of this version of `jssr`.
    """
    try:
        return recipe_from(header.get("recipe"), str(path))
    except RecipeError as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: RecipeError) -> CheckpointError:
    return CheckpointError(f"{path}: its recipe cannot be used by jssr {__version__} ({error})")


def plain_tensors(tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, each with its own memory, floating ones in `dtype`."""
    plain = {}
    for name, value in tensors.items():
        to = dtype if dtype is not None and value.is_floating_point() else value.dtype
        copy = torch.empty(value.shape, dtype=to)  # also undoes channels-last, which safetensors cannot hold
        plain[name] = copy.copy_(value.detach())
    return plain


def copy_into(into: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Path) -> None:
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


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    try:
        path.write_bytes(save(tensors, metadata))  # its own writer leaves a file that nobody else may read
    except SafetensorError as error:
        raise OSError(str(error)) from error
    sync(path)


def sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
