"""A DICOM Segmentation as a label map, by highdicom: binary, fractional and label map ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from jssr.core.grid import Grid
from jssr.core.volume import Kind, Volume, volume_of
from jssr.errors import ImageError
from jssr.io.dicom.files import opened, readable
from jssr.io.dicom.frames import upright, without_references

HALF = 0.5
"""Of a fractional segment, voxels of at least this share belong to it."""


@dataclass(frozen=True)
class Segments:
    """A segmentation read.

    Attributes:
        volume: the label map; its values are the segments' numbers.
        names: number to label, of every segment, found in the voxels or not.
        warnings: what a label map could not hold: overlaps, fractions.
    """

    volume: Volume
    names: Mapping[int, str]
    warnings: tuple[str, ...] = ()

    def volume_as(self, kind: Kind) -> Volume:
        """The label map, or the mask of all segments."""
        if kind != "mask":
            return self.volume
        return replace(self.volume, data=self.volume.data != 0, kind="mask")


def read_segments(path: str | os.PathLike[str]) -> Segments:
    """Read a segmentation with the numbers and the names of its segments, on its own grid.

    Where segments overlap, a voxel goes to the smallest of them, so that a lesion is not lost in its organ; a warning
    counts those voxels. Of a fractional segment the voxels of one half and more are taken.

    Raises:
        ImageError: no segmentation, frames that are no evenly spaced stack, tiles of a slide, two segments of one
            number, or a damaged file.
    """
    path = Path(path)
    found = opened(path)
    with readable(path, "its segments"):
        names = names_of(found, path)
        without_references(found)
        seg = hd.seg.Segmentation.from_dataset(found, copy=False)
        if seg.segmentation_type == hd.seg.SegmentationTypeValues.LABELMAP:
            array, grid = upright(seg.get_volume(combine_segments=True))
            return Segments(labels_in(array, grid, path), names)
        masks = {n: upright(seg.get_volume(segment_numbers=[n], dtype=np.float32)) for n in _with_frames(seg)}
    if not masks:
        raise ImageError(f"{path}: holds no voxel of any segment")
    grid = next(iter(masks.values()))[1]
    made, warnings = combined({n: array for n, (array, _) in masks.items()}, names, is_fractional(seg), path)
    return Segments(labels_in(made, grid, path), names, warnings)


def names_of(found: Dataset, path: Path) -> dict[int, str]:
    """Number to label of every segment.

    Raises:
        ImageError: no place in a patient, no segments, or two of one number: whose voxels they are cannot be told.
    """
    if "FrameOfReferenceUID" not in found or "TotalPixelMatrixRows" in found:
        raise ImageError(f"{path}: its segments have no place in a patient; expected a segmentation of a scan")
    names: dict[int, list[str]] = {}
    segments = found.get("SegmentSequence") or ()
    if not segments:
        raise ImageError(f"{path}: holds no segments (SegmentSequence is missing or empty); export it again")
    for one in segments:
        names.setdefault(int(one.SegmentNumber), []).append(str(one.get("SegmentLabel") or ""))
    for number, same in names.items():
        if len(same) > 1:
            shown = " and ".join(repr(name) for name in same)
            raise ImageError(
                f"{path}: segments {shown} share the number {number}; expected one number each: export again"
            )
    return {number: labels[0] for number, labels in names.items() if number > 0}  # 0 is the background of a label map


def is_fractional(seg: hd.seg.Segmentation) -> bool:
    """Whether its voxels hold shares."""
    return bool(seg.segmentation_type == hd.seg.SegmentationTypeValues.FRACTIONAL)


def _numbers(seg: hd.seg.Segmentation) -> list[int]:
    return [int(n) for n in seg.segment_numbers if int(n) > 0]  # 0 is the background of a label map


def _with_frames(seg: hd.seg.Segmentation) -> list[int]:
    """The segments that a frame refers to: others have no voxel."""
    there = set()
    for group in seg.PerFrameFunctionalGroupsSequence:
        there.add(int((group if "SegmentIdentificationSequence" in group else seg.SharedFunctionalGroupsSequence[0])
                      .SegmentIdentificationSequence[0].ReferencedSegmentNumber))  # fmt: skip
    return [n for n in _numbers(seg) if n in there]


def combined(
    shares: Mapping[int, NDArray[np.generic]], names: Mapping[int, str], fractional: bool, path: Path
) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    """One label map of the shares of each segment in every voxel, small segments over large ones, and warnings."""
    made, overlaps = _combined({n: np.greater_equal(array, HALF) for n, array in shares.items()})
    warnings = []
    if fractional:
        warnings.append(f"{path}: its segments are fractional; voxels of at least one half are taken")
    if overlaps:
        shown = ", ".join(f"{names.get(a, a)} and {names.get(b, b)} in {n} voxels" for (a, b), n in overlaps.items())
        warnings.append(f"{path}: segments overlap ({shown}); the smaller one takes these voxels in the label map")
    return made, tuple(warnings)


def _combined(masks: Mapping[int, NDArray[np.bool_]]) -> tuple[NDArray[np.generic], dict[tuple[int, int], int]]:
    """One label map, small segments over large ones; and how many voxels each two of them share."""
    by_size = sorted(masks, key=lambda n: (-int(masks[n].sum()), n))
    out = np.zeros(next(iter(masks.values())).shape, np.min_scalar_type(max(masks)))
    overlaps: dict[tuple[int, int], int] = {}
    for number in by_size:
        mask = masks[number].reshape(out.shape)
        values, counts = np.unique(out[mask], return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if value:
                pair = (min(value, number), max(value, number))
                overlaps[pair] = overlaps.get(pair, 0) + count
        out[mask] = number
    return out, dict(sorted(overlaps.items()))


def labels_in(array: NDArray[np.generic], grid: Grid, path: Path) -> Volume:
    """A label map, of a type that torch computes with."""
    wide = {"uint16": np.int32, "uint32": np.int64}
    return volume_of(array.astype(wide.get(array.dtype.name, array.dtype)), grid, "labels", str(path))
