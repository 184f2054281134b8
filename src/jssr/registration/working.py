"""What a system found on its own grid, before anything is made at full size."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from jssr.preprocessing.prepare import PreparedPair
from jssr.registration.full_size import Map
from jssr.registration.model import Model
from jssr.systems.base import Alignment

__all__ = ["Working"]


@dataclass(frozen=True, eq=False)
class Working:
    """What was found on the network's grid: the prepared pair, what the system said of it, and the maps by state;
    `structure` is what it was told of the fixed image (JRS-Net)."""

    model: Model
    pair: PreparedPair
    alignment: Alignment
    maps: dict[str, Map]
    structure: Tensor | None = None

    @property
    def final(self) -> Map:
        return list(self.maps.values())[-1]
