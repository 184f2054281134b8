"""One entry for each metric: what it is called, its unit, which way is better, and the function that computes it.

Tables, reports, terminal output, CSV files and docs/reference/metrics.md are made from these entries. To add a metric,
add its entry to the table (docs/how-to/add-a-metric.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from jssr.core.transform import Displacement, Transform
from jssr.core.volume import Points
from jssr.losses.similarity import sample_information, ssim_inside
from jssr.metrics import masks
from jssr.metrics.masks import Mask, centre_distance, surface_distances
from jssr.metrics.transforms import Regularity, regularity, tre

Needs = Literal["labels", "landmarks", "images", "field", "cost"]
"""What it is computed from: its function gets a `Structure`, `Landmarks`, `Images` (only in a benchmark with
`similarity`) or `Field`. A cost has none."""


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure: its masks in the fixed and the moved scan, or as known (fixed) and as segmented (moved)."""

    fixed: Mask
    moved: Mask
    spacing: tuple[float, ...]

    @cached_property
    def distances(self) -> tuple[float, float]:
        """HD95 and ASD, computed once."""
        return surface_distances(self.fixed, self.moved, self.spacing)


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Landmarks of both scans, LPS mm, matched by name, and the transform from fixed to moving space."""

    fixed: Points
    moving: Points
    transform: Transform | None


@dataclass(frozen=True, eq=False)
class Images:
    """The fixed and the moved scan, normalised to -1..1, and where both have data: (1, 1, *spatial)."""

    fixed: Tensor
    moved: Tensor
    inside: Tensor


@dataclass(frozen=True, eq=False)
class Field:
    """A displacement field on the fixed grid."""

    displacement: Displacement

    @cached_property
    def regularity(self) -> Regularity:
        """Folds and the spread of the log Jacobian, computed once."""
        return regularity(self.displacement)


@dataclass(frozen=True)
class Metric:
    """What is known of a metric.

    Attributes:
        key: in CSV files and in Python; no slash.
        name, unit: as tables print them; the unit is empty for none.
        needs: what the function is given, one of `Needs`.
        meaning: one sentence, printed in reports.
        function: of the data to a number in the stored unit, nan where there is nothing to measure.
        factor: from the stored to the printed unit (100 for a share printed in per cent).
        decimals: as printed.
        higher_is_better: decides arrows, bold print and what counts as worse.
        optional: of a structure, and printed only where that structure was asked for.
        segmentor: what the metric means of a segmentation beside the known label map; empty where it is not used so.
        pair: whether it is computed of pairs (else of segmentations alone).
    """

    key: str
    name: str
    unit: str
    needs: Needs
    meaning: str = ""
    function: Callable[[Any], float] | None = None
    factor: float = 1.0
    decimals: int = 2
    higher_is_better: bool = False
    optional: bool = False
    segmentor: str = ""
    pair: bool = True

    @property
    def title(self) -> str:
        """Name and unit: "HD95 (mm)"."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def text(self, value: float, sign: str = "") -> str:
        """A number in the printed unit; `sign` as in format strings."""
        return f"{value * self.factor:{sign}.{self.decimals}f}"

    def better(self, value: float, than: float) -> bool:
        """Whether one number is better than another, as printed. NaN is not better, and nothing is better than NaN."""
        if math.isnan(value) or math.isnan(than):
            return False
        ours, theirs = (round(v * self.factor, self.decimals) if math.isfinite(v) else v for v in (value, than))
        return ours > theirs if self.higher_is_better else ours < theirs


def _percent(key: str, name: str, function: Callable[[Any], float], **more: Any) -> Metric:
    """A share, stored as 0..1 and printed in per cent."""
    return Metric(key, name, "%", "labels", function=function, factor=100.0, **more)


_ENTRIES = (
    _percent(
        "dice", "Dice", lambda s: masks.dice(s.fixed, s.moved), higher_is_better=True,
        meaning="Overlap of the organ in the two scans, 100 % where they agree entirely.",
        segmentor="Overlap of the segmentation with the known label map of the same scan.",
    ),
    Metric(
        "hd95", "HD95", "mm", "labels", "95 % of either organ surface lies nearer to the other than this.",
        lambda s: s.distances[0], segmentor="95 % of either surface, segmented and known, lies nearer to the other.",
    ),
    Metric(
        "asd", "ASD", "mm", "labels", "Mean distance between the two organ surfaces.", lambda s: s.distances[1],
    ),
    Metric(
        "centre", "Centres apart", "mm", "labels", "Distance between the organ's centres of gravity.",
        lambda s: centre_distance(s.fixed, s.moved, s.spacing), optional=True,
    ),
    _percent(
        "recall", "Recall", lambda s: masks.recall(s.fixed, s.moved), higher_is_better=True, pair=False,
        segmentor="Share of the known organ that is found.",
    ),
    _percent(
        "precision", "Precision", lambda s: masks.precision(s.fixed, s.moved), higher_is_better=True, pair=False,
        segmentor="Share of the segmentation that is the organ.",
    ),
    _percent(
        "rvd", "RVD", lambda s: masks.volume_difference(s.fixed, s.moved), pair=False,
        segmentor="How far the segmented volume is from the known one, larger or smaller: |segmented / known - 1|.",
    ),
    _percent(
        "voe", "VOE", lambda s: masks.volume_overlap_error(s.fixed, s.moved), pair=False,
        segmentor="Share of what either of the two holds that the other does not: 1 - intersection / union.",
    ),
    Metric(
        "tre", "TRE", "mm", "landmarks", "Mean distance between corresponding landmarks.",
        lambda p: float(tre(p.fixed, p.moving, p.transform).mean()),
    ),
    Metric(
        "mi", "MI", "nats", "images", "Mutual information of the fixed and the moved scan.",
        lambda i: sample_information(i.fixed[i.inside].double(), i.moved[i.inside].double(), bins=64),
        decimals=3, higher_is_better=True,
    ),
    Metric(
        "ssim", "SSIM", "%", "images", "Structural similarity of the fixed and the moved scan.",
        lambda i: ssim_inside(i.fixed, i.moved, i.inside), factor=100.0, higher_is_better=True,
    ),
    Metric(
        "folds", "Folds", "%", "field",
        "Share of the field where tissue would be turned inside out. Should be near 0.",
        lambda f: f.regularity.folds, decimals=3,
    ),
    Metric(
        "log_jacobian_sd", "sd log Jacobian", "", "field",
        "How unevenly sizes change. Breathing leaves it below about 0.3 in 3D.",
        lambda f: f.regularity.log_jacobian_sd, decimals=3,
    ),
    Metric(
        "seconds", "Time", "s", "cost",
        "Time from reading the scans to the result, without writing it and its report.",
    ),
    Metric(
        "peak_mb", "Peak memory", "MiB", "cost", "Most memory in use at a time, before the result was written.",
        decimals=0,
    ),
)  # fmt: skip

METRICS: dict[str, Metric] = {one.key: one for one in _ENTRIES}
"""Every metric by its key, in the order of tables."""


def entry(key: str) -> Metric:
    """The entry of a metric; a plain one for a key that has none, as a CSV file of another version may hold."""
    return METRICS.get(key) or Metric(key, key, "", "labels")


def metrics_markdown() -> str:
    """The table of docs/reference/metrics.md."""
    needs = {"labels": "label maps", "landmarks": "landmarks", "images": "scans", "field": "field", "cost": "a run"}
    lines = ["| metric | key | better | computed from | meaning |", "| --- | --- | --- | --- | --- |"]
    for one in METRICS.values():
        better = "higher" if one.higher_is_better else "lower"
        meaning = " ".join(filter(None, (one.meaning, one.segmentor and f"Of a segmentor: {one.segmentor}")))
        source = needs[one.needs] if one.pair else "a segmentation and its label map"
        lines.append(f"| {one.title} | `{one.key}` | {better} | {source} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"
