"""Whether the positions and volumes of segmented organs are plausible; what is not becomes a warning.

It changes nothing. Patients with a kidney in the pelvis or organs on the other side exist, so the words ask to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from jssr.core.volume import Volume

__all__ = ["implausible"]

ADULT_ML = {
    "liver": 1710.0, "spleen": 144.0, "kidney_right": 148.0, "kidney_left": 148.0, "pancreas": 133.0,
    "gallbladder": 66.0, "stomach": 383.0, "heart": 800.0, "bladder": 250.0,
}  # fmt: skip
"""Reference man, ICRP publication 89 (2002), table 2.8: grams by a density of 1.05, hollow organs with contents."""
MOST = 4.0
"""Times the adult's: a liver of 7 litres or a kidney of 600 ml is the exception."""
HOLLOW = ("gallbladder", "stomach", "bladder")
MOST_HOLLOW = 8.0
ABOVE = (
    ("lung", "kidney_right"), ("lung", "kidney_left"), ("heart", "kidney_right"), ("heart", "kidney_left"),
    ("lung", "bladder"), ("heart", "bladder"), ("liver", "bladder"), ("spleen", "bladder"), ("stomach", "bladder"),
    ("kidney_right", "bladder"), ("kidney_left", "bladder"), ("heart", "pelvis"), ("liver", "femurs"),
)  # fmt: skip
"""The first lies nearer the head than the second."""
LEFT_OF = (("spleen", "liver"), ("kidney_left", "kidney_right"), ("stomach", "gallbladder"))
"""The first lies further to the patient's left."""
NEAR_MM = (("kidney_right", "liver", 160.0), ("kidney_left", "spleen", 180.0), ("pancreas", "liver", 220.0))
"""How far apart centres are at most. Chosen wide, without a source: none of 60 phantom patients, and none of three real
scans as they were segmented, gives a warning of this module."""
CLEAR_MM = 10.0
"""Centres that are less apart say nothing of which lies higher."""


def implausible(labels: Volume, names: Mapping[int, str]) -> tuple[str, ...]:
    """Implausible positions and volumes, one sentence each.

    Args:
        labels: label map of a 3D scan; values of `names`.
        names: value to structure.
    """
    if labels.grid.ndim != 3:
        return ()
    centres, millilitres = _measured(labels, names)
    found = [*_too_large(millilitres), *_misplaced(centres)]
    return tuple(f"{words}: look at it, and at the scan's header." for words in found)


def _measured(labels: Volume, names: Mapping[int, str]) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Centres (LPS mm) and volumes of the structures that are there."""
    from scipy.ndimage import center_of_mass, find_objects, sum_labels

    array = labels.array
    known = {value: name for value, name in names.items() if value > 0}
    boxes = find_objects(array, max_label=max(known, default=0))
    centres: dict[str, NDArray[np.float64]] = {}
    volumes: dict[str, float] = {}
    for value, name in known.items():
        box = boxes[value - 1]
        if box is not None:
            there = array[box] == value
            centre = np.array(center_of_mass(there)) + [axis.start for axis in box]
            centres[name] = labels.grid.world(centre)
            volumes[name] = float(sum_labels(there)) * float(np.prod(labels.grid.spacing)) / 1000
    return centres, volumes


def _too_large(millilitres: Mapping[str, float]) -> Iterator[str]:
    for name, volume in millilitres.items():
        most = ADULT_ML.get(name, np.inf) * (MOST_HOLLOW if name in HOLLOW else MOST)
        if volume > most:
            yield f"{name} of {volume:.0f} ml, expected at most {most:.0f}"


def _misplaced(centres: Mapping[str, NDArray[np.float64]]) -> Iterator[str]:
    for first, second in ABOVE:
        if first in centres and second in centres and centres[first][2] < centres[second][2] - CLEAR_MM:
            yield f"{first} lies below {second}"
    for first, second in LEFT_OF:
        if first in centres and second in centres and centres[first][0] < centres[second][0] - CLEAR_MM:
            yield f"{first} lies to the right of {second}"
    for first, second, most in NEAR_MM:
        if first in centres and second in centres:
            apart = float(np.linalg.norm(centres[first] - centres[second]))
            if apart > most:
                yield f"{first} lies {apart:.0f} mm from {second}, expected at most {most:.0f}"
