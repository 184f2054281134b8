"""Tensors made when they are first asked for: what only reads, converts and writes an array then needs no torch, which
takes longer to import than all of that."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T", bound=type)
Slices: TypeAlias = tuple[slice, ...]
Planes: TypeAlias = Callable[[int, int], NDArray[Any]]
PART = 1 << 19
"""Voxels of a part of a `Computed` array."""
PLANES = 1 << 21
"""Voxels of planes that are made in the order of a file: 8 planes of 512 x 512, so that an image that is read for them
is read some voxels of its last axis at a time."""


class Pending:
    """An array that is to be a tensor."""

    def __init__(self, values: NDArray[np.generic]) -> None:
        self.values = values

    def is_complex(self) -> bool:
        return self.dtype.kind == "c"

    def is_floating_point(self) -> bool:
        return self.dtype.kind in "fc"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self.values.dtype


class Computed(Pending):
    """An array of (C, *shape) that is computed when it is asked for: in parts, or as a whole, which is then kept.

    Args:
        make: what gives the part of some slices, one for each axis of `shape`: (C, *part).
        at: what gives it at some voxels, by their indices (N, n): (N, C); without it parts are made for them.
        planes: what gives planes `first` to `last` of the last axis as a file has them, (C, planes, ..., X), of a field
            in millimetres; without it parts are put into that order.
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: DTypeLike,
        make: Callable[[Slices], NDArray[Any]],
        at: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        planes: Planes | None = None,
    ) -> None:
        self._shape, self._dtype, self._make = tuple(shape), np.dtype(dtype), make
        self.at, self.planes = at, planes
        self._whole: NDArray[Any] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self._dtype

    @property
    def values(self) -> NDArray[Any]:  # type: ignore[override]
        if self._whole is None:
            whole = np.empty(self._shape, self._dtype)
            for part in parts(self._shape[1:], 0):
                whole[(slice(None), *part)] = self._make(part)
            self._whole = whole
        return self._whole

    def part(self, where: Slices) -> NDArray[Any]:
        if self._whole is None:
            return self._make(where)
        return self._whole[(slice(None), *where)]


def parts(shape: Sequence[int], axis: int, voxels: int = PART) -> Iterator[Slices]:
    """Slices of slabs of about so many voxels, one after the other along an axis."""
    thick = max(1, voxels * shape[axis] // max(1, math.prod(shape)))
    for first in range(0, shape[axis], thick):
        inner = [slice(0, size) for size in shape]
        inner[axis] = slice(first, min(first + thick, shape[axis]))
        yield tuple(inner)


def pending(values: NDArray[np.generic]) -> Any:
    """A value for a field of `late_tensor`: an array, native and with its own order of axes, whose memory the tensor
    will share."""
    return Pending(values)


def late_tensor(name: str) -> Callable[[T], T]:
    """A dataclass whose field `name` is a tensor for whoever reads it, and may be given as `pending`."""

    def decorate(kind: T) -> T:
        setattr(kind, name, _Field(name))
        return kind

    return decorate


class _Field:
    """The tensor of a field; what the field was given is kept under another name."""

    def __init__(self, name: str) -> None:
        self.key = f"_{name}"

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self
        held = owner.__dict__[self.key]
        if isinstance(held, Pending):
            import torch

            held = owner.__dict__[self.key] = torch.from_numpy(held.values)
        return held

    def __set__(self, owner: Any, value: Tensor | Pending) -> None:
        owner.__dict__[self.key] = value


def held(owner: object, name: str) -> Any:
    """What a field of `late_tensor` holds now, a tensor or a `Pending`; nothing is made."""
    return owner.__dict__[f"_{name}"]


def is_computed(owner: object, name: str) -> bool:
    """Whether such a field is computed in parts, and nobody has asked for the whole of it yet."""
    found = held(owner, name)
    return isinstance(found, Computed) and found._whole is None


def part_of(owner: object, name: str, where: Slices) -> NDArray[Any]:
    """The part of such a field (C, *shape) in some slices of its axes, (C, *part), read-only: of a `Computed` nothing
    else is made."""
    found = held(owner, name)
    if isinstance(found, Computed):
        return found.part(where)
    return array_of(owner, name)[(slice(None), *where)]


def planes_of(owner: object, name: str) -> Planes | None:
    """What gives such a field as a file has it (`Computed`), where it is computed in that order."""
    found = held(owner, name)
    return found.planes if isinstance(found, Computed) and found._whole is None else None


def last_slabs(owner: Any, name: str) -> Iterator[NDArray[Any]]:
    """Slabs of such a field along the last axis, (C, ..., thickness), one after the other; where it is computed in the
    order of a file, they have that order in memory, and a field is in millimetres."""
    shape, planes = held(owner, name).shape[1:], planes_of(owner, name)
    if planes is None:
        for where in parts(shape, len(shape) - 1):
            yield part_of(owner, name, where)
        return
    for where in parts(shape, len(shape) - 1, PLANES):
        found = planes(where[-1].start, where[-1].stop)
        yield found.transpose(0, *range(found.ndim - 1, 0, -1))


def array_of(owner: object, name: str) -> NDArray[Any]:
    """The values of such a field as an array, which shares its memory where it is no tensor of another device."""
    found = held(owner, name)
    return found.values if isinstance(found, Pending) else found.detach().cpu().numpy()
