"""The weights that ship with the package, by name."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from jssr.errors import CheckpointError, nearest

WEIGHTS = Path(str(files("jssr"))) / "weights"
"""Where the weights that ship are."""

SHIPPED = {
    "jssr": "jssr-compact.safetensors",
    "jrsnet": "jrsnet-compact.safetensors",
    "segmentor": "body-compact.safetensors",
}
"""The file of a system's usual weights, of each system that has some."""


def weights_at(source: str | os.PathLike[str]) -> Path:
    """A weights file or a run's folder. Where nothing here bears the name, weights that ship: of a system, by its name,
    or any, by their file's name without its ending ("body-compact").

    Raises:
        CheckpointError: the package lacks them.
    """
    name = os.fspath(source)
    if Path(source).exists() or Path(name).name != name:
        return Path(source)
    if name in SHIPPED:
        return shipped_weights(name)
    path = WEIGHTS / f"{name}.safetensors"
    return path if path.is_file() else Path(source)


def shipped_weights(system: str) -> Path:
    """The weights that come with the package.

    Raises:
        CheckpointError: no such system, or none ship for it.
    """
    path = WEIGHTS / SHIPPED[system] if system in SHIPPED else None
    if path is None or not path.is_file():
        from jssr.systems import SYSTEMS  # torch

        if system not in SYSTEMS:
            raise CheckpointError(f"unknown system {system!r}{nearest(system, SYSTEMS)}")
        raise CheckpointError(f"no weights ship for system {system!r}; pass a checkpoint (--checkpoint FILE)")
    return path


def shipped_names() -> list[str]:
    """The names by which `--checkpoint` and `jssr info` take the weights that come with the package."""
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))
