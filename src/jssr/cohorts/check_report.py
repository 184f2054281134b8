"""What `jssr check` found, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One problem: an error keeps the case from being used, a warning is worth a look."""

    level: Level
    case: str
    what: str


@dataclass(frozen=True)
class ScanFacts:
    """What was read of one scan. `overlap` is the part of the reference phase's field of view that it covers, 0..1."""

    case: str
    phase: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    axes: str
    modality: str
    low: float
    high: float
    overlap: float
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """What training on the cohort will need, at a working grid of `spacing` mm, before the crop to the body.

    `prepare_minutes` is for two cores, at 5 s a scan and core (128 x 128 x 64, rigid alignment, 18 labels); `cache_gb`
    is the prepared scans in memory; `voxels` is the largest scan's.
    """

    spacing: tuple[float, ...]
    voxels: int
    cache_gb: float
    prepare_minutes: float


@dataclass
class CheckReport:
    """The outcome. `ok` is False where an error was found; `to_dict()` is all, `rows()` and `remarks()` are printed."""

    cohort: str
    cases: int
    phases: dict[str, int]
    scans: list[ScanFacts] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    estimate: Estimate | None = None

    @property
    def errors(self) -> list[Finding]:
        return [f for f in self.findings if f.level == "error"]

    @property
    def warnings(self) -> list[Finding]:
        return [f for f in self.findings if f.level == "warning"]

    @property
    def ok(self) -> bool:
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"ok": self.ok, **asdict(self)}

    def rows(self) -> list[dict[str, str]]:
        """A row for each phase, in words: the table that `jssr check` prints."""
        scans = {phase: [s for s in self.scans if s.phase == phase] for phase in self.phases}
        return [{"phase": phase, "scans": str(len(mine)), **_row(mine)} for phase, mine in scans.items() if mine]

    def remarks(self) -> list[tuple[Level | Literal[""], str]]:
        """What is printed below the table, each with its level: the estimate, every finding, their number."""
        found: list[tuple[Level | Literal[""], str]] = []
        if self.estimate:
            e = self.estimate
            at = " x ".join(f"{s:g}" for s in e.spacing)
            sizes = f"{e.voxels / 1e6:.1f} M voxels in the largest scan, {e.cache_gb:.2f} GiB of prepared scans"
            found.append(("", f"at {at} mm: {sizes}, about {e.prepare_minutes:.1f} min to prepare on two cores"))
        found += [(f.level, f"{f.level} {f.case}: {f.what}") for f in (*self.errors, *self.warnings)]
        return [*found, ("", f"{len(self.errors)} errors, {len(self.warnings)} warnings")]


def _row(scans: list[ScanFacts]) -> dict[str, str]:
    shape = np.median([s.shape for s in scans], axis=0).astype(int)
    spacing = np.median([s.spacing for s in scans], axis=0)
    kinds = "/".join(sorted({s.modality.upper() for s in scans}))
    low, high = min(s.low for s in scans), max(s.high for s in scans)
    covers = [100 * s.overlap for s in scans]
    return {
        "voxels (median)": " x ".join(map(str, shape)),
        "spacing (mm)": " x ".join(f"{s:.3g}" for s in spacing),
        "intensities": f"{kinds} {low:g} to {high:g}",
        "overlap with reference": f"{np.mean(covers):.0f} % (least {min(covers):.0f} %)",
    }
