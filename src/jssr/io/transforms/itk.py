"""ITK's transforms and displacement fields, which ANTs, greedy and 3D Slicer share: fixed to moving, LPS millimetres.

| file | what | in memory |
| --- | --- | --- |
| `.nii.gz .nii .nrrd .mha` | vector image on the fixed grid, LPS millimetres (NIfTI intent 1007) | `Displacement` |
| `.tfm .txt .mat .h5` | ITK: rigid, similarity, affine, translation | `Affine` |
| the same | ITK: displacement field (`.h5` as a rule) | `Displacement` |
| the same | ITK: B-spline or kernel | `Displacement` on the fixed grid |
| the same | ITK: composite. ITK applies the LAST one added first | `Chain`, first applied first |

ITK keeps the vectors of intent 1007 as they are (no flip to RAS), so the numbers in the file are LPS.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from jssr.core.bridges import grid_of, to_sitk
from jssr.core.late import last_slabs, planes_of
from jssr.core.notes import tell
from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.errors import ImageError, OutputError, TransformError
from jssr.io.files import atomic_path
from jssr.io.hdf5 import missing_bytes
from jssr.io.header import check_file, nifti_affine
from jssr.io.itk import WRITABLE, placed, quiet, write_sitk
from jssr.io.slabs import write_slabs
from jssr.io.transforms import nrrd
from jssr.io.transforms.base import Images, beyond_itk, field_grid, header_of, is_nifti, millimetres_of, nifti_vectors
from jssr.io.transforms.spm import read_nifti

NOTE = "displacement mm LPS, fixed grid: moved(p)=moving(p+u(p))"
"""Lands in NIfTI's `descrip`, at most 79 characters."""
DISPVECT = 1006
STEPS = np.float32(1024)  # a millimetre
TRANSFORM_FILES = (".tfm", ".txt", ".mat", ".h5", ".hdf5")
BENDING_FILES = (".tfm", ".txt", ".h5", ".hdf5")
_TEXT = b"#Insight Transform File"
_PARTS = b"#Transforms:"
"""How we write the number of transforms into ITK's text."""
_HEAD = re.compile(rb"#Transform \d+\s*")
LARGEST = 1e6
"""mm: a transform that shifts further is damaged."""
_KIND = re.compile(r"(\w+?)(?:Transform|TransformBase)_(?:double|float)_(\d)_\d")
_NUMBERS = {
    "Euler2D": 3, "Rigid2D": 3, "Euler3D": 6, "VersorRigid3D": 6, "Versor": 3, "Similarity2D": 4,
    "Similarity3D": 7, "ScaleVersor3D": 9, "ScaleSkewVersor3D": 15,
}  # fmt: skip
"""Parameters of kinds of linear transform; its centre is what is fixed."""


def write_displacement(displacement: Displacement, path: str | os.PathLike[str]) -> None:
    """Write a displacement as a float32 vector image in LPS millimetres (rounded to 1/1024 mm), atomically.

    `sitk.DisplacementFieldTransform(sitk.ReadImage(path, sitk.sitkVectorFloat64))`, given to `sitk.Resample` with the
    fixed image as reference, reproduces our moved image. Whole numbers with a slope would take a fifth less room, but
    ITK 5.4 cannot read vectors of that kind.

    Raises:
        OutputError: unknown ending, unwritable folder or full disk; what was at `path` stays.
    """
    path = Path(path)
    if path.name.lower().endswith(".nii.gz"):
        like = np.zeros((displacement.ndim, *[1] * displacement.ndim), np.float32)
        write_slabs(path, displacement.grid, like, _slabs(displacement), NOTE)
        return
    # A multiple of 2**-10 mm, far below what matters: a third less to compress and to store.
    vectors = displacement.millimetres()  # in place from here: at full size each copy is as large as the file
    with np.errstate(over="ignore"):  # what is infinite then is not written
        vectors *= STEPS
    np.rint(vectors, out=vectors)
    vectors /= STEPS
    image = to_sitk(np.moveaxis(vectors, -1, 0), displacement.grid)
    del vectors
    image.SetMetaData("ITK_FileNotes", NOTE)
    write_sitk(image, path)


def _slabs(displacement: Displacement) -> Iterator[NDArray[np.float32]]:
    """Slabs of a field along its last axis, (n, *slab) in LPS millimetres, rounded as it is written."""
    grid, n = displacement.grid, displacement.ndim
    if planes_of(displacement, "u") is not None:  # in millimetres, and rounded to a multiple of the step of files
        yield from last_slabs(displacement, "u")
        return
    linear = (grid.affine[:n, :n] * STEPS).astype(np.float32)
    compiled = "torch" in sys.modules  # which takes longer to import than a field to write
    for u in last_slabs(displacement, "u"):
        found = _in_order_of_file(u, grid.affine[:n, :n]) if compiled else None
        if found is not None:
            yield found.transpose(0, 3, 2, 1)
            continue
        with np.errstate(over="ignore", invalid="ignore"):  # what is infinite then is not written
            steps = linear @ u.reshape(n, -1)
        yield (np.rint(steps, out=steps) / STEPS).reshape(u.shape)


def _in_order_of_file(u: NDArray[np.float32], linear: NDArray[np.float64]) -> NDArray[np.float32] | None:
    from jssr.core.voxel_kernels import file_order

    return file_order(u, linear, float(STEPS))


def write_affine(affine: Affine, path: str | os.PathLike[str]) -> None:
    """Write an affine (or rigid) transform as ITK's `AffineTransform`, atomically."""
    write_itk(affine, path)


def write_itk(transform: Transform, path: str | os.PathLike[str]) -> None:
    """Write a transform as ITK's own file, atomically: affine, displacement field, or a composite of these.

    Raises:
        OutputError: unknown ending, one that holds no fields, unwritable folder or full disk; what was at `path` stays.
    """
    path = Path(path)
    if not path.name.lower().endswith(TRANSFORM_FILES):
        raise OutputError(f"{path}: unknown kind of transform file; end its name in .tfm")
    if not isinstance(transform, Affine) and not path.name.lower().endswith(BENDING_FILES):
        raise OutputError(f"{path}: this transform bends, and .mat holds matrices: end its name in .h5 or .nii.gz")
    try:
        with atomic_path(path) as temporary, quiet():
            sitk.WriteTransform(transform.sitk(), str(temporary))
            _note_parts(temporary)
            sitk.ReadTransform(str(temporary))
    except RuntimeError as error:
        raise OutputError(f"{path}: could not be written completely: check whether the disk is full") from error


def _note_parts(path: Path) -> None:
    """Write into ITK's text, as a remark that ITK passes over, how many transforms it holds: ITK itself does not, and
    text that was cut between two of them looks whole."""
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and lines[0].startswith(_TEXT):
        count = sum(line.startswith(b"Transform:") for line in lines)
        path.write_bytes(b"".join([lines[0], _PARTS + b" %d\n" % count, *lines[1:]]))


def read_itk(path: Path, images: Images) -> Transform:
    """Read a transform or a displacement field that ITK reads.

    Args:
        path: the file.
        images: the fixed grid is that on which what is neither linear nor a field is sampled.
    """
    if path.name.lower().endswith((*WRITABLE, *nrrd.ENDINGS)):
        return _read_field(path)
    _check_text(path)
    _check_hdf5(path)
    try:
        with quiet():
            found = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        kinds = "displacement.nii.gz, deformation.dcm, ITK's .tfm, .txt, .mat and .h5"
        others = "jssr convert --from names other programs"
        raise TransformError(f"{path}: is not a readable transform; expected {kinds}; {others}") from error
    return transform_of(found, path, images)


def _check_text(path: Path) -> None:
    """Refuse ITK's text that breaks off: ITK reads a transform without its numbers as the identity, and a composite one
    without its last transforms.

    Text that was cut right after a transform of a composite looks whole, unless we wrote it (`_note_parts`): a
    composite of one transform is told, others cannot be found out.

    Raises:
        TransformError: a transform whose line Parameters or FixedParameters is missing, or holds too few or too many;
            fewer transforms than the file was written with; one that is announced and not there.
    """
    kind, found, kinds, line, due = "", dict[str, list[str]](), list[str](), b"", 0
    try:
        with path.open("rb") as file:
            if file.read(len(_TEXT)) != _TEXT:
                return
            for line in file:
                key, colon, value = line.decode("latin-1").partition(":")
                if line.startswith(_PARTS) and value.strip().isdigit():
                    due = int(value)
                elif colon and key == "Transform":
                    _check_block(path, kind, found)
                    kind, found = value.strip(), {}
                    kinds.append(kind)
                elif colon and not key.startswith("#"):
                    found[key.strip()] = value.split()
    except OSError as error:
        raise TransformError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})") from error
    whole = line.endswith((b"\n", b"\r"))
    _check_block(path, kind, found, whole)
    _check_kinds(path, kinds, line, due)
    if not whole:
        tell(f"{path}: ends within a line, where ITK ends every line: its last number may be cut off; compare it.")


def _check_kinds(path: Path, kinds: list[str], last: bytes, due: int) -> None:
    """Refuse text that names no transform, or fewer than it should; `last` is its last line, `due` how many, 0 where
    that is not known."""
    composite = bool(kinds) and kinds[0].startswith("CompositeTransform")
    if not kinds or (len(kinds) == 1 and composite):
        raise TransformError(f"{path}: is truncated, it names no transform with its numbers; copy or export it again")
    if len(kinds) < due:
        raise TransformError(
            f"{path}: is truncated, it holds {len(kinds)} of {due} transforms; copy or export it again"
        )
    if last.startswith(b"#") and (_HEAD.fullmatch(last) or not last.endswith(b"\n")):
        raise TransformError(
            f"{path}: is truncated, it breaks off where its transform {len(kinds)} begins; copy or export it again"
        )
    if composite and len(kinds) == 2 and not due:
        tell(f"{path}: is a composite of one transform: if it was written with more, it was cut; compare it.")


def _check_hdf5(path: Path) -> None:
    """Refuse HDF5 that breaks off.

    Raises:
        TransformError: it is shorter than its first block says.
    """
    missing = missing_bytes(path)
    if missing is not None:
        raise TransformError(f"{path}: is truncated, {missing[0]} of {missing[1]} bytes; copy it again")


def _check_block(path: Path, kind: str, found: dict[str, list[str]], whole: bool = True) -> None:
    if not kind or kind.startswith(("CompositeTransform", "IdentityTransform")):
        return
    for name in ("Parameters", "FixedParameters"):
        if name not in found:
            raise TransformError(f"{path}: is truncated, its {kind} has no line {name}; copy or export it again")
    given, fixed = (len(found[name]) for name in ("Parameters", "FixedParameters"))
    if (match := _KIND.fullmatch(kind)) is None:
        return
    name, n = match[1], int(match[2])
    due = n * n + n if name in ("Affine", "MatrixOffset") else n if name == "Translation" else _NUMBERS.get(name)
    due_fixed: tuple[int, ...] = (n,)
    if name == "Translation":
        due_fixed = (0,)
    elif name == "Euler3D":
        due_fixed = (4, 3) if whole else (4,)  # before ITK 4.13 without the order of its angles
    elif name in ("BSpline", "DisplacementField"):
        due_fixed = (n * (n + 3),)
        size = [float(one) for one in found["FixedParameters"][:n] if one.replace(".", "", 1).isdigit()]
        due = n * int(math.prod(size)) if len(size) == n else None
    elif due is None:
        return
    if fixed not in due_fixed or (due is not None and given != due):
        raise TransformError(
            f"{path}: is truncated or damaged, its {kind} has {given} parameters and {fixed} fixed ones, of "
            f"{due} and {due_fixed[0]}; copy or export it again"
        )


def _read_field(path: Path) -> Displacement:
    """A vector image: its own grid, its vectors in LPS millimetres."""
    if is_nifti(path) and int(header_of(path)["intent_code"]) == DISPVECT and int(header_of(path)["dim"][5]) == 3:
        return read_nifti(path, Images())  # as ITK reads it; before 5.4 it took the vectors for LPS
    if is_nifti(path) and beyond_itk(path):
        return Displacement.from_millimetres(nifti_vectors(path), field_grid(path))
    try:
        check_file(path)
        frame = nrrd.to_lps(path) if path.name.lower().endswith(nrrd.ENDINGS) else None
        with quiet():
            image = placed(sitk.ReadImage(str(path)), nifti_affine(path))
    except (ImageError, OSError, RuntimeError) as error:
        detail = str(error) if isinstance(error, ImageError) else f"{path}: is not a readable image, or is truncated"
        raise TransformError(detail) from error
    n = image.GetDimension()
    unit = millimetres_of(path, header_of(path)) if is_nifti(path) else 1.0
    found = Displacement.from_sitk(image, name=str(path))
    if not (is_nifti(path) and n == 3) and frame is None and unit == 1.0:
        return found
    vectors = sitk.GetArrayViewFromImage(image).transpose(*range(n)[::-1], n)
    grid = field_grid(path) if is_nifti(path) and n == 3 else grid_of(image, path)
    if unit == 1.0 and frame is None and grid.same_as(found.grid, 1e-6):
        return found
    return Displacement.from_millimetres(nrrd.turned(vectors * unit, frame), grid)


def _sampled(found: sitk.Transform, name: str | os.PathLike[str], images: Images) -> Displacement:
    """What is neither linear nor a field, as a displacement on the fixed grid."""
    grid = images.fixed
    if grid is None:
        raise TransformError(
            f"{name}: ITK's {found.GetName()} is sampled on the fixed grid: name the fixed image with --fixed "
            "(jssr warp: --reference)"
        )
    if grid.ndim != found.GetDimension():
        raise TransformError(f"{name}: is a {found.GetDimension()}D transform, and the fixed image is {grid.ndim}D")
    place = grid.origin.tolist(), grid.spacing.tolist(), grid.direction.ravel().tolist()
    field = sitk.TransformToDisplacementField(found, sitk.sitkVectorFloat64, list(grid.shape), *place)
    return Displacement.from_sitk(field, name=str(name))


def transform_of(
    found: sitk.Transform, name: str | os.PathLike[str] = "transform", images: Images | None = None
) -> Transform:
    """A SimpleITK transform as one of ours."""
    kind = found.GetTransformEnum()
    if kind == sitk.sitkComposite:
        composite = sitk.CompositeTransform(found)
        count = composite.GetNumberOfTransforms()
        every = [composite.GetNthTransform(i) for i in range(count)]
        if any(_is_sampled(one) for one in every):
            return _sampled(found, name, images or Images())
        # ITK runs the last one added first.
        parts = [transform_of(one, name) for one in reversed(every)]
        return parts[0] if count == 1 else Chain(*parts)
    if kind == sitk.sitkDisplacementField:
        image = sitk.DisplacementFieldTransform(found).GetDisplacementField()
        _check_far(sitk.GetArrayViewFromImage(image), name)
        return Displacement.from_sitk(image, name=str(name))
    if not found.IsLinear():
        return _sampled(found, name, images or Images())
    # The images of the origin and of the unit points give the matrix of any linear ITK transform, centre included.
    n = found.GetDimension()
    matrix = np.eye(n + 1)
    matrix[:n, n] = found.TransformPoint([0.0] * n)
    for axis, unit in enumerate(np.eye(n)):
        matrix[:n, axis] = np.array(found.TransformPoint(unit.tolist())) - matrix[:n, n]
    _check_far(matrix, name)
    try:
        return Affine(matrix)
    except ValueError as error:
        raise TransformError(f"{name}: {error}") from error


def _check_far(numbers: NDArray[np.generic], name: str | os.PathLike[str]) -> None:
    """Refuse shifts that no patient has: the bytes of a damaged file are such numbers."""
    most = float(np.nanmax(np.abs(numbers), initial=0.0))
    if most > LARGEST:
        raise TransformError(f"{name}: shifts by up to {most:.3g} mm, expected at most {LARGEST:.0e}: it is damaged")


def _is_sampled(found: sitk.Transform) -> bool:
    """Whether a transform, or a part of it, is neither linear nor a displacement field."""
    if found.GetTransformEnum() == sitk.sitkComposite:
        composite = sitk.CompositeTransform(found)
        return any(_is_sampled(composite.GetNthTransform(i)) for i in range(composite.GetNumberOfTransforms()))
    return found.GetTransformEnum() != sitk.sitkDisplacementField and not found.IsLinear()
