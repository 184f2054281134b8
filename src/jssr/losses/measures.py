"""How unlike two images are, by name: what a recipe can choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from jssr.losses.bins import Bins
from jssr.losses.mind import MacMIND, mind_ssc
from jssr.losses.similarity import lncc, masked_mean, mutual_information


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


@dataclass(frozen=True)
class Similarity:
    """One similarity that a recipe can choose.

    Attributes:
        key: what recipes call it.
        meaning: one sentence.
        make: its settings to a measure; `settings` says whether it takes any.
    """

    key: str
    meaning: str
    make: Callable[[Mapping[str, Any]], Measure]
    settings: bool = False


def measure_of(similarity: str, settings: Mapping[str, Any] | None = None) -> Measure:
    """How unlike two images are, by name.

    Args:
        similarity: a key of `SIMILARITIES`.
        settings: of "macmind": `MacMIND`'s arguments, "bins" being those of `Bins`. The descriptors' squares are
            averaged over their channels.

    Raises:
        ValueError: another name, or settings that it does not take.
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"unknown similarity {similarity!r}; there are {', '.join(SIMILARITIES)}")
    entry = SIMILARITIES[similarity]
    if settings and not entry.settings:
        names = ", ".join(settings)
        raise ValueError(f"{similarity} takes no settings (--set network.options.settings={{}}), got {names}")
    return entry.make(settings or {})


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


def _of_macmind(settings: Mapping[str, Any]) -> Measure:
    numbers = dict(settings)
    if "weights" in numbers:
        numbers["weights"] = tuple(numbers["weights"])
    mac = MacMIND(**{**numbers, "bins": Bins(**numbers.get("bins", {}))})
    return Measure(mac.similarity, partial(_macmind, mac))


_ENTRIES = (
    Similarity("macmind", "Mean squared difference of macMIND (Zhou et al. 2023), by its settings.", _of_macmind, True),
    Similarity(
        "mind", "Mean squared difference of MIND-SSC (Heinrich et al. 2013).", lambda _: Measure(mind_ssc, _mind)
    ),
    Similarity("mi", "Mutual information (Wells et al. 1996), negated.", lambda _: Measure(_itself, _mi)),
    Similarity(
        "ncc", "1 - squared local cross-correlation, in windows of 3, 5 and 7 voxels.", lambda _: Measure(_itself, _ncc)
    ),
)

SIMILARITIES: dict[str, Similarity] = {entry.key: entry for entry in _ENTRIES}
"""What a recipe can choose from. A new one is an entry and a test."""
