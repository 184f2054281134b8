"""The header of a NIfTI file, by its layout: nibabel, whose import also imports pydicom, is not needed for it.

Of NIfTI-1 (348 bytes; Cox et al. 2004, nifti1.h) and NIfTI-2 (540 bytes; nifti2.h), in either order of bytes.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

SIZES = 348, 540
TYPES = frozenset(
    (0, 1, 2, 4, 8, 16, 32, 64, 128, 255, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304)
)  # fmt: skip
"""Codes of `datatype` that the standard has."""
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
_FIRST = {
    "sizeof_hdr": ("i4", 0), "dim": ("8i2", 40), "intent_p1": ("f4", 56), "intent_p2": ("f4", 60),
    "intent_p3": ("f4", 64), "intent_code": ("i2", 68), "datatype": ("i2", 70), "bitpix": ("i2", 72),
    "pixdim": ("8f4", 76), "vox_offset": ("f4", 108), "scl_slope": ("f4", 112), "scl_inter": ("f4", 116),
    "xyzt_units": ("u1", 123), "descrip": ("S80", 148), "qform_code": ("i2", 252), "sform_code": ("i2", 254),
    "quatern_b": ("f4", 256), "quatern_c": ("f4", 260), "quatern_d": ("f4", 264), "qoffset_x": ("f4", 268),
    "qoffset_y": ("f4", 272), "qoffset_z": ("f4", 276), "srow_x": ("4f4", 280), "srow_y": ("4f4", 296),
    "srow_z": ("4f4", 312), "intent_name": ("S16", 328), "magic": ("S4", 344),
}  # fmt: skip
_SECOND = {
    "sizeof_hdr": ("i4", 0), "magic": ("S4", 4), "datatype": ("i2", 12), "bitpix": ("i2", 14), "dim": ("8i8", 16),
    "intent_p1": ("f8", 80), "intent_p2": ("f8", 88), "intent_p3": ("f8", 96), "pixdim": ("8f8", 104),
    "vox_offset": ("i8", 168), "scl_slope": ("f8", 176), "scl_inter": ("f8", 184), "descrip": ("S80", 240),
    "qform_code": ("i4", 344), "sform_code": ("i4", 348), "quatern_b": ("f8", 352), "quatern_c": ("f8", 360),
    "quatern_d": ("f8", 368), "qoffset_x": ("f8", 376), "qoffset_y": ("f8", 384), "qoffset_z": ("f8", 392),
    "srow_x": ("4f8", 400), "srow_y": ("4f8", 432), "srow_z": ("4f8", 464), "xyzt_units": ("i4", 500),
    "intent_code": ("i4", 504), "intent_name": ("S16", 508),
}  # fmt: skip


class NiftiHeader(Protocol):
    """The fields of a header by the standard's names: what `read_header` gives, and headers of nibabel."""

    def __getitem__(self, name: str, /) -> Any: ...


def read_header(block: bytes) -> Any | None:
    """The fields of the header that a block of bytes begins with, by name; None where it begins with none.

    The `magic` is not looked at: Analyze files have NIfTI-1's layout up to `vox_offset`. The dtype of the record tells
    the order of bytes of the file.
    """
    for size, fields in zip(SIZES, (_FIRST, _SECOND), strict=True):
        for order in _ORDERS:
            if len(block) >= size and int.from_bytes(block[:4], order) == size:
                formats = [np.dtype(kind).newbyteorder(order) for kind, _ in fields.values()]
                offsets = [offset for _, offset in fields.values()]
                layout = {"names": [*fields], "formats": formats, "offsets": offsets, "itemsize": size}
                return np.frombuffer(block, np.dtype(layout), 1)[0]  # type: ignore[call-overload]
    return None


def sform_of(header: NiftiHeader) -> Matrix:
    """The sform, (4, 4), voxel index to RAS in the header's unit, whatever its code."""
    rows = [np.asarray(header[f"srow_{axis}"], dtype=np.float64) for axis in "xyz"]
    return np.array([*rows, [0.0, 0.0, 0.0, 1.0]])


def qform_of(header: NiftiHeader) -> Matrix:
    """The qform, as `sform_of`, whatever its code.

    Raises:
        ValueError: a quaternion longer than 1, a negative spacing, or a sign (pixdim[0]) that is none.
    """
    pixdim = np.asarray(header["pixdim"])
    b, c, d = (np.longdouble(header[f"quatern_{axis}"]) for axis in "bcd")
    rest = 1 - (b * b + c * c + d * d)
    least = 3 * np.finfo(np.float32 if pixdim.dtype.itemsize == 4 else np.float64).eps  # of a half turn
    if rest < -least:
        raise ValueError(f"its quaternion is longer than 1, by {-float(rest):.3g}")
    a = np.sqrt(rest) if rest > least else np.longdouble(0)
    spacing, sign = pixdim[1:4].astype(np.float64), float(pixdim[0])
    if (spacing < 0).any():
        raise ValueError("a spacing is negative")
    if sign not in (-1, 1):
        raise ValueError(f"expected 1 or -1 as its sign (pixdim[0]), got {sign:g}")
    s = 2 / (a * a + b * b + c * c + d * d)
    turn = np.array(
        [
            [1 - s * (c * c + d * d), s * (b * c - a * d), s * (b * d + a * c)],
            [s * (b * c + a * d), 1 - s * (b * b + d * d), s * (c * d - a * b)],
            [s * (b * d - a * c), s * (c * d + a * b), 1 - s * (b * b + c * c)],
        ],
        dtype=np.float64,
    )
    out = np.eye(4)
    out[:3, :3] = turn * (spacing * [1, 1, sign])
    out[:3, 3] = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    return out
