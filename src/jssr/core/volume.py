"""Images, label maps, masks and points that know where they are, and what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jssr.core import bridges
from jssr.core.bridges import Space
from jssr.core.grid import Grid
from jssr.core.late import Pending, array_of, held, late_tensor, pending
from jssr.errors import ImageError

if TYPE_CHECKING:
    import nibabel as nib
    import SimpleITK
    from torch import Tensor

Kind = Literal["image", "labels", "mask"]
Modality = Literal["ct", "mr", "us", "radiograph"]
Origin = Literal["header", "option", "cohort", "guess"]
KINDS: tuple[Kind, ...] = ("image", "labels", "mask")
MODALITIES: tuple[Modality, ...] = ("ct", "mr", "us", "radiograph")

_LONGEST = 3000.0
"""mm along an axis of a 3D scan: beyond, the spacing of its header is damaged, and no memory holds it resampled."""
# torch computes little with unsigned types wider than a byte.
_LABEL_TYPES = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64}


@late_tensor("data")
@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels, their grid, and what is known of them.

    Args:
        data: (C, *grid.shape); float32 for an image, an integer type for a label map, bool for a mask (C = 1).
        grid: where the voxels lie.
        kind: "image" is interpolated, "labels" keeps its integers, "mask" is true or false.
        name: what to call it in messages (usually the file).
        modality: "ct", "mr", "us" (ultrasound) or "radiograph"; None where it is not known.
        phase: its phase in the study; None where it is not known.
        origins: where "kind", "modality" and "phase" came from: "header" (DICOM), "option" (the user), "cohort" (the
            cohort's file) or "guess" (the voxels).

    Raises:
        ValueError: data and grid differ in shape, the type of the data is not the kind's, or an unknown modality.
    """

    data: Tensor
    grid: Grid
    kind: Kind = "image"
    name: str = "volume"
    modality: Modality | None = None
    phase: str | None = None
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def __post_init__(self) -> None:
        data = held(self, "data")
        if not isinstance(data, Pending):
            _check_tensor(data, self.name)
        if tuple(data.shape[1:]) != self.grid.shape:
            raise ValueError(f"{self.name}: data of shape {tuple(data.shape)} on a grid of {self.grid.shape}")
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: expected kind {', '.join(KINDS)}, got {self.kind!r}")
        if data.is_complex():
            raise ValueError(f"{self.name}: expected real numbers, got {data.dtype}")
        if self.kind == "labels" and data.is_floating_point():
            raise ValueError(f"{self.name}: a label map needs an integer type, got {data.dtype}")
        if self.kind == "mask" and str(data.dtype).removeprefix("torch.") != "bool":
            raise ValueError(f"{self.name}: a mask needs bool, got {data.dtype}")
        if self.modality is not None and self.modality not in MODALITIES:
            raise ValueError(f"{self.name}: expected modality {', '.join(MODALITIES)}, got {self.modality!r}")
        strange = set(self.origins.values()) - set(get_args(Origin))
        if strange:
            raise ValueError(f"{self.name}: expected origins of {', '.join(get_args(Origin))}, got {strange}")

    @classmethod
    def from_numpy(
        cls, array: ArrayLike, affine: ArrayLike, kind: Kind = "image", *, space: Space = "RAS", name: str = "array"
    ) -> Volume:
        """A volume of an array, with the checks of `read_image`.

        Args:
            array: 2D or 3D; `array[i, j, k]` is the voxel that `affine @ (i, j, k, 1)` is the centre of, in mm. So
                nibabel's arrays go in as they are, `SimpleITK.GetArrayFromImage(image)` transposed.
            affine: 4 x 4 (of a 2D array also 3 x 3).
            kind: "image", "labels" or "mask".
            space: what world the affine leads to: "RAS" (the default, as nibabel has it) or "LPS" (ITK, DICOM).
            name: what to call it in messages and results.

        Raises:
            ImageError: an array or an affine that cannot be an image's, NaN or infinity, an image of one value, labels
                that are not whole numbers.
        """
        if isinstance(array, np.ma.MaskedArray):
            raise ImageError(f"{name}: expected a plain array, got a masked one: fill it first, array.filled(value)")
        try:
            values = np.asarray(array)
        except ValueError as error:
            raise ImageError(f"{name}: expected an array of 2 or 3 axes: {error}") from None
        if values.ndim not in (2, 3) or 0 in values.shape:
            raise ImageError(f"{name}: expected an array of 2 or 3 axes, got shape {values.shape}")
        return checked_volume(values, bridges.grid_with(values.shape, affine, space, name), kind, name)

    @classmethod
    def from_sitk(cls, image: SimpleITK.Image, kind: Kind = "image", *, name: str = "SimpleITK image") -> Volume:
        """A volume of a scalar SimpleITK image of 2 or 3 axes, with the checks of `read_image`.

        Raises:
            ImageError: an image that cannot be used.
        """
        import SimpleITK as sitk

        if not isinstance(image, sitk.Image):
            raise ImageError(f"{name}: expected a SimpleITK image, got {type(image).__name__}")
        if image.GetNumberOfComponentsPerPixel() != 1 or image.GetDimension() not in (2, 3):
            raise ImageError(
                f"{name}: expected one value per voxel in 2D or 3D, got {image.GetNumberOfComponentsPerPixel()} in "
                f"{image.GetDimension()}D"
            )
        return checked_volume(sitk.GetArrayViewFromImage(image).T, bridges.grid_of(image, name), kind, name)

    @classmethod
    def from_nibabel(cls, image: Any, kind: Kind = "image", *, name: str | None = None) -> Volume:
        """A volume of a nibabel image, with the checks of `read_image`.

        Raises:
            ImageError: an image that cannot be used.
        """
        array, affine, found = bridges.from_nibabel(image)
        return cls.from_numpy(array, affine, kind, name=name or found)

    @property
    def array(self) -> NDArray[np.generic]:
        """The first channel as a numpy array of the grid's shape."""
        return array_of(self, "data")[0]

    def numpy(self) -> NDArray[np.generic]:
        """The voxels as an array of the grid's shape, in memory of its own."""
        return np.array(self.array)

    def affine(self, space: Space = "RAS") -> NDArray[np.float64]:
        """The affine of `numpy()`, (n + 1, n + 1): voxel index to millimetres, RAS as nibabel has it, or "LPS"."""
        return bridges.affine_in(self.grid.affine, space)

    def sitk(self) -> SimpleITK.Image:
        """As a SimpleITK image; a mask becomes uint8."""
        return bridges.to_sitk(self._stored()[None], self.grid)

    def nibabel(self) -> nib.Nifti1Image:
        """As a nibabel image; a mask becomes uint8, and int64 becomes int32 where that holds the values."""
        array = self._stored()
        small = array.dtype == np.int64 and array.min() >= -(2**31) and array.max() < 2**31
        return bridges.to_nibabel(array.astype(np.int32) if small else array, self.grid)

    def _stored(self) -> NDArray[np.generic]:
        array = self.numpy()
        return array.astype(np.uint8) if array.dtype == np.bool_ else array

    def with_data(self, data: Tensor, grid: Grid | None = None) -> Volume:
        """Other voxels of the same scan, on its own grid or another one."""
        return replace(self, data=data, grid=grid or self.grid)

    def known_as(self, origin: Origin, *, modality: Modality | None = None, phase: str | None = None) -> Volume:
        """The same scan, with its modality or phase as `origin` has it."""
        told = {key: value for key, value in (("modality", modality), ("phase", phase)) if value is not None}
        origins = {**self.origins, **dict.fromkeys(told, origin)}
        return replace(self, data=held(self, "data"), **told, origins=origins)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Points:
    """Points in the patient: `xyz` (N, n) LPS millimetres and a name for each."""

    xyz: NDArray[np.float64]
    names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        xyz = np.asarray(self.xyz, dtype=np.float64)
        xyz = np.atleast_2d(xyz) if xyz.size else xyz.reshape(0, 3 if xyz.ndim < 2 else xyz.shape[-1])
        if xyz.ndim != 2 or xyz.shape[1] not in (2, 3):
            raise ValueError(f"expected points of shape (N, 3) or (N, 2), got {xyz.shape}")
        names = tuple(self.names) or tuple(str(i) for i in range(len(xyz)))
        if len(names) != len(xyz):
            raise ValueError(f"{len(xyz)} points but {len(names)} names")
        object.__setattr__(self, "xyz", xyz)
        object.__setattr__(self, "names", names)

    def __len__(self) -> int:
        return len(self.xyz)

    def numpy(self) -> NDArray[np.float64]:
        """(N, n) LPS millimetres, in memory of its own."""
        return self.xyz.copy()


def volume_of(array: NDArray[np.generic], grid: Grid, kind: Kind = "image", name: str = "volume") -> Volume:
    """Wrap a numpy array of the grid's shape, unchecked: float32 for images, its own integer type for labels."""
    values = np.ascontiguousarray(array, dtype=np.float32 if kind == "image" else None)
    return Volume(pending(values[None]), grid, kind, name)


def _check_tensor(data: object, name: str) -> None:
    import torch

    if not isinstance(data, torch.Tensor):
        raise TypeError(f"{name}: expected data as a tensor, got {type(data).__name__}; use Volume.from_numpy")


def checked_volume(values: NDArray[np.generic], grid: Grid, kind: Kind, name: str, owned: bool = False) -> Volume:
    """A volume of an array of the grid's shape from outside: what cannot be used is refused.

    Args:
        owned: nobody else has the array: an image in float32 and in order is taken as it is, without a copy.

    Labels keep their integer type (uint16, uint32 and uint64 are widened; whole numbers stored as floats become int32,
    or int64 where that is too small).

    Raises:
        ImageError: no such kind, NaN or infinity, an image of one value or longer than any patient, labels or a mask
            that are not whole numbers or are too large.
    """
    if kind not in KINDS:
        raise ImageError(f"{name}: expected kind {', '.join(KINDS)}, got {kind!r}")
    if kind != "image":
        labels = _whole_numbers(values, name)
        return Volume(pending((labels if kind == "labels" else labels != 0)[None]), grid, kind, name)
    if values.dtype.kind not in "biuf":
        raise ImageError(f"{name}: expected real numbers, got {values.dtype}")
    with np.errstate(over="ignore"):
        data = np.asarray(values, np.float32, "C") if owned else np.array(values, np.float32, order="C")
    low, high = float(data.min()), float(data.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int((~np.isfinite(data)).sum())
        raise ImageError(
            f"{name}: {bad} of {data.size} voxels are NaN or infinite (in float32); replace them or export again"
        )
    extent = grid.spacing * grid.shape
    if grid.ndim == 3 and extent.max() > _LONGEST:
        raise ImageError(
            f"{name}: extends over {extent.max():.3g} mm, expected a scan of at most {_LONGEST:g} mm: correct the "
            "spacing in its header"
        )
    if low == high:
        raise ImageError(f"{name}: every voxel is {low:g}; there is nothing to see in this image")
    return Volume(pending(data[None]), grid, "image", name)


def _whole_numbers(values: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    """The labels of a file in a type that torch computes with."""
    if values.dtype.kind not in "biuf":
        raise ImageError(f"{name}: expected whole numbers, got {values.dtype}")
    if values.dtype.kind == "f" and (not np.isfinite(values).all() or (values != np.rint(values)).any()):
        raise ImageError(f"{name}: expected a label map, got values that are not whole numbers: is it an image?")
    largest = max(abs(values.min()), abs(values.max())) if values.dtype.kind in "uf" else 0
    if largest >= (2**63 if values.dtype.kind == "u" else 2**53):
        raise ImageError(f"{name}: expected labels that 64 bits hold exactly, got {largest}: number them anew")
    if values.dtype.kind == "f":
        return np.array(values, dtype=np.int32 if largest < 2**31 else np.int64, order="C")
    native = values.dtype.newbyteorder("=")
    return np.array(values, dtype=_LABEL_TYPES.get(native.name, native), order="C")
