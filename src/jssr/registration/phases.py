"""Contrast phases of a study's CT scans that the headers leave in doubt, told from the pictures of all of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.volume import Volume, volume_of
from jssr.errors import JssrError
from jssr.io.dicom.phases import CHOSEN, ORDER, Named, examinations
from jssr.io.dicom.read import read_stack
from jssr.registration.model import segmenting_model
from jssr.registration.phase import FAR, NEAR, Phase, phase_of
from jssr.registration.pipeline import segment

__all__ = ["look_at_phases"]

log = logging.getLogger(__name__)
MOST = 6
"""Scans of an examination that are looked at: a perfusion has many more, and no phases."""
COARSE = (2.5, 4.0)
"""mm: pixels and slice distance of what is looked at, at most."""
_AORTA = ("arterial", "venous", "delay", "non-contrast")
"""The brightest aorta first."""
_SAME_AORTA = 5.0
"""HU between aortas that say nothing of an order."""


def look_at_phases(named: Sequence[Named]) -> dict[str, tuple[str, str]]:
    """Id of each CT series whose phase is only inferred to what its picture shows, and why.

    The scans of an examination are looked at together: no phase twice, none that a header tells of another scan, and
    the aorta is brightest in the arterial phase, then in the venous one, then late, and dark before contrast. Of what
    fits, the phases whose organs are nearest to what is expected are taken (`jssr.registration.phase`).
    """
    found: dict[str, tuple[str, str]] = {}
    scans = [n for n in named if n.phase]
    dates = examinations([n.series for n in scans])
    for date in dict.fromkeys(dates.values()):
        mine = [n for n in scans if dates[n.series.id] == date and n.series.modality == "CT"]
        doubtful = [n for n in mine if not n.sure and not n.series.enhanced]
        if 0 < len(doubtful) <= MOST:
            taken = {phase for n in mine if n.sure for phase in ORDER if n.phase.startswith(phase)}
            chosen = [n for n in mine if n.why == CHOSEN and n.phase in ORDER][:MOST]
            found |= _of_examination(doubtful, [phase for phase in ORDER if phase not in taken], chosen)
    return found


def _of_examination(
    doubtful: Sequence[Named], slots: Sequence[str], chosen: Sequence[Named]
) -> dict[str, tuple[str, str]]:
    seen, known = _seen(doubtful), _seen(chosen)
    headers = {n.series.id: n for n in doubtful}
    fixed = [(n.phase, known[n.series.id]) for n in chosen if n.series.id in known]
    named = fitting_phases(seen, slots, {key: one.phase for key, one in headers.items()}, fixed)
    return {key: (phase, _why(seen[key], phase, headers[key])) for key, phase in named.items()}


def _seen(scans: Sequence[Named]) -> dict[str, Phase]:
    """Id of each series that could be looked at to what its organs tell."""
    seen: dict[str, Phase] = {}
    for one in scans:
        try:
            phase = _look(one)
        except JssrError as error:  # the series is named without; reading it will say what is wrong
            log.info("series %s was not looked at: %s", one.key, error)
            continue
        if phase is not None:
            seen[one.series.id] = phase
    return seen


def _why(seen: Phase, phase: str, header: Named) -> str:
    """The reason, with that of the headers where they suggest a phase."""
    organs = "its organs show (" + ", ".join(f"{organ} {hu:.0f} HU" for organ, hu in seen.hu.items()) + ")"
    if not header.phase.startswith(ORDER):
        return f"as {organs}"
    if header.phase.startswith(phase):
        return f"{header.why}, and as {organs}"
    return f"as {organs}; not {header.phase}, {header.why}"


def fitting_phases(
    seen: Mapping[str, Phase],
    slots: Sequence[str],
    by_header: Mapping[str, str] | None = None,
    chosen: Sequence[tuple[str, Phase]] = (),
) -> dict[str, str]:
    """The phases of several scans of one examination that fit their organs best; a scan that fits none is left out.

    Args:
        seen: id of each scan to what its organs tell.
        slots: phases that there are to choose from, each for one scan.
        by_header: id to the phase that the headers suggest; it wins where it is nearly as likely.
        chosen: the phases that the user named, and what is seen in their scans: what contradicts them fits none.
    """
    best: tuple[float, tuple[str | None, ...]] = (float("inf"), ())
    for phases in product((*slots, None), repeat=len(seen)):
        given = [phase for phase in phases if phase is not None]
        told = [(phase, one) for one, phase in zip(seen.values(), phases, strict=True)]
        if len(set(given)) < len(given) or not _aortas_fit([*told, *chosen]):
            continue
        cost = 0.0
        for (key, one), phase in zip(seen.items(), phases, strict=True):
            cost += FAR if phase is None else one.apart[phase]
            cost -= NEAR if phase is not None and (by_header or {}).get(key, "").startswith(phase) else 0.0
        best = min(best, (cost, phases), key=lambda one: one[0])
    return {key: phase for key, phase in zip(seen, best[1], strict=True) if phase is not None}


def _aortas_fit(told: Sequence[tuple[str | None, Phase]]) -> bool:
    """Whether the aorta is the brighter the earlier after contrast a scan is said to be."""
    known = [(_AORTA.index(phase), one.hu["aorta"]) for phase, one in told if phase is not None and "aorta" in one.hu]
    return all(hu > other - _SAME_AORTA for place, hu in known for later, other in known if place < later)


def _look(one: Named) -> Phase | None:
    """What the organs of a series tell, seen coarsely."""
    scan = _coarse(one)
    model = segmenting_model(scan)
    labels, _ = segment(scan, model)
    return phase_of(scan, labels, model.label_names)


def _coarse(one: Named) -> Volume:
    """A series with every few slices left out and pixels averaged."""
    positions = [s.position for s in one.series.slices if s.position is not None]
    length = float(np.linalg.norm(positions[-1] - positions[0]))
    every = max(1, min(int(COARSE[1] * (len(positions) - 1) / max(length, 1e-3)), len(positions) // 8))
    array, grid = read_stack(one.series, f"series {one.key}", every)
    factor = max(1, int(COARSE[0] / float(grid.spacing[:2].max())))
    averaged, place = _averaged(array, grid, factor)
    return volume_of(averaged, place, "image", f"series {one.key}").known_as("header", modality="ct")


def _averaged(array: NDArray[np.float32], grid: Grid, factor: int) -> tuple[NDArray[np.float32], Grid]:
    """Means of `factor` x `factor` pixels."""
    columns, rows = (n // factor * factor for n in array.shape[:2])
    blocks = array[:columns, :rows].reshape(columns // factor, factor, rows // factor, factor, array.shape[2])
    spacing = (grid.spacing * (factor, factor, 1)).tolist()
    middle = (factor - 1) / 2
    mean = blocks.mean(axis=(1, 3), dtype=np.float32)
    return mean, Grid.of(mean.shape, spacing, grid.world((middle, middle, 0)).tolist(), grid.direction)
