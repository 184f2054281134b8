"""Pixels outside what the scanner measured: found by their stored value, before slope and intercept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

from jssr.core.notes import tell
from jssr.io.dicom.slices import Slice

AIR = (-1024.0, -1000.0)
"""HU of what lies outside the patient."""
_TISSUE = -900.0
"""HU: a padding value above it is believed only of pixels at the border of the slice."""
_BORDER = 0.5
"""Share of such pixels that hang together with the border."""


def without_padding(array: NDArray[np.float32], slices: Sequence[Slice], modality: str, where: str) -> bool:
    """Give pixels that hold the padding value (PixelPaddingValue, up to PixelPaddingRangeLimit; PS3.3 C.7.5.1.1.2) the
    value of air, in place: in CT the lowest measured one between -1024 and -1000 HU, else the lowest one, or 0 where
    nothing is below. Whether there were any.

    Args:
        array: (columns, rows, slices), slope and intercept applied.
        slices: their files.
        modality: DICOM's.
        where: what the scan is called in messages.
    """
    mask = np.zeros(array.shape, dtype=np.bool_)
    for k, one in enumerate(slices):
        if one.padded:
            mask[..., k] = _mask(pydicom.dcmread(one.path, force=True), array[..., k])
    if not mask.any() or mask.all():
        return False
    if modality == "CT" and float(np.median(array[mask])) > _TISSUE and not _outside(mask):
        tell(f"{where}: its padding value is found inside the patient, and is taken for what it says there.")
        return False
    lowest = float(array[~mask].min())
    if modality == "CT":
        mask &= (array < AIR[0]) | (array > AIR[1])
        array[mask] = np.clip(lowest, *AIR)
    else:
        array[mask] = min(lowest, 0.0)
    return True


def _mask(header: Dataset, values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a slice (columns, rows) is padded."""
    bits = int(header.get("BitsAllocated") or 16)
    signed = int(header.get("PixelRepresentation") or 0) == 1
    ends = [_as_stored(header.get(name), bits, signed) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    first = ends[0]
    if first is None:
        return np.zeros(values.shape, dtype=np.bool_)
    last = first if ends[1] is None else ends[1]
    low, high = min(first, last), max(first, last)
    stored: NDArray[np.integer[Any]] = _stored(header, values, bits, signed)
    return np.asarray((stored >= low) & (stored <= high))


def _as_stored(value: object, bits: int, signed: bool) -> int | None:
    """A padding value as pixels hold it: many headers give it the other sign's type (63536 for -2000)."""
    try:
        number = int(str(value)) % 2**bits
    except (TypeError, ValueError):
        return None
    return number - 2**bits if signed and number >= 2 ** (bits - 1) else number


def _stored(header: Dataset, values: NDArray[np.float32], bits: int, signed: bool) -> NDArray[np.integer[Any]]:
    """Pixels as the file holds them, with the bits above the stored ones, where a padding value may lie; those of a
    compressed file by slope and intercept from what was read."""
    meta = getattr(header, "file_meta", None)
    coding = meta.get("TransferSyntaxUID") if meta is not None else None
    plain = coding is None or not coding.is_compressed
    rows, columns = int(header.Rows), int(header.Columns)
    if plain and bits in (8, 16, 32) and len(header.get("PixelData") or b"") >= rows * columns * bits // 8:
        order = "<" if coding is None or coding.is_little_endian else ">"
        kind = np.dtype(f"{order}{'i' if signed else 'u'}{bits // 8}")
        return np.frombuffer(header.PixelData, kind, rows * columns).reshape(rows, columns).T
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    return np.rint((values.astype(np.float64) - intercept) / (slope or 1.0)).astype(np.int64)


def _outside(mask: NDArray[np.bool_]) -> bool:
    """Whether most of the pixels hang together with the border of their slice."""
    kept = 0
    for k in range(mask.shape[2]):
        parts, _ = ndimage.label(mask[..., k])
        edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
        kept += int(np.isin(parts, edge[edge > 0]).sum())
    return kept >= _BORDER * int(mask.sum())
