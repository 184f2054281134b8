"""Which contrast phase a CT shows, told from the organs that a segmentor found in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jssr.core.volume import Volume
from jssr.phantom.organs import Organs, organ_medians, phase_distances
from jssr.preprocessing.modality import modality_of

__all__ = ["Phase", "phase_of"]

FEWEST = 2
"""Organs that must be measured."""
FAR, NEAR = 45.0, 10.0
"""HU: a phase whose organs are as far off as this, or that is as little nearer than the next, is doubtful."""


@dataclass(frozen=True)
class Phase:
    """A CT's phase.

    Attributes:
        name: "non-contrast", "arterial", "venous" or "delay".
        hu: organ to its median HU, which it was told from.
        apart: every phase to the mean distance of these from what is expected in it, HU.
        doubt: why it may be another one; "" where nothing speaks for that.
    """

    name: str
    hu: dict[str, float]
    apart: dict[str, float]
    doubt: str = ""

    @property
    def line(self) -> str:
        """In words."""
        told = ", ".join(f"{organ} {value:.0f} HU" for organ, value in self.hu.items())
        return f"{self.name} phase ({told})" + (f"; in doubt: {self.doubt}" if self.doubt else "")


def phase_of(scan: Volume, labels: Volume, names: Mapping[int, str]) -> Phase | None:
    """The phase whose expected organs are nearest to the scan's; None for what is no CT, or holds too few organs.

    Args:
        scan: HU.
        labels: its label map, on its grid.
        names: value to structure.
    """
    if modality_of(scan) != "ct" or scan.grid.ndim != 3:
        return None
    measured = organ_medians(Organs.of(scan, labels, names))
    if len(measured) < FEWEST:
        return None
    apart = phase_distances(measured)
    best, second = sorted(apart, key=lambda p: apart[p])[:2]
    doubt = ""
    if apart[best] > FAR:
        doubt = f"its organs are {apart[best]:.0f} HU off what is expected"
    elif apart[second] - apart[best] < NEAR:
        doubt = f"{second} is nearly as likely"
    hu = {tissue.name.lower().replace("_cortex", ""): value for tissue, value in measured.items()}
    return Phase(best, hu, apart, doubt)
