"""The tables of `benchmarks/real.py` as Markdown, and the pages of the docs that hold them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from real_results import NEAR, OURS, RESULTS, ROOT, TITLES, UNRANKED, WORSE, Judged, Row, judged, place, read

BEGIN, END = "<!-- real scans: begin -->", "<!-- real scans: end -->"


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
    for method in sorted({r.method for r in mine}, key=place):
        values = [r.values for r in mine if r.method == method]
        cells = [_mean([v[k] for v in values if k in v]) for k in (*groups, "tre_median")]
        body.append([_named(method), *cells])
    head = ["mean of pairs, mm", *(k.partition("/")[2] for k in groups), "median of all"]
    return f"**{TITLES[name]}**, by group of landmarks\n\n" + _table(head, body)


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else ""


def overall_markdown(found: Sequence[Judged], methods: Sequence[str] | None = None) -> str:
    """Means of every set, the best of the tools bold, and on how many of its pairs each of ours is as good as it."""
    known = sorted({m for one in found for m in one.methods}, key=place)
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
    for method in sorted({m for one in found for m in one.methods}, key=place):
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


def losses_markdown(found: Sequence[Judged]) -> str:
    """The judged pairs on which ours is behind the best tool, or worse than before; empty where ours was not run."""
    lines = []
    for method in OURS:
        if not any(method in one.methods for one in found):
            continue
        behind, worse = [], []
        for one in found:
            unit = "points" if one.kind == "dice" else "mm"
            for pair in one.values:
                name = f"{one.set} {pair}{one.measure.removeprefix(one.kind).replace('/', ' ')}"
                gap, loss = one.behind(pair, method), one.worse(pair, method)
                if gap > NEAR[one.kind] + 1e-9:
                    behind.append(f"{name} ({gap:.{_digits(one.kind)}f} {unit})")
                if loss > WORSE[one.kind] + 1e-9:
                    worse.append(f"{name} ({loss:.{_digits(one.kind)}f} {unit})")
        lines.append(f"- `{method}` behind the best tool: {'; '.join(behind) or 'on no pair'}.")
        lines.append(f"- `{method}` worse than before: {'; '.join(worse) or 'on no pair'}.")
    return "\n".join(lines) + "\n" if lines else ""


def verdicts_markdown(rows: Sequence[Row]) -> str:
    """Of the pairs of each verdict how many landmark errors are small or large; empty where no verdict was given."""
    body = []
    for split in ("test", "validation"):
        told = [r for r in rows if r.split == split and "verdict" in r.values and "tre" in r.values]
        for method in sorted({r.method for r in told}, key=place):
            for index, word in enumerate(("PASS", "CHECK", "FAIL")):
                mine = [r.values["tre"] for r in told if r.method == method and r.values["verdict"] == index]
                cells = [str(len(mine)), str(sum(v < 3 for v in mine)), str(sum(v >= 5 for v in mine))]
                body.append([_named(method), "judged" if split == "test" else "tuned on", word, *cells])
    return "" if not body else _table(["method", "pairs", "verdict", "number", "below 3 mm", "5 mm or more"], body)


def markdown(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """Everything that stands between the markers of docs/benchmarks.md."""
    found = judged(rows)
    values = sum(len(one.values) for one in found)
    pairs = {(r.set, r.pair) for r in rows if r.split == "test"}
    dates = sorted({r.date for r in rows if r.date})
    when = dates[0] if len(set(dates)) == 1 else f"{dates[0]} to {dates[-1]}"
    parts = [
        f"{values} judged values of {len(pairs)} pairs. Machine: {', '.join(about['machines'])}, one thread. "
        f"{when}. Collected at commit {about['commit']}.\n",
        "**All sets.** Bold: the best of those that did every pair.\n\n" + overall_markdown(found),
        "**All methods.** As good: best, or within 0.1 mm or 0.5 points of Dice. Worse than before: by more than "
        "0.3 mm or 0.5 points.\n\n" + methods_markdown(found),
    ]
    parts += [text for text in (losses_markdown(found),) if text]
    verdicts = verdicts_markdown(rows)
    if verdicts:
        parts.append("**Verdicts** where landmarks are known.\n\n" + verdicts)
    parts.append("Each set. In brackets: the rank, and the distance to the best. Bold: the best.\n")
    for name in TITLES:
        parts += [set_markdown(one, rows) for one in found if one.set == name]
        parts += [text for text in (groups_markdown(name, rows),) if text]
    return "\n".join(parts)


FRONT = ("initial", "elastix-tuned", "greedy", "syn-mi", "convexadam", "discrete, before", "discrete")
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
