"""How unlike two images are, by name: what a recipe can choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from jssr.losses.bins import Bins
from jssr.losses.descriptors import MacMIND, mind_ssc
from jssr.losses.similarity import lncc, masked_mean, mutual_information

__all__ = ["Measure", "measure_of"]

SIMILARITIES = ("macmind", "mind", "mi", "ncc")


@dataclass(frozen=True)
class Measure:
    """How unlike two images are.

    Attributes:
        describe: an image (B, 1, *spatial) to what of it is compared, (B, C, *spatial).
        apart: that of two images, a mask (or None) and the level of a pyramid (1 the coarsest, 3 the finest) to a
            number.
    """

    describe: Callable[[Tensor], Tensor]
    apart: Callable[[Tensor, Tensor, Tensor | None, int], Tensor]

    def __call__(self, a: Tensor, b: Tensor, mask: Tensor | None, level: int) -> Tensor:
        """Of two images (B, 1, *spatial)."""
        return self.apart(self.describe(a), self.describe(b), mask, level)


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
        mac = MacMIND(**{**numbers, "bins": Bins(**numbers.get("bins", {}))})
        return Measure(mac.similarity, partial(_macmind, mac))
    if settings:
        raise ValueError(
            f"{similarity} takes no settings (--set network.options.settings={{}}), got {', '.join(settings)}"
        )
    return {"mind": Measure(mind_ssc, _mind), "mi": Measure(_itself, _mi), "ncc": Measure(_itself, _ncc)}[similarity]


# Functions of the module, not of the call: a system goes to other processes whole.


def _itself(image: Tensor) -> Tensor:
    return image


def _macmind(describe: MacMIND, a: Tensor, b: Tensor, mask: Tensor | None, level: int) -> Tensor:
    return describe.apart(a, b, mask) / (18 * describe.bins.count)


def _mind(a: Tensor, b: Tensor, mask: Tensor | None, level: int) -> Tensor:
    return masked_mean((a - b).square().mean(dim=1, keepdim=True), mask)


def _mi(a: Tensor, b: Tensor, mask: Tensor | None, level: int) -> Tensor:
    return -mutual_information(a, b, mask)


def _ncc(a: Tensor, b: Tensor, mask: Tensor | None, level: int) -> Tensor:
    return lncc(a, b, mask, size=2 * level + 1)
