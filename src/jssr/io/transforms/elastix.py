"""elastix's parameter files: each is a transform and names the file that it starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jssr.core.grid import Grid
from jssr.core.transform import Displacement
from jssr.errors import TransformError
from jssr.io.itk_elastix import field_of, itk_image, modules
from jssr.io.transforms.base import Images


def recognises(path: Path) -> bool:
    """Whether a text file is elastix's parameters of a transform."""
    if path.suffix.lower() != ".txt":
        return False
    with path.open("rb") as file:
        return b"(Transform " in file.read(65536)


def read_elastix(path: Path, images: Images) -> Displacement:
    """elastix's result with everything that it starts from, as a displacement on the fixed grid that it names."""
    maps = _maps(path)
    chosen = modules()[0].elastixParameterObject.New()
    for one in maps:
        chosen.AddParameterMap(one)
    grid = _grid(maps[-1], path)
    try:
        field = field_of(chosen, itk_image(np.zeros(grid.shape), grid), grid.ndim)
    except RuntimeError as error:
        raise TransformError(f"{path}: elastix makes no field of it ({str(error).splitlines()[-1]})") from error
    return Displacement.from_millimetres(field, grid)


def _maps(path: Path) -> list[dict[str, tuple[str, ...]]]:
    """The parameter maps from the first transform to the last, each file read by SimpleITK."""
    maps: list[dict[str, tuple[str, ...]]] = []
    seen: set[Path] = set()
    while True:
        if not path.is_file() or path.resolve() in seen:
            raise TransformError(f"{path}: elastix's transform starts from a file that is not there, or from itself")
        seen.add(path.resolve())
        found = _parsed(path)
        start = found.pop("InitialTransformParametersFileName", found.pop("InitialTransformParameterFileName", ("",)))
        found["InitialTransformParameterFileName"] = ("NoInitialTransform",)
        maps.insert(0, found)
        if start[0] in ("", "NoInitialTransform"):
            return maps
        here = Path(start[0])
        path = here if here.is_file() else path.parent / here.name


def _parsed(path: Path) -> dict[str, tuple[str, ...]]:
    """elastix's `(Key value "value" ...)` lines."""
    out: dict[str, tuple[str, ...]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        text = line.partition("//")[0].strip()
        if text.startswith("(") and text.endswith(")"):
            key, _, rest = text[1:-1].partition(" ")
            out[key] = tuple(v.strip('"') for v in rest.split())
    if "Transform" not in out or "TransformParameters" not in out:
        raise TransformError(f"{path}: is not a transform of elastix")
    return out


def _grid(found: dict[str, tuple[str, ...]], path: Path) -> Grid:
    try:
        size, spacing, origin = ([float(v) for v in found[key]] for key in ("Size", "Spacing", "Origin"))
        n = len(size)
        direction = [float(v) for v in found.get("Direction", tuple(np.eye(n).ravel().astype(str)))]
        # elastix writes the direction column by column.
        return Grid.of([int(s) for s in size], spacing, origin, np.array(direction).reshape(n, n).T)
    except (KeyError, ValueError) as error:
        raise TransformError(f"{path}: lacks the place of its fixed image ({error})") from error
