"""The voxels of a NIfTI file, unpacked once and put into order slab by slab: neither the file nor its own number type
is ever held as a whole."""

from __future__ import annotations

from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from jssr.core.nifti_header import SIZES
from jssr.core.volume import Kind

_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
"""Codes of `datatype` whose voxels are one number each."""
_FIRST = 352
"""Bytes before the voxels of a NIfTI-1 file of one part, at least."""
_SLAB = 1 << 25
"""Bytes of a slab, at most."""
_SLICES, _ROWS = 32, 64
"""Of a slab, and of what is put into order at a time: lines of the image in memory get 128 bytes at once, and what is
read for them stays in the processor's cache."""
_LEAST = float(np.finfo(float).eps)
"""What slope and intercept must differ by from 1 and 0 to count, as in ITK."""


def is_plain(header: Any) -> bool:
    """Whether a header is of a 3D volume of NIfTI-1, in one file, of one number a voxel."""
    sizes, axes = header["dim"].tolist(), int(header["dim"][0])
    whole = axes >= 3 and min(sizes[1:4]) > 1 and all(size == 1 for size in sizes[4 : axes + 1])
    code, offset = int(header["datatype"]), float(header["vox_offset"])
    one_file = header["sizeof_hdr"] == SIZES[0] and header["magic"].item()[:3] == b"n+1"
    numbers = code in _TYPES and int(header["bitpix"]) == 8 * np.dtype(_TYPES[code]).itemsize
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    scaled = np.isfinite(slope + intercept) and (slope != 0 or intercept == 0)  # ITK adds it, the standard does not
    return bool(whole and one_file and numbers and scaled and offset >= _FIRST and offset == int(offset))


def voxels_of(stream: IO[bytes], header: Any, kind: Kind) -> NDArray[Any] | None:
    """The voxels of a plain volume, (x, y, z) with the last axis fastest in memory: float32 of an image and where they
    have a slope, else in the file's type. None where there are too few, or one is not finite.

    Args:
        stream: at the first voxel.
    """
    stored = np.dtype(_TYPES[int(header["datatype"])]).newbyteorder(header.dtype["datatype"].byteorder)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    scaled = abs(slope) > _LEAST and (abs(slope - 1) > _LEAST or abs(intercept) > _LEAST)
    wanted = stored.newbyteorder("=")
    if kind == "image" or (scaled and stored.kind != "f"):
        wanted = np.dtype(np.float32)
    nx, ny, nz = header["dim"][1:4].tolist()
    out = np.empty((nx, ny, nz), wanted)
    thick = min(nz, _SLICES, max(1, _SLAB // (nx * ny * stored.itemsize)))
    room = np.empty((thick, ny, nx), stored)
    for first in range(0, nz, thick):
        part = room[: min(thick, nz - first)]
        if not _filled(part, stream) or (stored.kind == "f" and not np.isfinite(part).all()):
            return None
        with np.errstate(over="ignore"):  # what is infinite in float32 is refused later
            values = _scaled(part, slope, intercept) if scaled else part
            for y in range(0, ny, _ROWS):
                rows = slice(y, y + _ROWS)
                out[:, rows, first : first + len(part)] = values[:, rows].T
    return out


def _scaled(part: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """By slope and intercept, with ITK's types: float32, of float64 that."""
    numbers = np.float64 if part.dtype.itemsize == 8 else np.float32
    values: NDArray[Any] = part.astype(numbers).astype(np.float64) * slope + intercept
    return values.astype(numbers)


def _filled(part: NDArray[Any], stream: IO[bytes]) -> bool:
    """Fill an array with the next bytes; False where there are too few."""
    bytes_of = part.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(bytes_of):
        count = stream.readinto(bytes_of[done:])  # type: ignore[attr-defined]
        if not count:
            return False
        done += count
    return True
