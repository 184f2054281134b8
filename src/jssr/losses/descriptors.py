"""The descriptors to choose from, one entry each. A descriptor turns an image into channels that look alike in every
modality; a search or an optimisation on one pair compares these.

Command-line choices, errors, the recipes' check and docs/reference/descriptors.md are made from them. A new one is an
entry here and a test (docs/how-to/add-a-descriptor.md). The functions import torch when they are called, so that the
command line can list the names without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jssr.errors import JssrError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Descriptor:
    """One descriptor.

    Attributes:
        key: what it is called in options, recipes and results.
        name: how it is written in prose.
        channels: how many it has of images of 2 and of 3 axes; what is absent it does not describe.
        meaning: one sentence.
        function: (B, 1, *spatial) in -1..1 to (B, channels, *spatial).
    """

    key: str
    name: str
    channels: Mapping[int, int]
    meaning: str
    function: Callable[[Tensor], Tensor]

    def __call__(self, image: Tensor) -> Tensor:
        """Describe an image.

        Raises:
            JssrError: the function gives another number of channels than the entry names.
        """
        made = self.function(image)
        expected = (image.shape[0], self.channels.get(image.ndim - 2), *image.shape[2:])
        if tuple(made.shape) != expected:
            raise JssrError(f"descriptor {self.key}: expected shape {expected}, got {tuple(made.shape)}")
        return made

    def check(self, n: int) -> None:
        """Make sure that it describes images of n axes.

        Raises:
            JssrError: it does not.
        """
        if n not in self.channels:
            from jssr.core.grid import dims_in_words  # numpy: the command line needs the names alone

            others = " and ".join(one.key for one in DESCRIPTORS.values() if n in one.channels)
            takes = dims_in_words(tuple(self.channels))
            raise JssrError(f"{self.name} describes {takes} images; for {n}D images choose {others}")


def descriptor_of(key: str) -> Descriptor:
    """The entry of a name.

    Raises:
        ValueError: there is none.
    """
    if key not in DESCRIPTORS:
        raise ValueError(f"unknown descriptor {key!r}; there are {', '.join(DESCRIPTORS)}")
    return DESCRIPTORS[key]


def _mind_ssc(image: Tensor) -> Tensor:
    from jssr.losses.mind import mind_ssc

    return mind_ssc(image)


def _mind(image: Tensor) -> Tensor:
    from jssr.losses.mind import mind

    return mind(image)


def _macmind(image: Tensor) -> Tensor:
    """Its 18 connections, not aggregated: with its 48 bins a pair of scans would take some 20 GB."""
    from jssr.losses.bins import Bins
    from jssr.losses.mind import MacMIND

    return MacMIND(bins=Bins(support=1, angles=1, rings=1, slabs=1))(image)


_ENTRIES = (
    Descriptor(
        key="mind-ssc",
        name="MIND-SSC",
        channels={2: 4, 3: 12},
        meaning="How alike the patches around a voxel are to one another (Heinrich et al. 2013).",
        function=_mind_ssc,
    ),
    Descriptor(
        key="mind",
        name="MIND",
        channels={2: 4, 3: 6},
        meaning="How alike a voxel's patch is to those of its nearest neighbours (Heinrich et al. 2012).",
        function=_mind,
    ),
    Descriptor(
        key="macmind",
        name="macMIND",
        channels={3: 18},
        meaning="Both of these at two distances (Zhou et al. 2023), not aggregated in bins.",
        function=_macmind,
    ),
)

DESCRIPTORS: dict[str, Descriptor] = {entry.key: entry for entry in _ENTRIES}
