"""The scans of a pair and what is known of them, read and checked before the work."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jssr.core.grid import Grid, dims_in_words
from jssr.core.notes import collected, tell
from jssr.core.transform import Affine
from jssr.core.volume import Modality, Points, Volume
from jssr.errors import GeometryError, ImageError, OptionError, PointsError
from jssr.io.ahead import Reading
from jssr.io.images import ImageLike, as_volume
from jssr.io.points import PointsLike, as_points
from jssr.metrics.transforms import tre
from jssr.preprocessing.known_start import Masks
from jssr.preprocessing.modality import decide_modality, modality_of
from jssr.preprocessing.rigid import OverlapError, overlap
from jssr.registration.initial import Start, read_initial
from jssr.registration.labels import label_maps_of, labels_of
from jssr.registration.masks import check_mask, check_meeting
from jssr.registration.model import Model
from jssr.registration.options import Known, KnownDict, RegistrationOptions
from jssr.registration.origin import frames_apart, told_by_headers
from jssr.registration.schema import GridInfo, ScanInfo
from jssr.registration.structures import structures_of

THINNEST = 3
"""Voxels along an axis of a volume: means of two are compared, and there must be two of them."""
OUTSIDE_MM = 5.0
"""Landmarks nearer to their scan's border are told nothing of."""
ONE_SCAN = "labels of one scan only: give those of the fixed and of the moving image, or neither"
_KINDS = {"labels": "label map", "mask": "mask"}


@dataclass(frozen=True, eq=False)
class Scans:
    """A pair as it was read: each modality decided, what is known of it, warnings of sources that contradict, and where
    it starts."""

    fixed: Volume
    moving: Volume
    known: Known = field(default_factory=Known)
    warnings: tuple[str, ...] = ()
    start: Start = "geometry"

    @property
    def masks(self) -> Masks:
        """What counts of the fixed and of the moving scan."""
        return self.known.fixed_mask, self.known.moving_mask

    @property
    def modalities(self) -> tuple[Modality, Modality]:
        """Of the fixed and of the moving scan."""
        return modality_of(self.fixed), modality_of(self.moving)

    @property
    def words(self) -> str:
        """Both scans and their modalities, for messages."""
        pair = zip((self.fixed, self.moving), self.modalities, strict=True)
        guessed = {"guess": ", by a guess"}
        names = [f"{Path(s.name).name} ({m}{guessed.get(s.origins.get('modality', ''), '')})" for s, m in pair]
        return " and ".join(names)

    def used(self) -> dict[str, Any]:
        """What `result.json` says of where the pair started and of its masks."""
        start = self.start if isinstance(self.start, str) else "linear" if isinstance(self.start, Affine) else "field"
        matrix = self.start.matrix.tolist() if isinstance(self.start, Affine) else None
        shares = [None if one is None else 100 * float((one.data != 0).float().mean()) for one in self.masks]
        return {
            "initial": {"start": start, "matrix_lps_mm": matrix},
            "masks": {"fixed_percent": shares[0], "moving_percent": shares[1]},
        }

    def infos(self) -> tuple[ScanInfo, ScanInfo]:
        """What `result.json` says of the fixed and of the moving scan."""
        headers = told_by_headers(self.fixed.name, self.moving.name)
        found = [
            ScanInfo(
                name=scan.name, grid=GridInfo.of(scan.grid), modality=modality_of(scan),
                modality_from=scan.origins.get("modality", "guess"), phase=scan.phase, **told,
            )
            for scan, told in zip((self.fixed, self.moving), headers, strict=True)
        ]  # fmt: skip
        return found[0], found[1]


def read_scans(fixed: ImageLike, moving: ImageLike, options: RegistrationOptions, given: KnownDict) -> Scans:
    """Read a pair and what is known of it, decide both modalities, and make sure that the fields of view meet.

    Raises:
        ImageError, OverlapError: a scan or a mask that cannot be used, or two that do not fit together.
        GeometryError, PointsError: moving labels or landmarks of one scan only, or such as do not fit their scan.
        TransformError: an initial transform that cannot be used.
    """
    with collected() as told:
        found = _read_scans(fixed, moving, options, given)
    return replace(found, warnings=(*told, *found.warnings))


def _read_scans(fixed: ImageLike, moving: ImageLike, options: RegistrationOptions, given: KnownDict) -> Scans:
    first, doubts = decide_modality(image_of(fixed, "fixed"), options.fixed_modality)
    second, more = decide_modality(image_of(moving, "moving"), options.moving_modality)
    check_dims_agree(first, second)
    start = read_initial(options.initial, first.grid, second.grid, (first.name, second.name))
    if isinstance(start, str):
        check_overlap(first, second, options.rigid and start == "centre")
    labels = given.get("fixed_labels"), given.get("moving_labels")
    if labels[0] is None and labels[1] is not None:
        raise GeometryError(ONE_SCAN)
    landmarks = given.get("fixed_landmarks"), given.get("moving_landmarks")
    if (landmarks[0] is None) != (landmarks[1] is None):
        raise PointsError("landmarks of one scan only: give those of the fixed and of the moving image, or neither")
    points = points_of(landmarks[0], first), points_of(landmarks[1], second)
    if points[0] is not None and points[1] is not None:
        tre(points[0], points[1])  # what is wrong with them is refused before the work
    masks = _masks(given, first, second, start)
    maps = label_maps_of(*labels, (first, second), given.get("structures"))
    structures = structures_of(given.get("structures"), maps.fixed, maps.moving, maps.names)
    known = Known(maps.fixed, maps.moving, *points, structures, *masks)
    frames = () if options.rigid or start != "geometry" else frames_apart(first.name, second.name)
    return Scans(first, second, known, (*doubts, *more, *frames), start)


def _masks(given: KnownDict, fixed: Volume, moving: Volume, start: Start) -> Masks:
    """The masks of a pair.

    Raises:
        ImageError, GeometryError: one that cannot be used, or two that cannot show the same.
    """
    files = given.get("fixed_mask"), given.get("moving_mask")
    found = [None if f is None else labels_of(f, scan, "mask") for f, scan in zip(files, (fixed, moving), strict=True)]
    masks = found[0], found[1]
    if masks[0] is not None:
        check_mask(masks[0], fixed, "fixed")
    if masks[1] is not None:
        check_mask(masks[1], moving, "moving")
    check_meeting(masks, (fixed.grid, moving.grid), start)
    return masks


def check_spacing(spacing: float | None, fixed: Volume) -> None:
    """Make sure that control points can be so far apart on a scan.

    Raises:
        OptionError: nearer than its voxels, or further than it is long.
    """
    if spacing is None:
        return
    voxel, long = float(fixed.grid.spacing.min()), float((fixed.grid.spacing * fixed.grid.shape).max())
    if not voxel <= spacing <= long:
        raise OptionError(
            f"spacing: expected {voxel:.3g} (a voxel of {fixed.name}) to {long:.0f} mm (its length) between control "
            f"points, got {spacing:g}"
        )


def modality_warnings(scans: Scans, model: Model) -> list[str]:
    """Warnings where a modality was guessed and matters, or is not what the weights were trained on."""
    if scans.fixed.grid.ndim == 2 or "mr" in model.modalities.values():
        return []
    out = []
    for scan, modality in zip((scans.fixed, scans.moving), scans.modalities, strict=True):
        name = Path(scan.name).name
        if any(words.startswith(f"{scan.name}: its modality is a guess") for words in scans.warnings):
            continue
        if modality != "ct" and scan.origins.get("modality", "guess") == "guess":
            low, high = float(scan.data.min()), float(scan.data.max())
            out.append(
                f"{name}: intensities from {low:.4g} to {high:.4g} do not look like Hounsfield units; it was taken for "
                "MR and scaled by its own brightness. If it is CT, name it: --fixed-modality ct or "
                "--moving-modality ct (in Python fixed_modality, moving_modality)."
            )
        elif modality != "ct" and model.recipe.network.system == "jssr" and model.source.startswith("shipped"):
            out.append(f"{name}: is {modality}; these weights were trained on ct.")
    return out


def image_of(image: ImageLike | Reading, name: str = "image") -> Volume:
    """Read an image, wait for one that is being read, or check one as reading checks.

    Raises:
        ImageError: it cannot be read or used.
    """
    found = image.volume() if isinstance(image, Reading) else as_volume(image, name=name)
    if found is not image:
        return found
    if found.data.shape[0] != 1:
        raise ImageError(f"{found.name}: expected one channel, got {found.data.shape[0]}")
    if found.kind != "image":
        raise ImageError(f"{found.name}: expected an image, got a {_KINDS[found.kind]}")
    data = found.data.float()
    low, high = float(data.min()), float(data.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{found.name}: holds NaN or infinite voxels; replace them")
    if low == high:
        raise ImageError(f"{found.name}: every voxel is {low:g}; there is nothing to see in this image")
    return replace(found, data=data)


def points_of(points: PointsLike | None, image: Volume) -> Points | None:
    """Landmarks of an image.

    Raises:
        PointsError: they cannot be read, or are of another dimension.
    """
    found = None if points is None else as_points(points, f"{image.name} landmarks", image.grid)
    if found is not None and found.xyz.shape[1] != image.grid.ndim:
        raise PointsError(f"{image.name}: is {image.grid.ndim}D, its landmarks have {found.xyz.shape[1]} coordinates")
    if found is not None and image.grid.ndim == 3:
        _tell_outside(found, image, str(points) if isinstance(points, (str, os.PathLike)) else "landmarks")
    return found


def _tell_outside(points: Points, image: Volume, name: str) -> None:
    """Say how many landmarks lie outside their scan: in another frame (RAS for LPS) most do."""
    away = image.grid.distance(points.xyz)
    if away.size and away.max() > OUTSIDE_MM:
        count, most = int((away > 0).sum()), away.max()
        tell(
            f"{name}: {count} of {len(points)} landmarks lie outside {image.name}, up to {most:.0f} mm: "
            "check that they are this scan's, in LPS mm."
        )


def check_dims(model: Model, grid: Grid, name: str) -> None:
    """Make sure that a model takes images of a grid's axes.

    Raises:
        ImageError: it does not, or a 2D image is a line.
    """
    if grid.ndim == 2 and min(grid.shape) < 2:
        raise ImageError(f"{name}: is {' x '.join(map(str, grid.shape))} pixels, a line and no image")
    if grid.ndim not in model.recipe.preprocessing.dims:
        takes = f"{model.recipe.name} ({model.source}) takes {dims_in_words(model.recipe.preprocessing.dims)} images"
        raise ImageError(f"{name}: is {grid.ndim}D; {takes}")


def check_overlap(fixed: Volume, moving: Volume, centred: bool = False) -> None:
    """Make sure that two scans have one dimension, and that 3D fields of view meet unless they are `centred`.

    Raises:
        ImageError, OverlapError: they do not.
    """
    check_dims_agree(fixed, moving)
    if fixed.grid.ndim == 2:
        return  # wherever their headers put them, they start on one another
    for one in (fixed, moving):
        if min(one.grid.shape) < THINNEST:
            size = " x ".join(map(str, one.grid.shape))
            raise ImageError(f"{one.name}: expected at least {THINNEST} voxels along each axis, got {size}")
    if not centred and overlap(fixed.grid, moving.grid) == 0 and overlap(moving.grid, fixed.grid) == 0:
        raise OverlapError(
            f"{moving.name}: its field of view does not overlap that of {fixed.name} in physical space; are they scans "
            "of one patient? If only the headers disagree, start from the bodies' centres (initial='centre', --initial "
            "centre)"
        )


def check_dims_agree(fixed: Volume, moving: Volume) -> None:
    """Raises ImageError where one image is 2D and the other 3D."""
    dims = fixed.grid.ndim, moving.grid.ndim
    if dims[0] != dims[1]:
        raise ImageError(
            f"expected two images of one dimension, got {fixed.name} ({dims[0]}D) and {moving.name} ({dims[1]}D)"
        )
