"""Warps and losses are computed in float32, and fields kept in it, whatever precision the networks run in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function outside autocast on both device types. bfloat16 has 8 bits of mantissa: at voxel 100 its step
    is half a voxel, so a field computed in it is wrong by tenths of a voxel."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*args, **kwargs)

    return wrapper
