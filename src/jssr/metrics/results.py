"""The numbers of one pair under one method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CaseResult:
    """What was measured of one moving scan aligned by one method.

    `values` are as `evaluate_pair` gives them: "dice/liver", "hd95/liver" (a structure follows the slash) and "tre",
    "folds" of the pair. `seconds` and `peak_mb` (MiB) are nan where they were not measured.
    """

    case: str
    phase: str
    method: str
    values: Mapping[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    peak_mb: float = math.nan


def split_key(key: str) -> tuple[str, str]:
    """Take "dice/liver" apart into metric and structure; the structure of a metric of the pair is empty."""
    metric, _, structure = key.partition("/")
    return metric, structure


def spoken(structure: str) -> str:
    """What a structure is called in words and tables: "label 16" where it has no name but its value."""
    return f"label {structure}" if structure.isdigit() else structure


def value_of(result: CaseResult, metric: str, structure: str = "") -> float:
    """Look up one number; nan where it was not measured.

    The structure "mean" is the mean over all structures of the case, without those that are empty in both scans. A
    missed one makes a mean distance infinite: without it the method would look better than it is.
    """
    if metric in ("seconds", "peak_mb"):
        return float(getattr(result, metric))
    if structure != "mean":
        return float(result.values.get(f"{metric}/{structure}" if structure else metric, math.nan))
    values = [v for key, v in result.values.items() if split_key(key)[0] == metric and not math.isnan(v)]
    return sum(values) / len(values) if values else math.nan
