"""The phases of phantom scans, and whether scans that are asked for can be made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

__all__ = [
    "CT_PHASES",
    "MR_PHASES",
    "REFERENCE_PHASE",
    "Population",
    "check_phases",
    "check_scans",
    "default_phases",
]

Population = Literal["target", "supervised"]
CT_PHASES = ("non-contrast", "arterial", "venous", "delay")
MR_PHASES = ("t1", "t2")
REFERENCE_PHASE = "venous"


def default_phases(population: str, phases: Sequence[str] | None) -> tuple[str, ...]:
    """The phases asked for, or those of the population.

    Raises:
        ValueError: another population.
    """
    if population not in ("target", "supervised"):
        raise ValueError(f'population must be "target" or "supervised", got {population!r}')
    return tuple(phases or (CT_PHASES if population == "target" else (REFERENCE_PHASE,)))


def check_scans(phases: Sequence[str], known: Sequence[str], shape: Sequence[int], paired: bool) -> None:
    """Make sure that scans can be made.

    Raises:
        ValueError: an unknown phase, a phase twice, pairs of other than two phases, fewer than two voxels along an
            axis.
    """
    if len(shape) != 3 or min(shape) < 2:
        raise ValueError(f"a scan needs three axes of at least two voxels, got shape {tuple(shape)}")
    check_phases(phases, known)
    if paired and len(phases) != 2:
        raise ValueError(f"pairs are made of two phases, got {', '.join(phases)}; name two, for example venous,t1")


def check_phases(phases: Sequence[str], known: Sequence[str]) -> None:
    """Make sure that phases are known and different.

    Raises:
        ValueError: they are not.
    """
    if set(phases) - set(known) or len(set(phases)) != len(phases):
        raise ValueError(f"phases must be different ones of {', '.join(known)}, got {', '.join(phases)}")
