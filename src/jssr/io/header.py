"""Checks of image files that ITK does not make, and plain NIfTI volumes without it.

ITK reads a truncated NIfTI as zeros, turns NaN in one into zeros, mends bad spacing in silence, its MetaImage reader
writes to the terminal, and it takes memory for whatever a header claims. So these files are checked before ITK sees
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from jssr.core.grid import Grid, GridError
from jssr.core.nifti import place_of
from jssr.core.nifti_header import SIZES, TYPES, read_header, sform_of
from jssr.core.notes import tell
from jssr.core.stack import sheared
from jssr.core.volume import Kind, Volume, checked_volume
from jssr.errors import ImageError
from jssr.io.elements import check_elements
from jssr.io.sizes import check_meta, check_nrrd, room_lacking, spacing_wrong
from jssr.io.volumes import is_plain, voxels_of

_FLOATS = {16: "f4", 64: "f8"}


def check_file(path: Path, header_only: bool = False) -> None:
    """Check that a NIfTI, Analyze, NRRD, MetaImage or DICOM file is complete, and where it has one that its spacing is
    positive; other formats pass (ITK checks them).

    Args:
        path: the file.
        header_only: skip what needs all of a file to be read: its compressed length, its checksum, and NaN in NIfTI.

    Raises:
        ImageError: not what its ending promises, truncated, damaged, NaN, or a spacing that is not positive.
    """
    name = path.name.lower()
    try:
        with path.open("rb") as file:
            if name.endswith((".nii", ".nii.gz")):
                _check_nifti(path, file, header_only)
            elif name.endswith((".hdr", ".img")):
                _check_pair(path)
            elif name.endswith((".mha", ".mhd")):
                check_meta(path, file, header_only)
            elif name.endswith((".nrrd", ".nhdr")):
                check_nrrd(path, file, header_only)
            elif sop_class(path) is not None:
                check_elements(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def nifti_header(path: Path) -> Any:
    """The header of a NIfTI-1 or NIfTI-2 file, whose sizes and type are checked."""
    try:
        with path.open("rb") as file, _unpacked(path, file) as stream:
            return _nifti_header(path, stream)
    except OSError as error:
        raise _unreadable(path, error) from error


def nifti_affine(path: Path, tilted: bool = False) -> NDArray[np.float64] | None:
    """Where a NIfTI file lies, by the rule of `jssr.core.nifti`: (4, 4), voxel index to LPS millimetres; None of other
    formats. What is doubtful is told.

    Args:
        path: the file.
        tilted: as in `place_of`.

    Raises:
        ImageError: a place that no grid can have.
    """
    name = path.name.lower()
    pair = name.endswith((".hdr", ".img"))
    if not pair and not name.endswith((".nii", ".nii.gz")):
        return None
    try:
        header = nifti_header(path.with_suffix(".hdr") if pair else path)
    except ImageError:
        if not pair:
            raise
        tell(f"{path}: is no NIfTI but an Analyze file, whose header has no place: only its spacing counts.")
        return None
    affine, words = place_of(header, str(path), tilted)
    is_2d = not (header["dim"][3 : 1 + int(header["dim"][0])] > 1).any()
    coded = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    tell(*(() if is_2d and not coded else words))  # images of two axes start on one another, wherever they lie
    return affine


def read_plain(path: Path, kind: Kind) -> Volume | None:
    """A plain NIfTI volume (`jssr.io.volumes`), with the checks of `jssr.io.images.read_image`: what ITK would read, in
    a fraction of the time and memory.

    Returns:
        None of everything else, also of slices of a tilted gantry, and of a file that is not whole or not finite:
        `check_file` says why.

    Raises:
        ImageError: a header that is damaged, a place that no grid can have, or voxels that cannot be used.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")) or not path.is_file():
        return None
    check_file(path, header_only=True)
    header = nifti_header(path)
    if not is_plain(header):
        return None
    shape = tuple(header["dim"][1:4].tolist())
    affine, words = place_of(header, str(path), tilted=True)
    if sheared(shape, affine) is not None:
        return None
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    try:
        grid = Grid.of(shape, spacing.tolist(), affine[:3, 3].tolist(), affine[:3, :3] / spacing)
    except GridError as error:
        raise ImageError(f"{path}: {error}") from error
    values = _voxels(path, header, kind)
    if values is None:
        return None
    tell(*words)
    return checked_volume(values, grid, kind, str(path), owned=True)


def _voxels(path: Path, header: Any, kind: Kind) -> NDArray[Any] | None:
    """`voxels_of` a file, to its checksum; None where it breaks off."""
    try:
        with path.open("rb") as file, _unpacked(path, file) as stream:
            if (stream is not file) != path.name.lower().endswith(".gz"):
                return None
            stream.seek(int(header["vox_offset"]))
            values = voxels_of(stream, header, kind)
            while stream is not file and stream.read(1 << 20):
                pass
            return values
    except (OSError, ImageError):
        return None


@contextmanager
def _unpacked(path: Path, file: IO[bytes]) -> Iterator[IO[bytes]]:
    """What a file holds, unpacked where it is gzip, in spite of its name."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    try:
        yield igzip.GzipFile(fileobj=file) if packed else file  # type: ignore[misc]
    except (EOFError, isal_zlib.error, igzip.BadGzipFile) as error:  # type: ignore[misc]
        raise ImageError(f"{path}: is truncated or damaged (its compressed data break off); copy it again") from error


def _check_nifti(path: Path, file: IO[bytes], header_only: bool) -> None:
    with _unpacked(path, file) as stream:
        header = _nifti_header(path, stream)
        size = header["dim"][1 : 1 + header["dim"][0]].tolist()
        wrong = spacing_wrong(header["pixdim"][1 : 1 + min(3, len(size))].tolist())
        due = math.prod(size) * int(header["bitpix"]) // 8
        packed, there = stream is not file, path.stat().st_size
        wrong = wrong or room_lacking(there - (0 if packed else int(header["vox_offset"])), due, packed)
        if wrong:
            raise ImageError(f"{path}: {wrong}")
        turn = [float(header[f"quatern_{axis}"]) for axis in "bcd"]
        used = sform_of(header) if int(header["sform_code"]) > 0 else turn if int(header["qform_code"]) > 0 else 0.0
        if not np.isfinite(used).all():
            place_of(header, str(path))  # refuses it before ITK writes pages
        if header_only:
            return
        stream.seek(int(header["vox_offset"]))
        kind, order = _FLOATS.get(int(header["datatype"])), header.dtype["datatype"].byteorder
        floats = kind if kind is None else np.dtype(kind).newbyteorder(order)
        length, bad = _measure(stream, floats)
    if length < due:
        raise ImageError(f"{path}: is truncated, {length} of {due} bytes of voxels; copy it again")
    if bad:
        raise ImageError(f"{path}: {bad} of {math.prod(size)} voxels are NaN or infinite; replace them or export again")


def _check_pair(path: Path) -> None:
    """A header and its voxels in two files: NIfTI, or Analyze, whose sizes stand where NIfTI's do."""
    with path.with_suffix(".hdr").open("rb") as file:
        block = file.read(SIZES[0])
    if len(block) < SIZES[0]:
        raise ImageError(f"{path}: its header is truncated; copy it again")
    header = read_header(block)
    if header is None:
        raise ImageError(f"{path}: has a damaged header; copy or export it again")
    axes = int(header["dim"][0])
    size = header["dim"][1 : 1 + max(0, min(axes, 7))].tolist()
    if not size or axes > 7 or min(size) < 1:
        raise ImageError(f"{path}: has a damaged header (size {size}); copy or export it again")
    wrong = spacing_wrong(header["pixdim"][1 : 1 + min(3, len(size))].tolist())
    data = path.with_suffix(".img")
    if data.is_file():  # else it may be packed beside it, which ITK finds
        due = math.prod(size) * int(header["bitpix"]) // 8
        wrong = wrong or room_lacking(data.stat().st_size, due, False)
    if wrong:
        raise ImageError(f"{path}: {wrong}")


def _nifti_header(path: Path, stream: IO[bytes]) -> Any:
    block = stream.read(max(SIZES))
    header = read_header(block)
    if header is None or header["sizeof_hdr"] == SIZES[0] and header["magic"].item()[:3] not in (b"n+1", b"ni1"):
        raise ImageError(f"{path}: is not a NIfTI image, in spite of its name, or is truncated")
    if (code := int(header["datatype"])) not in TYPES:
        raise ImageError(f"{path}: has an unknown type of voxels ({code}) in its NIfTI header; export it again")
    axes, bits = int(header["dim"][0]), int(header["bitpix"])
    size = header["dim"][1 : 1 + max(0, min(axes, 7))].tolist()
    if not size or axes > 7 or min(size) < 1 or not 0 <= header["vox_offset"] < 2**40 or bits < 8 or bits % 8:
        raise ImageError(f"{path}: has a damaged NIfTI header (size {size}); copy or export it again")
    return header


def _measure(stream: IO[bytes], floats: np.dtype[np.generic] | None) -> tuple[int, int]:
    """Bytes to the end of the stream (which also checks the checksum of gzip) and how many floats are not finite."""
    length = bad = 0
    while block := stream.read(1 << 20):
        length += len(block)
        if floats is not None:
            values = np.frombuffer(block, floats, len(block) // floats.itemsize)
            bad += values.size - int(np.isfinite(values).sum())
    return length, bad


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})")


def sop_class(path: Path) -> str | None:
    """The SOP class UID of a DICOM file, None of any other file; read without a library, so that a core without the
    extra `dicom` knows which files need it."""
    try:
        with path.open("rb") as file:
            start = file.read(2048)
    except OSError as error:
        raise _unreadable(path, error) from error
    with_preamble = start[128:132] == b"DICM"
    if not with_preamble and start[:4] not in (b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x08\x00\x16\x00"):
        return None
    for tag in (b"\x02\x00\x02\x00UI", b"\x08\x00\x16\x00UI", b"\x08\x00\x16\x00"):
        at = start.find(tag)
        if at >= 0:
            # Two bytes of length where the type is named, four where it is implied.
            width = 2 if tag.endswith(b"UI") else 4
            value = at + len(tag) + width
            length = int.from_bytes(start[at + len(tag) : value], "little")
            return start[value : value + min(length, 64)].rstrip(b"\0 ").decode("ascii", "replace")
    return None
