"""Tensors made when they are first asked for: what only reads, converts and writes an array then needs no torch, which
takes longer to import than all of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T", bound=type)


class Pending:
    """An array that is to be a tensor."""

    def __init__(self, values: NDArray[np.generic]) -> None:
        self.values = values

    def is_complex(self) -> bool:
        return self.values.dtype.kind == "c"

    def is_floating_point(self) -> bool:
        return self.values.dtype.kind in "fc"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self.values.dtype


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


def array_of(owner: object, name: str) -> NDArray[Any]:
    """The values of such a field as an array, which shares its memory where it is no tensor of another device."""
    found = held(owner, name)
    return found.values if isinstance(found, Pending) else found.detach().cpu().numpy()
