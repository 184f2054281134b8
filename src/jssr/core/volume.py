"""Images, label maps and points that know where they are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jssr.core.grid import Grid

__all__ = ["Kind", "Points", "Volume"]

Kind = Literal["image", "labels"]


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and their grid.

    Args:
        data: (C, *grid.shape); float32 for an image, an integer type for a label map (C = 1).
        grid: where the voxels lie.
        kind: "image" is interpolated, "labels" keeps its integers.
        name: what to call it in messages (usually the file).

    Raises:
        ValueError: data and grid differ in shape, or labels are not integers.
    """

    data: Tensor
    grid: Grid
    kind: Kind = "image"
    name: str = "volume"

    def __post_init__(self) -> None:
        if not isinstance(self.data, Tensor):
            raise TypeError(f"{self.name}: data must be a tensor, not {type(self.data).__name__}; see volume_of")
        if tuple(self.data.shape[1:]) != self.grid.shape:
            raise ValueError(f"{self.name}: data of shape {tuple(self.data.shape)} on a grid of {self.grid.shape}")
        if self.kind == "labels" and self.data.is_floating_point():
            raise ValueError(f"{self.name}: a label map needs an integer type, got {self.data.dtype}")

    @property
    def array(self) -> NDArray[np.generic]:
        """The first channel as a numpy array of the grid's shape."""
        return self.data[0].numpy()

    def with_data(self, data: Tensor) -> Volume:
        """The same place with other voxels."""
        return replace(self, data=data)


@dataclass(frozen=True, eq=False)
class Points:
    """Points in the patient: `xyz` (N, n) LPS millimetres and a name for each."""

    xyz: NDArray[np.float64]
    names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        xyz = np.asarray(self.xyz, dtype=np.float64)
        xyz = np.atleast_2d(xyz) if xyz.size else xyz.reshape(0, 3 if xyz.ndim < 2 else xyz.shape[-1])
        names = tuple(self.names) or tuple(str(i) for i in range(len(xyz)))
        if len(names) != len(xyz):
            raise ValueError(f"{len(xyz)} points but {len(names)} names")
        object.__setattr__(self, "xyz", xyz)
        object.__setattr__(self, "names", names)

    def __len__(self) -> int:
        return len(self.xyz)


def volume_of(array: NDArray[np.generic], grid: Grid, kind: Kind = "image", name: str = "volume") -> Volume:
    """Wrap a numpy array of the grid's shape: float32 for images, its own integer type for labels."""
    data = torch.from_numpy(np.ascontiguousarray(array))[None]
    return Volume(data.float() if kind == "image" else data, grid, kind, name)
