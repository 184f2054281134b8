"""MINC's `.xfm`: the moving to the fixed space, RAS millimetres; linear, displacement grids, and several of these.

A grid lies in a `.mnc` file beside it. `Invert_Flag = True` means the inverse. Source: MINC's volume_io library, "MNI
Transform File"; `mincresample -transformation` takes it. ITK's own reader of `.xfm` turns neither the axes nor the
direction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from jssr.core.bridges import grid_of
from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.errors import ImageError, TransformError
from jssr.io.files import atomic_path
from jssr.io.itk import quiet, upright_minc
from jssr.io.transforms.base import FLIP, RAS, Images, checked_matrix, is_number

HEAD = "MNI Transform File"


@dataclass(frozen=True)
class _Part:
    """One transform of a file as it is written, and whether its inverse is meant."""

    transform: Transform
    inverted: bool


def recognises(path: Path) -> bool:
    """Whether a file is MINC's."""
    with path.open("rb") as file:
        return file.read(len(HEAD)) == HEAD.encode()


def read_minc(path: Path, images: Images) -> Transform:
    """MINC's transform, turned round: fixed to moving, LPS."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.startswith(HEAD):
        raise TransformError(f"{path}: expected '{HEAD}' as its first words: is no transform of MINC")
    lines = [line for line in text.splitlines()[1:] if not line.strip().startswith("%")]
    statements = [s.strip() for s in " ".join(lines).split(";") if s.strip()]
    pairs = [(s.partition("=")[0].strip(), s.partition("=")[2].strip()) for s in statements]
    starts = [i for i, (key, _) in enumerate(pairs) if key == "Transform_Type"]
    if not starts:
        raise TransformError(f"{path}: names no Transform_Type: it is truncated or damaged")
    blocks = [dict(pairs[a:b]) for a, b in zip(starts, [*starts[1:], len(pairs)], strict=True)]
    parts = [_part(block, path) for block in blocks]
    # The file's way is moving to fixed, its first one first.
    found = [p.transform if p.inverted else _inverse(p.transform, images, path) for p in reversed(parts)]
    return found[0] if len(found) == 1 else Chain(*found)


def _inverse(transform: Transform, images: Images, path: Path) -> Transform:
    if isinstance(transform, Displacement) and images.fixed is None:
        raise TransformError(f"{path}: is to be inverted on the fixed grid: name the fixed image with --fixed")
    return transform.inverse(images.fixed)


def _part(block: dict[str, str], path: Path) -> _Part:
    kind, inverted = block["Transform_Type"], block.get("Invert_Flag", "False").lower() == "true"
    if kind == "Linear":
        numbers = [float(v) for v in re.findall(r"[-+.\deE]+", block.get("Linear_Transform", "")) if is_number(v)]
        if len(numbers) != 12:
            raise TransformError(f"{path}: expected 12 numbers of Linear_Transform, got {len(numbers)}")
        matrix = checked_matrix(np.vstack([np.reshape(numbers, (3, 4)), [0, 0, 0, 1]]), path)
        return _Part(Affine(RAS @ matrix @ RAS), inverted)
    if kind == "Grid_Transform":
        return _Part(_grid(block.get("Displacement_Volume", ""), path), inverted)
    raise TransformError(f"{path}: is MINC's {kind}; linear and grid transforms are read: resample it to a grid first")


def _grid(name: str, path: Path) -> Displacement:
    """The displacement grid beside a file: RAS shifts on a RAS grid."""
    volume = path.parent / name if name and not Path(name).is_absolute() else Path(name)
    if not name or not volume.is_file():
        raise TransformError(f"{path}: its displacement grid {name or '(not named)'} is not beside it")
    try:
        with quiet():
            image = sitk.ReadImage(str(volume))
    except RuntimeError as error:
        raise TransformError(f"{volume}: is no readable MINC 2 file: make one with mincconvert -2") from error
    if (image.GetDimension(), image.GetNumberOfComponentsPerPixel()) != (3, 3):
        raise TransformError(f"{volume}: expected a grid of 3 components in 3D, vector_dimension and three of space")
    vectors = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0, 3) * FLIP
    if not np.isfinite(vectors).all():
        raise TransformError(f"{volume}: holds NaN or infinite displacements")
    try:
        return Displacement.from_millimetres(vectors, grid_of(upright_minc(image), volume))
    except ImageError as error:
        raise TransformError(str(error)) from error


def write_minc(affine: Affine, path: Path, images: Images) -> None:
    """Write a linear `.xfm` as MINC means it: moving to fixed, RAS."""
    matrix = np.linalg.inv(RAS @ affine.matrix @ RAS)
    rows = "\n".join(" " + " ".join(f"{v:.12g}" for v in row) for row in matrix[:3])
    with atomic_path(path) as temporary:
        temporary.write_text(
            f"{HEAD}\n% moving to fixed, written by jssr\n\nTransform_Type = Linear;\nLinear_Transform =\n{rows};\n",
            encoding="utf-8",
        )
