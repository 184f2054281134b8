"""Transforms: applied to images, label maps and points; converted from other programs and to them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeGuard, get_args

import numpy as np

from jssr.api.objects import Carried, Job, carry
from jssr.api.session import PathLike
from jssr.core.grid import Grid
from jssr.core.notes import tell
from jssr.core.resampling import inside_grid, move_points, resample
from jssr.core.transform import Chain, Displacement, Transform
from jssr.core.volume import Points, Volume
from jssr.errors import ImageError, JssrError, OutputError, TransformError
from jssr.io.files import check_not_input, check_path
from jssr.io.formats import FORMATS_WRITTEN, check_format, split_format
from jssr.io.images import ImageLike, as_grid, as_volume, is_object, read_image, stored_dtype, write_image
from jssr.io.kinds import kind_of, kind_of_file
from jssr.io.label_names import names_given, own_names, tell_unused, write_label_names
from jssr.io.points import PointsLike, as_points, holds_points, is_ants, write_points
from jssr.io.transforms import Images, TransformLike, as_transform, read_named, write_any

__all__ = ["convert", "warp"]

Space = Literal["fixed", "moving"]
Warped = Literal["auto", "image", "labels", "points"]
Contours = Literal["shape", "points"]


def warp(
    source: ImageLike | PointsLike,
    transform: TransformLike,
    to: Space = "fixed",
    *,
    reference: ImageLike | Grid | None = None,
    kind: Warped = "auto",
    label_names: Mapping[int, str] | PathLike | None = None,
    out: PathLike | None = None,
    dose: PathLike | None = None,
    contours: Contours = "shape",
) -> Any:
    """Apply a transform to an image, a label map, points, or a DICOM segmentation, structure set or dose: `jssr warp`.

    A transform takes points of the fixed space to the moving space; `to` is the space of the RESULT. To "fixed" an
    image is pulled through the transform, and points go through its inverse. To "moving" it is the other way round.

    Args:
        source: an image or a label map (path, `Volume`, SimpleITK or nibabel image, or (array, RAS affine)), or points
            (`Points`, or a file that `read_points` reads; with kind "points" also an array (N, 3), LPS millimetres),
            or a DICOM file: Segmentation, RT Structure Set or RT Dose.
        transform: a path ("flirt:start.mat" names its format, one of `jssr.io.formats.FORMATS_READ`), a `Transform`, a
            SimpleITK transform, or a 4 x 4 matrix, LPS millimetres.
        to: the space in which the result lies.
        reference: whose grid the result takes; to "fixed" by default the grid of the displacement field. Of points: the
            image whose voxels elastix's indices are.
        kind: "labels" keep their values; "auto" takes for labels what its header or a JSON beside it names as such, and
            whole numbers that are constant in pieces; where that is not clear it asks. A `Volume` knows what it is.
        label_names: of a label map: value to name, or a file of names; None takes those of the file or of the JSON
            beside it. They are written beside `out`, as JSON.
        out: file to write; of points .csv, .mrk.json, .fcsv or elastix's .txt. Of a DICOM object also .dcm: an object
            of the series `reference`.
        dose: of a structure set, an RT Dose in its space: the structures' mean dose is told.
        contours: of a structure set, "shape" (its inside is carried) or "points" (points are carried).

    Returns:
        A `Volume`, of points `Points`, of a DICOM object `jssr.api.objects.Carried`.

    Raises:
        TransformError: no such transform, one of other dimensions, or a `reference` is needed.
        ImageError, PointsError, OutputError: a file that cannot be read or written.
        GeometryError: nothing of a DICOM object reaches the result. JssrError: another `to`, `kind` or `contours`.
    """
    _check_choices(to, kind, contours)
    _check_out(out, source, _file(transform), reference, label_names, dose)
    if _is_path(source) and _is_carried(source):
        found = as_transform(transform, images=_images(None, reference, to))
        grid = _result_grid_3d(found, source, reference, to)
        files, names = _paths(out, dose), None if label_names is None else _names(label_names, source)
        return _carry(Job(Path(source), found, to, grid, reference, *files, contours, names, _frames(transform)), kind)
    if dose is not None:
        raise JssrError(f"dose: expected an RT Structure Set beside it, got {source}")
    points = kind == "points" or isinstance(source, Points) or (_is_path(source) and holds_points(source))
    if out is not None and points != holds_points(out):
        expected = "points are written as .csv, .mrk.json, .fcsv or .txt", "an image is written as .nii.gz"
        raise OutputError(f"{out}: {expected[not points]}")
    if points:
        found = as_transform(transform, images=_images(None, reference, to))
        return _warp_points(source, found, to, reference, out)
    return _warp_volume(source, transform, to, reference, kind, label_names, out)


def _warp_volume(
    source: Any, transform: TransformLike, to: Space, reference: ImageLike | Grid | None, kind: Warped,
    label_names: Mapping[int, str] | PathLike | None, out: PathLike | None,
) -> Volume:  # fmt: skip
    names = _names(label_names, source)
    volume, stored = _read_volume(source, kind, out is not None and Path(out).suffix.lower() == ".png")
    found = as_transform(transform, images=_images(volume.grid, reference, to))
    if found.ndim != volume.grid.ndim:
        words = transform if _is_path(transform) else "the transform"
        raise TransformError(f"{words}: is a {found.ndim}D transform, and {volume.name} is {volume.grid.ndim}D")
    grid = _result_grid(found, reference, to)
    if label_names is not None and volume.kind == "labels":
        tell_unused(names, volume.array, label_names, volume.name)
    through = found if to == "fixed" else found.inverse(grid)
    made = resample(volume, grid, through)
    _tell_outside(volume, made, through)
    if out is not None:
        write_image(made, out, stored)
        if names and made.kind == "labels":
            write_label_names(names, Path(out))
    return made


def _tell_outside(volume: Volume, made: Volume, transform: Transform) -> None:
    """Tell where nothing of a volume reaches the result, which then has one value."""
    if bool((made.data == made.data.flatten()[0]).all()):
        at = transform.positions(made.grid, volume.grid)
        if not bool(inside_grid(at, volume.grid).any()):
            tell(f"{volume.name}: nothing of it reaches the result (0 % is covered): check the transform and its way.")


def _file(transform: object) -> object:
    """The file of a transform, without its format."""
    return split_format(transform)[1] if isinstance(transform, str) else transform


def _warp_points(
    source: PointsLike, transform: Transform, to: Space, reference: ImageLike | Grid | None, out: PathLike | None
) -> Points:
    known = as_points(source, grid=None if reference is None else as_grid(reference))
    moved = move_points(known, transform, to)
    if out is not None:
        write_points(moved, out, ants=_is_path(source) and is_ants(source))
    return moved


def _names(given: Mapping[int, str] | PathLike | None, source: object) -> dict[int, str]:
    """Value to name of a label map: as given, else as its file has them."""
    if given is not None:
        return names_given(given)
    return own_names(source) if _is_path(source) else {}


def _check_choices(to: str, kind: str, contours: str) -> None:
    chosen = (("to", to, Space), ("kind", kind, Warped), ("contours", contours, Contours))
    for option, value, kinds in chosen:
        if value not in get_args(kinds):
            raise JssrError(f"{option}: expected {', '.join(get_args(kinds))}, got {value!r}")


def _check_out(out: PathLike | None, *inputs: object) -> None:
    check_path(out)
    check_not_input(out, *inputs)


def _is_carried(source: PathLike) -> bool:
    """Whether a file is a DICOM object that is carried as what it is."""
    if not is_object(source):
        return False
    from jssr.io.dicom.objects import is_carried

    return is_carried(source)


def _carry(job: Job, kind: str) -> Carried:
    """A DICOM object carried as what it is; `kind` must agree."""
    from jssr.io.dicom.objects import kind_of

    own = kind_of(job.source)
    if kind not in ("auto", own):
        raise ImageError(f"{job.source}: holds {own}, expected {kind}: drop the kind")
    if job.out is not None and job.out.suffix.lower() == ".csv":
        raise OutputError(f"{job.out}: expected .dcm, or an image as .nii.gz, for {job.source}")
    return carry(job)


def _paths(out: PathLike | None, dose: PathLike | None) -> tuple[Path | None, Path | None]:
    return None if out is None else Path(out), None if dose is None else Path(dose)


def _result_grid_3d(transform: Transform, source: PathLike, reference: Any, to: Space) -> Grid:
    if transform.ndim != 3:
        raise TransformError(f"expected a 3D transform, as {source} is, got a {transform.ndim}D one")
    return _result_grid(transform, reference, to)


def _frames(transform: object) -> tuple[str, str] | None:
    """The frames of reference that a DICOM registration names: of the fixed and of the moving space."""
    if not _is_path(transform) or not is_object(split_format(str(transform))[1]):
        return None
    from jssr.io.dicom.spatial import frames_of

    return frames_of(Path(split_format(str(transform))[1]))


def _images(source: Grid | None, reference: ImageLike | Grid | None, to: Space) -> Images:
    """The grids of fixed and moving image, as far as a result in the space `to` names them."""
    result = None if reference is None else as_grid(reference)
    return Images(result, source) if to == "fixed" else Images(source, result)


def _is_path(source: object) -> TypeGuard[PathLike]:
    return isinstance(source, (str, os.PathLike))


def _is_matrix(transforms: Sequence[Any]) -> bool:
    """Whether a list is one matrix by its rows, and not a list of transforms."""
    return len(transforms) > 0 and all(
        isinstance(row, (list, tuple)) and len(row) > 0 and np.isscalar(row[0]) and not isinstance(row[0], str)
        for row in transforms
    )


def _read_volume(source: ImageLike, kind: str, picture: bool) -> tuple[Volume, str | None]:
    """The volume, and the number type to write it in."""
    if isinstance(source, np.ndarray):
        expected = "(array, affine) for an image, or kind='points' for points (N, 3)"
        raise ImageError(f"source: expected {expected}, got an array of shape {source.shape}: name the kind")
    if not _is_path(source):
        found = _in_memory(source, kind)
        return found, None if found.kind != "image" else "float32"
    path = Path(source)
    if is_object(path):
        return _read_known(path, kind)
    # Whole numbers are read as labels first: an empty label map is none the worse, an image of one value is refused.
    integers = kind == "auto" and path.is_file() and np.issubdtype(stored_dtype(path), np.integer)
    image = read_image(source, "labels" if integers or kind == "labels" else "image")
    if kind == "auto":
        judged = kind_of_file(path, image.array) if path.is_file() else kind_of(image.array, image.name)
        if judged != image.kind:
            image = read_image(source, judged)
    if not path.is_file() or image.kind == "labels":
        return image, None
    stored = stored_dtype(path)
    spread = float(image.data.max()) - float(image.data.min())
    return image, str(stored) if np.issubdtype(stored, np.integer) and (spread > 1000 or picture) else "float32"


def _read_known(path: Path, kind: str) -> tuple[Volume, str | None]:
    """A DICOM object, which knows what it is; `kind` must agree."""
    from jssr.io.dicom.objects import kind_of

    found = read_image(path, kind_of(path) if kind == "auto" else "labels" if kind == "labels" else "image")
    return found, None if found.kind == "labels" else "float32"


def _in_memory(source: ImageLike, kind: str) -> Volume:
    """What is no file, of a kind by the same rule as a file."""
    if kind == "auto" and not isinstance(source, Volume):
        try:
            found = as_volume(source, "labels")
        except ImageError:  # no whole numbers, or nothing that can be used: the words are those for an image
            return as_volume(source)
        return found if kind_of(found.array, found.name) == "labels" else as_volume(source)
    found = as_volume(source, "labels" if kind == "labels" else "image")
    if kind == "labels" and found.kind == "image":
        raise ImageError(f"{found.name}: expected labels, got an image: make the volume with kind labels")
    return found


def _result_grid(transform: Transform, reference: ImageLike | Grid | None, to: Space) -> Grid:
    if reference is not None:
        grid = as_grid(reference)
        if grid.ndim != transform.ndim or min(grid.shape) < 2:
            name = reference if _is_path(reference) else "reference"
            raise ImageError(
                f"{name}: expected a {transform.ndim}D image, as the transform is, got {grid.ndim}D of shape "
                f"{grid.shape}"
            )
        return grid
    first = transform.parts[0] if isinstance(transform, Chain) else transform
    if to == "fixed" and isinstance(first, Displacement):
        return first.grid
    raise TransformError(f"--to {to} needs --reference IMAGE here: the {to} scan, whose grid the result takes")


def convert(
    transforms: TransformLike | Sequence[TransformLike],
    *,
    written_by: str = "auto",
    to: str = "itk",
    fixed: ImageLike | Grid | None = None,
    moving: ImageLike | Grid | None = None,
    inverse: bool = False,
    out: PathLike | None = None,
) -> Transform:
    """Bring transforms of other programs into one, or to other programs: `jssr convert`.

    Args:
        transforms: one or a list; a point of the fixed space goes through the first one first. ANTs writes a warp and
            an affine: in this order. "flirt:start.mat" names the format of one file.
        written_by: format of the files, one of `jssr.io.formats.FORMATS_READ`: "auto", "itk", "elastix", "flirt", ...
        to: format of `out`, one of `jssr.io.formats.FORMATS_WRITTEN`: "itk", "elastix", "flirt", ...; a name in .xfm
            or .x5 chooses MINC or X5.
        fixed, moving: the images: for FSL and AFNI, as the grid of a field, and for ITK's B-splines to be sampled on.
        inverse: invert it; a field then lies on the moving grid.
        out: file to write: a field (.nii.gz .nrrd .mha), ITK's transform (.h5 .tfm .txt; .mat for matrices alone), or
            what `to` names.

    Returns:
        The transform from the fixed to the moving space (inverted, the other way round), LPS millimetres.

    Raises:
        TransformError: a file that cannot be read, transforms of 2D and 3D, an image that is needed and not named, or
            a field where only a matrix can be written. OutputError: the file cannot be written.
    """
    check_format(to, FORMATS_WRITTEN)
    check_path(out)
    if not isinstance(inverse, bool):
        raise JssrError(f"inverse: expected True or False, got {inverse!r}")
    if to != "itk" and out is None:
        raise TransformError(f"format {to!r} is one of files: name the file with out=")
    named = list(transforms) if isinstance(transforms, (list, tuple)) and not _is_matrix(transforms) else [transforms]
    if not named:
        raise TransformError("expected one transform or a list of them, got an empty list")
    check_not_input(out, *map(_file, named), fixed, moving)
    images = Images(*(None if image is None else as_grid(image) for image in (fixed, moving)))
    parts = [
        read_named(one, written_by, images) if _is_path(one) else as_transform(one, images=images) for one in named
    ]
    shown = ", ".join(str(one) for one in named if _is_path(one)) or "transforms"
    if len({part.ndim for part in parts}) > 1:
        raise TransformError(f"{shown}: are of 2D and of 3D")
    if any(grid is not None and grid.ndim != parts[0].ndim for grid in (images.fixed, images.moving)):
        raise TransformError(
            f"{shown}: expected images of {parts[0].ndim}D, as the transform is, with --fixed and --moving"
        )
    found = parts[0] if len(parts) == 1 else Chain(*parts)
    if inverse:
        found, images = found.inverse(images.moving), images.swapped()
    if out is not None:
        write_any(found, out, to, images)
    return found
