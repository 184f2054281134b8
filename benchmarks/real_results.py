"""What `benchmarks/real.py` measured: one compact file of all pairs, and who is the best on each."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jssr.cohorts.store import read_settings
from jssr.metrics.results import CaseResult, value_of

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "real_results.json"

TITLES = {
    "hcc": "Liver CT, arterial to venous",
    "eth_liver": "Liver MR, breathing",
    "totalseg_map": "Abdominal CT, known smooth map",
    "recoloured": "Abdominal CT, made contrast and motion",
    "sts_ctmr": "Legs, MR to CT, known map",
    "mni": "Head, T2 to T1, known map",
    "acdc": "Hearts, systole to diastole",
    "prostate": "Prostate, MR to ultrasound",
    "hippocampus": "Hippocampi of two people",
    "brain": "Brains of two people",
    "cxr_jsrt": "Radiographs of two people",
    "cxr_gbc": "Radiographs of two visits",
}
MEASURES: dict[str, tuple[str, ...]] = {
    "hcc": ("tre",),
    "eth_liver": ("tre/liver", "tre/outside"),
    "totalseg_map": ("tre",),
    "recoloured": ("tre", "dice"),
    "sts_ctmr": ("tre",),
    "mni": ("tre",),
    "acdc": ("dice",),
    "prostate": ("tre", "dice"),
    "hippocampus": ("dice",),
    "brain": ("dice",),
    "cxr_jsrt": ("dice",),
    "cxr_gbc": ("dice",),
}
"""What each set is judged by; a pair of two measures is judged twice."""
UNRANKED = ("initial", "discrete, before")
OURS = ("discrete",)
NOT_TOOLS = (*UNRANKED, *OURS, "rigid")
ORDER = (
    "initial", "rigid", "affine", "elastix", "elastix-tuned", "greedy", "greedy-mi", "syn-mi", "syn-cc", "convexadam",
    "deeds", "discrete, before", "network", "discrete",
)  # fmt: skip
NEAR = {"tre": 0.1, "dice": 0.5}
"""As good as the best: mm, points of Dice."""
WORSE = {"tre": 0.3, "dice": 0.5}
"""Worse than before."""


@dataclass(frozen=True)
class Row:
    """One pair under one method; `values` are mm and, of Dice, points. `failed` is the reason where it failed."""

    set: str
    split: str
    case: str
    phase: str
    method: str
    values: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    date: str = ""
    failed: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What a row is of."""
        return self.set, self.split, self.case, self.phase, self.method

    @property
    def pair(self) -> str:
        return self.case if len(self.phase) == 0 else f"{self.case} {self.phase}"


def collect(results: Path, file: Path) -> None:
    """Write what `benchmarks/real.py` measured as one JSON file, a row a line.

    Rows of the file that were not measured anew stay as they are: peers take hours, and another machine may have done
    them. Each row has its date.
    """
    rows: list[Row] = []
    kept, about = read(file) if file.is_file() else ([], {})
    machines: set[str] = set(about.get("machines", ()))
    for name in TITLES:
        for split in ("test", "validation"):
            for store in sorted((results / name / split / "cases").glob("*/*.json")):
                record = read_settings(store)
                result = record.get("result") or {"rows": []}
                made = result.get("measured") or {}
                machines |= {made["processor"]} if made else set()
                method = str((record.get("key") or {}).get("row", store.parent.name))
                rows += [_row(name, split, CaseResult(**one), made.get("date", "")) for one in result["rows"]]
                rows += [
                    Row(name, split, store.stem, phase, method, failed=why)
                    for phase, why in (record.get("failed") or {}).items()
                ]
    done = {row.key for row in rows}
    rows += [row for row in kept if row.key not in done]
    rows.sort(key=lambda r: (list(TITLES).index(r.set), r.split, r.case, r.phase, place(r.method)))
    commit = subprocess.run(["git", "log", "-1", "--format=%h"], cwd=ROOT, capture_output=True, text=True)
    about = {"machines": sorted(machines), "commit": commit.stdout.strip()}
    lines = ",\n".join(json.dumps({k: v for k, v in asdict(r).items() if v not in ("", None, {})}) for r in rows)
    file.write_text(f'{{"about": {json.dumps(about)}, "rows": [\n{lines}\n]}}\n', encoding="utf-8")


def _row(name: str, split: str, found: CaseResult, date: str) -> Row:
    kept = {k: v for k, v in found.values.items() if k.startswith("tre") or k in ("verdict", "expected_mm", "folds")}
    dice = value_of(found, "dice", "mean")
    values = kept if math.isnan(dice) else {"dice": 100.0 * dice, **kept}
    numbers = {k: round(v, 3) for k, v in values.items() if math.isfinite(v)}
    seconds = round(found.seconds, 1) if math.isfinite(found.seconds) else None
    return Row(name, split, found.case, found.phase, found.method, numbers, seconds, date)


def read(file: Path) -> tuple[list[Row], dict[str, Any]]:
    """The rows of a file that `collect` wrote, and what it says about itself."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return [Row(**one) for one in content["rows"]], content["about"]


def place(method: str) -> int:
    return ORDER.index(method) if method in ORDER else len(ORDER)


@dataclass(frozen=True)
class Judged:
    """The judged pairs of a set by one measure: pair to method to value; nan where the method failed."""

    set: str
    measure: str
    values: Mapping[str, Mapping[str, float]]

    @property
    def kind(self) -> str:
        return self.measure.partition("/")[0]

    @property
    def methods(self) -> list[str]:
        return sorted({m for one in self.values.values() for m in one}, key=place)

    def ranks(self, pair: str) -> dict[str, tuple[int, float]]:
        """Of each ranked method its rank (1 is the best; equal values share one) and its distance to the best."""
        ranked = {m: v for m, v in self.values[pair].items() if m not in UNRANKED and not math.isnan(v)}
        sign = -1 if self.kind == "dice" else 1
        best = min((sign * v for v in ranked.values()), default=math.nan)
        return {
            m: (1 + sum(sign * other < sign * v for other in ranked.values()), sign * v - best)
            for m, v in ranked.items()
        }

    def behind(self, pair: str, method: str) -> float:
        """How far a method is behind the best tool of others on a pair; below 0 where it is ahead, infinite where it
        failed, nan where it was not run or there is nothing to compare with."""
        found = self.values[pair]
        tools = [v for m, v in found.items() if m not in (*NOT_TOOLS, method) and not math.isnan(v)]
        if method not in found or not tools:
            return math.nan
        if math.isnan(found[method]):
            return math.inf
        return max(tools) - found[method] if self.kind == "dice" else found[method] - min(tools)

    def worse(self, pair: str, method: str) -> float:
        """How much worse than before any alignment."""
        found = self.values[pair]
        if method not in found or "initial" not in found or math.isnan(found[method]):
            return math.nan
        sign = -1 if self.kind == "dice" else 1
        return sign * (found[method] - found["initial"])

    def mean(self, method: str) -> tuple[float, int]:
        """Mean over the pairs that the method did, and how many these are."""
        done = [one[method] for one in self.values.values() if not math.isnan(one.get(method, math.nan))]
        return (sum(done) / len(done) if done else math.nan), len(done)


def judged(rows: Iterable[Row], split: str = "test") -> list[Judged]:
    """Every set by each of its measures."""
    rows = [r for r in rows if r.split == split]
    found = []
    for name, measures in MEASURES.items():
        for measure in measures:
            values: dict[str, dict[str, float]] = {}
            for row in rows:
                if row.set == name:
                    value = math.nan if row.failed else row.values.get(measure, math.nan)
                    values.setdefault(row.pair, {})[row.method] = value
            if values:
                found.append(Judged(name, measure, values))
    return found
