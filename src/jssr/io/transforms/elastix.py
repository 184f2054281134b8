"""elastix's parameter files: each is a transform and names the file that it starts from."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from jssr.core.grid import Grid, GridError
from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.errors import TransformError
from jssr.io.files import atomic_path
from jssr.io.itk_elastix import field_of, itk_image, modules
from jssr.io.transforms.base import Images, is_number
from jssr.io.transforms.itk import read_itk, write_displacement

Map = dict[str, tuple[str, ...]]
FILE, FIELD = "File", "DeformationFieldTransform"
LARGEST = 2**30
"""Voxels of a fixed image: no file of voxels tells whether so many are meant."""
START = ("InitialTransformParametersFileName", "InitialTransformParameterFileName")
"""How the file is named that a transform starts from: before elastix 5.1, and since."""
PLACE = ("Size", "Index", "Spacing", "Origin", "Direction")
COMMON: Map = {
    START[1]: ("NoInitialTransform",),
    "HowToCombineTransforms": ("Compose",),
    "FixedInternalImagePixelType": ("float",),
    "MovingInternalImagePixelType": ("float",),
    "UseDirectionCosines": ("true",),
    "ResampleInterpolator": ("FinalBSplineInterpolator",),
    "FinalBSplineInterpolationOrder": ("1",),
    "Resampler": ("DefaultResampler",),
    "DefaultPixelValue": ("0",),
    "ResultImageFormat": ("nii.gz",),
    "ResultImagePixelType": ("float",),
    "CompressResultImage": ("true",),
}
"""What transformix wants beside a transform."""


def recognises(path: Path) -> bool:
    """Whether a text file is elastix's parameters of a transform."""
    if path.suffix.lower() != ".txt":
        return False
    with path.open("rb") as file:
        return b"(Transform " in file.read(65536)


def read_elastix(path: Path, images: Images) -> Transform:
    """elastix's result with everything that it starts from, as a displacement on the fixed grid that it names.

    Transforms of ITK in files of their own (`(Transform "File")`, as 3D Slicer starts elastix from) count as they are.
    """
    maps = _maps(path)
    placed = next((one for one in reversed(maps) if "Size" in one), None)
    grid = _grid(placed, path) if placed else images.fixed
    if all(_kind(one) == FILE for one in maps):
        found = [read_itk(_file(one, path), Images(fixed=grid)) for one in maps]
        return found[0] if len(found) == 1 else Chain(*found)
    if grid is None:
        raise TransformError(f"{path}: lacks the place of its fixed image: name the fixed image with --fixed")
    with tempfile.TemporaryDirectory() as folder:
        chosen = modules()[0].elastixParameterObject.New()
        for one in _native(maps, grid, path, Path(folder)):
            chosen.AddParameterMap(one)
        try:
            field = field_of(chosen, itk_image(np.zeros(grid.shape), grid), grid.ndim)
        except RuntimeError as error:
            raise TransformError(f"{path}: elastix makes no field of it ({str(error).splitlines()[-1]})") from error
    return Displacement.from_millimetres(field, grid)


def _native(maps: list[Map], grid: Grid, path: Path, folder: Path) -> Iterator[Map]:
    """The maps as transformix takes them; one of ITK, which it takes if it is linear, as maps of its own."""
    for number, one in enumerate(maps):
        if _kind(one) == FIELD:
            yield {
                **one,
                **_place(grid),
                "DeformationFieldFileName": (str(_file(one, path)),),
                "NumberOfParameters": ("0",),
            }
        elif _kind(one) == FILE:
            found = read_itk(_file(one, path), Images(fixed=grid if number == 0 else None))
            parts = found.parts if isinstance(found, Chain) else (found,)
            for index, part in enumerate(parts):
                # Only the first of them is added or composed as its file would be.
                how = one.get("HowToCombineTransforms", ("Compose",)) if index == 0 else ("Compose",)
                yield {**_own(part, grid, folder / f"{number}-{index}.mha"), "HowToCombineTransforms": how}
        else:
            yield {**one, **_place(grid)} if "Size" not in one else one


def _own(part: Transform, grid: Grid, file: Path) -> Map:
    """A transform of ours as a map of elastix.

    Args:
        file: for its field, where it bends.
    """
    if isinstance(part, Affine):
        n = part.ndim
        numbers = [*part.matrix[:n, :n].ravel(), *part.matrix[:n, n]]
        specific: Map = {
            "Transform": ("AffineTransform",),
            "NumberOfParameters": (str(len(numbers)),),
            "TransformParameters": _words(numbers),
            "CenterOfRotationPoint": ("0",) * n,
        }
    else:
        assert isinstance(part, Displacement)
        sitk.WriteImage(part.sitk().GetDisplacementField(), str(file))
        specific = _field_map(file)
    return {**COMMON, **_place(grid), **specific}


def _field_map(file: Path) -> Map:
    return {
        "Transform": (FIELD,),
        "DeformationFieldFileName": (str(file),),
        "DeformationFieldInterpolationOrder": ("1",),
        "NumberOfParameters": ("0",),
    }


def _place(grid: Grid) -> Map:
    """A grid as elastix names it; the direction column by column."""
    n = str(grid.ndim)
    return {
        "FixedImageDimension": (n,),
        "MovingImageDimension": (n,),
        "Size": tuple(str(s) for s in grid.shape),
        "Index": ("0",) * grid.ndim,
        "Spacing": _words(grid.spacing),
        "Origin": _words(grid.origin),
        "Direction": _words(grid.direction.T.ravel()),
    }


def _words(numbers: object) -> tuple[str, ...]:
    return tuple(f"{float(v):.12g}" for v in np.ravel(np.asarray(numbers, dtype=np.float64)))


def field_beside(path: Path) -> Path:
    """Where the field of a parameter file lies that we write."""
    return path.with_name(f"{path.stem}_displacement.nii.gz")


def write_elastix(transform: Transform, path: Path, images: Images) -> None:
    """Write a parameter file that transformix reads: affine, or a field in an image beside it, both on the fixed grid.

    elastix looks for the image in its working folder, so its whole path is written.

    Raises:
        TransformError: the fixed grid is not known.
    """
    if path.suffix.lower() != ".txt":
        raise TransformError(f"{path}: elastix's parameter file is text: end its name in .txt")
    grid = images.fixed or (transform.grid if isinstance(transform, Displacement) else None)
    if grid is None:
        raise TransformError(f"{path}: elastix's file names the fixed grid: name the fixed image with --fixed")
    if isinstance(transform, Affine):
        with atomic_path(path) as temporary:
            _write_map(_own(transform, grid, path), temporary)
        return
    image = field_beside(path)
    with _removed_if_failed(image):
        write_displacement(transform.displacement(grid), image)
        with atomic_path(path) as temporary:
            _write_map({**COMMON, **_place(grid), **_field_map(image.resolve())}, temporary)


@contextmanager
def _removed_if_failed(image: Path) -> Iterator[None]:
    there = image.exists()
    try:
        yield
    except BaseException:
        if not there:
            image.unlink(missing_ok=True)
        raise


def _write_map(values: Map, path: Path) -> None:
    lines = []
    for key, words in values.items():
        shown = [word if is_number(word) else f'"{word}"' for word in words]
        lines.append(f"({key} {' '.join(shown)})")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _kind(one: Map) -> str:
    return one["Transform"][0]


def _file(one: Map, path: Path) -> Path:
    """The file with a transform or a field that a map names."""
    key = "TransformFileName" if _kind(one) == FILE else "DeformationFieldFileName"
    name = one.get(key, ("",))[0]
    found = _beside(name, path)
    if found is None:
        raise TransformError(f"{path}: its {key} {name or '(not named)'} is not there")
    return found


def _beside(name: str, path: Path) -> Path | None:
    """A file that a parameter file names: in the working folder, as elastix has it, or beside the parameter file."""
    given = Path(name)
    if not given.name:
        return None
    places = [p for p in (given, path.parent / given, path.parent / given.name) if p.is_file()]
    if len({p.resolve() for p in places[:2]}) > 1 and not places[0].samefile(places[1]):
        raise TransformError(f"{path}: names {name}, which is in the working folder and beside it: take one away")
    return places[0].absolute() if places else None


def _maps(path: Path) -> list[Map]:
    """The parameter maps from the first transform to the last."""
    maps: list[Map] = []
    seen: set[Path] = set()
    while True:
        found = _parsed(path)
        seen.add(path.resolve())
        start = found.pop(START[0], found.pop(START[1], ("",)))
        found[START[1]] = ("NoInitialTransform",)
        maps.insert(0, found)
        if start[0] in ("", "NoInitialTransform"):
            return maps
        before = _beside(start[0], path)
        if before is None or before.resolve() in seen:
            raise TransformError(f"{path}: elastix's transform starts from a file that is not there, or from itself")
        path = before


def _parsed(path: Path) -> Map:
    """elastix's `(Key value "value" ...)` lines."""
    out: Map = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        text = line.partition("//")[0].strip() if "://" not in line else line.strip()
        if text.startswith("(") and text.endswith(")"):
            key, _, rest = text[1:-1].partition(" ")
            out[key] = tuple(_values(rest))
    kind = out.get("Transform", ("",))[0]
    if kind == "ExternalTransform":
        raise TransformError(
            f"{path}: names an external transform by its place in the memory of a program that has ended: write that "
            'transform to a file of ITK, and name it with (Transform "File") and (TransformFileName "...")'
        )
    if not kind or (kind not in (FILE, FIELD) and "TransformParameters" not in out):
        raise TransformError(f"{path}: is not a transform of elastix, or is truncated: it lacks its parameters")
    return out


def _values(text: str) -> Iterator[str]:
    """Words, and what stands in quotes with its spaces."""
    for index, part in enumerate(text.split('"')):
        yield from ([part] if index % 2 else part.split())


def _grid(found: Map, path: Path) -> Grid:
    try:
        size, spacing, origin = ([float(v) for v in found[key]] for key in ("Size", "Spacing", "Origin"))
        n = len(size)
        direction = [float(v) for v in found.get("Direction", tuple(np.eye(n).ravel().astype(str)))]
        # elastix writes the direction column by column.
        if math.prod(size) > LARGEST:
            raise GridError(f"of {math.prod(size):.3g} voxels, expected at most {LARGEST}")
        return Grid.of([int(s) for s in size], spacing, origin, np.array(direction).reshape(n, n).T)
    except (GridError, KeyError, OverflowError, ValueError) as error:
        raise TransformError(f"{path}: lacks the place of its fixed image ({error})") from error
