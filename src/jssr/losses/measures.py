"""How unlike two images are, by name: what a recipe can choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from jssr.losses.bins import Bins
from jssr.losses.descriptors import MacMIND, mind_distance
from jssr.losses.similarity import lncc, mutual_information

__all__ = ["Measure", "measure_of"]

SIMILARITIES = ("macmind", "mind", "mi", "ncc")
Measure = Callable[[Tensor, Tensor, Tensor | None, int], Tensor]
"""(moved, fixed, mask, level) to how unlike they are; level is that of a pyramid, 1 the coarsest, 3 the finest."""


def measure_of(similarity: str, settings: Mapping[str, Any] | None = None) -> Measure:
    """How unlike two images are, by name.

    Args:
        similarity: "macmind", "mind" (MIND-SSC), "mi" (mutual information) or "ncc" (LapIRN's own windows).
        settings: of "macmind": `MacMIND`'s arguments, "bins" being those of `Bins`. The descriptors' squares are
            averaged over their channels.

    Raises:
        ValueError: another name, or settings that it does not take.
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"unknown similarity {similarity!r}; there are {', '.join(SIMILARITIES)}")
    if similarity == "macmind":
        numbers = dict(settings or {})
        if "weights" in numbers:
            numbers["weights"] = tuple(numbers["weights"])
        return partial(_macmind, MacMIND(**{**numbers, "bins": Bins(**numbers.get("bins", {}))}))
    if settings:
        raise ValueError(f"{similarity} takes no settings (--set options.settings={{}}), got {', '.join(settings)}")
    return {"mind": _mind, "mi": _mi, "ncc": _ncc}[similarity]


# Functions of the module, not of the call: a system goes to other processes whole.


def _macmind(describe: MacMIND, a: Tensor, b: Tensor, mask: Tensor | None, level: int) -> Tensor:
    return describe.distance_of(a, b, mask) / (18 * describe.bins.count)


def _mind(a: Tensor, b: Tensor, mask: Tensor | None, level: int) -> Tensor:
    return mind_distance(a, b, mask) / 12


def _mi(a: Tensor, b: Tensor, mask: Tensor | None, level: int) -> Tensor:
    return -mutual_information(a, b, mask)


def _ncc(a: Tensor, b: Tensor, mask: Tensor | None, level: int) -> Tensor:
    return lncc(a, b, mask, size=2 * level + 1)
