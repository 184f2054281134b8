"""The tables of `benchmarks/real.py`: what was measured as one compact file, and that file as Markdown in the docs."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jssr.cohorts.store import read_settings
from jssr.metrics.results import CaseResult, value_of

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "real_results.json"
BEGIN, END = "<!-- real scans: begin -->", "<!-- real scans: end -->"

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
OURS = ("default", "discrete")
NOT_TOOLS = (*UNRANKED, *OURS, "rigid")
ORDER = (
    "initial", "rigid", "affine", "elastix", "elastix-tuned", "greedy", "greedy-mi", "syn-mi", "syn-cc", "convexadam",
    "deeds", "discrete, before", "discrete", "default",
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
    def pair(self) -> str:
        return self.case if len(self.phase) == 0 else f"{self.case} {self.phase}"


def collect(results: Path, file: Path) -> None:
    """Write what `benchmarks/real.py` measured as one JSON file, a row a line."""
    rows: list[Row] = []
    machines: set[str] = set()
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
    rows.sort(key=lambda r: (list(TITLES).index(r.set), r.split, r.case, r.phase, _place(r.method)))
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


def _place(method: str) -> int:
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
        return sorted({m for one in self.values.values() for m in one}, key=_place)

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


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *(list(one) for one in body)]
    return "\n".join("| " + " | ".join(one) + " |" for one in lines) + "\n"


def _named(method: str) -> str:
    return f"`{method}`" if method in OURS else method


def _unit(measure: str) -> str:
    kind, _, group = measure.partition("/")
    return "Dice, %" if kind == "dice" else f"TRE{f' {group}' if group else ''}, mm"


def _digits(kind: str) -> int:
    return 1 if kind == "dice" else 2


def set_markdown(one: Judged, rows: Sequence[Row]) -> str:
    """The table of a set: of each pair the value, the rank and the distance to the best; then the means."""
    digits, pairs = _digits(one.kind), list(one.values)
    ranks = {pair: one.ranks(pair) for pair in pairs}
    short = _short(pairs)
    body = []
    for method in one.methods:
        cells = []
        for pair in pairs:
            value = one.values[pair].get(method)
            if value is None:
                cells.append("")
            elif math.isnan(value):
                cells.append("fails")
            elif method not in ranks[pair]:
                cells.append(f"{value:.{digits}f}")
            else:
                rank, gap = ranks[pair][method]
                cells.append(
                    f"**{value:.{digits}f}**" if rank == 1 else f"{value:.{digits}f} ({rank}, {gap:.{digits}f})"
                )
        mean, n = one.mean(method)
        told = "" if not n else f"{mean:.{digits}f}" + (f" of {n}" if n < len(pairs) else "")
        folds = [r.values["folds"] for r in rows if _is(r, one.set, method) and "folds" in r.values]
        cells += [told, f"{sum(folds) / len(folds):.3f}" if folds else ""]
        body.append([_named(method), *cells])
    return f"**{TITLES[one.set]}** (`{one.set}`), {_unit(one.measure)}\n\n" + _table(
        [_unit(one.measure), *short, "mean", "folds, %"], body
    )


def _is(row: Row, name: str, method: str) -> bool:
    return row.set == name and row.method == method and row.split == "test"


def _short(pairs: Sequence[str]) -> list[str]:
    """Names of pairs without the phase where all have the same."""
    phases = {pair.rpartition(" ")[2] for pair in pairs}
    return [pair.rpartition(" ")[0] if len(phases) == 1 else pair for pair in pairs]


def groups_markdown(name: str, rows: Sequence[Row]) -> str:
    """Landmark errors of a set by group, and the median of all; empty where there are no groups."""
    mine = [r for r in rows if r.set == name and r.split == "test" and not r.failed]
    groups = list(dict.fromkeys(k for r in mine for k in r.values if k.startswith("tre/")))
    if not groups:
        return ""
    body = []
    for method in sorted({r.method for r in mine}, key=_place):
        values = [r.values for r in mine if r.method == method]
        cells = [_mean([v[k] for v in values if k in v]) for k in (*groups, "tre_median")]
        body.append([_named(method), *cells])
    head = ["mean of pairs, mm", *(k.partition("/")[2] for k in groups), "median of all"]
    return f"**{TITLES[name]}**, by group of landmarks\n\n" + _table(head, body)


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else ""


def overall_markdown(found: Sequence[Judged], methods: Sequence[str] | None = None) -> str:
    """Means of every set, the best of the tools bold, and on how many of its pairs each of ours is as good as it."""
    known = sorted({m for one in found for m in one.methods}, key=_place)
    shown = [m for m in known if methods is None or m in methods]
    ours = [m for m in OURS if m in shown]
    body = []
    for one in found:
        digits = _digits(one.kind)
        means = {m: one.mean(m) for m in shown}
        whole = [v for m, (v, n) in means.items() if n == len(one.values) and m not in UNRANKED]
        best = (max if one.kind == "dice" else min)(whole, default=math.nan)
        cells = []
        for mean, n in means.values():
            text = "" if not n else f"{mean:.{digits}f}" + (f" of {n}" if n < len(one.values) else "")
            cells.append(f"**{text}**" if n == len(one.values) and mean == best else text)
        cells += [_share(_near([one], m)) for m in ours]
        body.append([TITLES[one.set], _unit(one.measure), str(len(one.values)), *cells])
    near = [f"`{m}` as good as the best tool" for m in ours]
    return _table(["set", "mean of", "pairs", *map(_named, shown), *near], body)


def _near(found: Sequence[Judged], method: str) -> tuple[int, int]:
    gaps = [(one.behind(pair, method), NEAR[one.kind]) for one in found for pair in one.values]
    known = [(gap, near) for gap, near in gaps if not math.isnan(gap)]
    return sum(gap <= near + 1e-9 for gap, near in known), len(known)


def _share(counts: tuple[int, int]) -> str:
    return "" if not counts[1] else f"{counts[0]} of {counts[1]}"


def methods_markdown(found: Sequence[Judged]) -> str:
    """Of each method on how many judged pairs it is as good as the best tool beside it, and how it goes wrong."""
    body = []
    for method in sorted({m for one in found for m in one.methods}, key=_place):
        if method == "initial":
            continue
        near, of = _near(found, method)
        worse = [(one.worse(p, method), WORSE[one.kind]) for one in found for p in one.values]
        known = [(by, most) for by, most in worse if not math.isnan(by)]
        fails = sum(math.isnan(v[method]) for one in found for v in one.values.values() if method in v)
        means = [f"{100 * near / of:.0f} %" if of else "", f"{near} of {of}"]
        body.append([_named(method), *means, f"{sum(by > most for by, most in known)} of {len(known)}", str(fails)])
    head = ["method", "as good as the best tool beside it", "pairs", "worse than before", "failed"]
    return _table(head, body)


def verdicts_markdown(rows: Sequence[Row]) -> str:
    """Of the pairs of each verdict how many landmark errors are small or large; empty where no verdict was given."""
    body = []
    for split in ("test", "validation"):
        told = [r for r in rows if r.split == split and "verdict" in r.values and "tre" in r.values]
        for method in sorted({r.method for r in told}, key=_place):
            for index, word in enumerate(("PASS", "CHECK", "FAIL")):
                mine = [r.values["tre"] for r in told if r.method == method and r.values["verdict"] == index]
                cells = [str(len(mine)), str(sum(v < 3 for v in mine)), str(sum(v >= 5 for v in mine))]
                body.append([_named(method), "judged" if split == "test" else "tuned on", word, *cells])
    return "" if not body else _table(["method", "pairs", "verdict", "number", "below 3 mm", "5 mm or more"], body)


def markdown(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """Everything that stands between the markers of docs/benchmarks.md."""
    found = judged(rows)
    dates = sorted({r.date for r in rows if r.date})
    when = dates[0] if len(set(dates)) == 1 else f"{dates[0]} to {dates[-1]}"
    parts = [
        f"{sum(len(one.values) for one in found)} judged values of {len({(r.set, r.pair) for r in rows if r.split == 'test'})} "
        f"pairs. Machine: {', '.join(about['machines'])}, one thread. {when}. Collected at commit {about['commit']}.\n",
        "**All sets.** Bold: the best of those that did every pair.\n\n" + overall_markdown(found),
        "**All methods.** As good: best, or within 0.1 mm or 0.5 points of Dice. Worse than before: by more than 0.3 mm "
        "or 0.5 points.\n\n" + methods_markdown(found),
    ]
    verdicts = verdicts_markdown(rows)
    if verdicts:
        parts.append("**Verdicts** where landmarks are known.\n\n" + verdicts)
    parts.append("Each set. In brackets: the rank, and the distance to the best. Bold: the best.\n")
    for name in TITLES:
        parts += [set_markdown(one, rows) for one in found if one.set == name]
        parts += [text for text in (groups_markdown(name, rows),) if text]
    return "\n".join(parts)


FRONT = ("initial", "elastix-tuned", "greedy", "syn-mi", "convexadam", "discrete, before", "discrete", "default")
"""Columns of the table on the docs' front page."""


def front_markdown(rows: Sequence[Row]) -> str:
    """The short table of docs/index.md."""
    return overall_markdown(judged(rows), FRONT)


def between(text: str, made: str) -> str:
    """A page with what stands between its markers replaced."""
    first, _, rest = text.partition(BEGIN)
    _, end, last = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{first}{BEGIN}\n\n{made}\n{END}{last}"


def pages(file: Path = RESULTS) -> dict[Path, str]:
    """The pages of the docs that hold such tables, with those of `file`."""
    rows, about = read(file)
    made = {"benchmarks.md": markdown(rows, about), "index.md": front_markdown(rows)}
    return {
        ROOT / "docs" / name: between((ROOT / "docs" / name).read_text(encoding="utf-8"), text)
        for name, text in made.items()
    }


def write_docs(file: Path = RESULTS) -> None:
    """Write the tables into the docs."""
    for page, text in pages(file).items():
        page.write_text(text, encoding="utf-8")
