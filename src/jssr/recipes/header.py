"""The header of a weights file, read without its tensors and without torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from jssr.errors import CheckpointError
from jssr.recipes.upgrade import current_header

FORMAT = 2
HEADER = "jssr"


def split(checkpoint: str | os.PathLike[str]) -> tuple[Path | None, Path]:
    """The project file and the path of the weights, of "FILE.py:RUN" or of a path alone."""
    file, colon, run = os.fspath(checkpoint).partition(".py:")
    return (Path(f"{file}.py"), Path(run)) if colon else (None, Path(checkpoint))


def read_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a weights file, without its tensors.

    Raises:
        CheckpointError: missing, truncated, not safetensors, not one of ours, or written by a later version.
    """
    path = weights_file(split(path)[1])
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        header = json.loads(metadata[HEADER])
        later = header["format"] > FORMAT
        named = header.get("networks", [])
        if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
            raise ValueError("networks")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is corrupt, truncated or no safetensors file ({error})") from None
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{path}: is a safetensors file, but no jssr checkpoint (no valid header)") from None
    if later:
        raise CheckpointError(f"{path}: was written by jssr {header.get('version')}; upgrade jssr to read it")
    return current_header(header)


def weights_file(path: Path) -> Path:
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
