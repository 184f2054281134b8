"""`index.html` of a cohort: every scan of every patient in one table that sorts, what stands out first, offline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jssr.report.html import laid_out, render

GOOD = ("PASS", "CHECK", "FAIL", "failed")


class Column(NamedTuple):
    """A column of numbers: its key, title, unit, and how its numbers are written."""

    key: str
    title: str
    unit: str
    form: str


COLUMNS = (
    Column("expected_mm", "expected error", "mm", ".1f"),
    Column("expected_p95_mm", "95 % below", "mm", ".1f"),
    Column("dice_before", "Dice before", "", ".3f"),
    Column("dice_rigid", "rigid", "", ".3f"),
    Column("dice_after", "after", "", ".3f"),
    Column("tre_before_mm", "TRE before", "mm", ".2f"),
    Column("tre_rigid_mm", "rigid", "mm", ".2f"),
    Column("tre_after_mm", "after", "mm", ".2f"),
    Column("folds_percent", "folds", "%", ".3g"),
    Column("covered_percent", "covered", "%", ".0f"),
    Column("moved_mm", "moved", "mm", ".1f"),
    Column("seconds", "time", "s", ".1f"),
    Column("peak_memory_mib", "memory", "MiB", ".0f"),
)
OUTLIER_TITLES = {**{one.key: one.title for one in COLUMNS}, "log_jacobian_sd": "uneven volume change",
                  "dice_after": "Dice after", "tre_after_mm": "TRE after"}  # fmt: skip


def write_index(path: Path, rows: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any]) -> None:
    """Write the page, atomically.

    Args:
        path: in the folder of the results: links are relative to it.
        rows: as `jssr.cohorts.overview.rows_of` gives them, in the order in which they are shown.
        provenance: what was asked.
    """
    columns = [one for one in COLUMNS if any(row.get(one.key) is not None for row in rows)]
    found = Counter(row["verdict"] for row in rows if row.get("verdict"))
    render(
        path,
        "cohort.html.j2",
        title=f"{provenance.get('cohort', path.parent.name)}: {provenance.get('task', 'results')}",
        patients=len({row["patient"] for row in rows}),
        verdicts=[(name, found[name]) for name in GOOD if found[name]],
        outliers=sum(1 for row in rows if row.get("outlier")),
        columns=columns,
        judged=any(row.get("verdict") for row in rows),
        pictures=any(row.get("thumbnail") for row in rows),
        rows=[_row(row, columns) for row in rows],
        provenance=laid_out(provenance),
    )


def odd(row: Mapping[str, Any]) -> str:
    """In words, by what a row stands out from the cohort; nothing of one that does not."""
    column = row.get("outlier")
    if not column:
        return ""
    form, unit = next(((one.form, one.unit) for one in COLUMNS if one.key == column), (".2g", ""))
    told = f"{OUTLIER_TITLES.get(column, column)} {row[column]:{form}} {unit}".rstrip()
    return f"{told}, median of the cohort {row['cohort_median']:{form}} ({row['outlier_z']:.1f} deviations)."


def _row(row: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    """What the page shows of a row: texts, and numbers to sort by."""
    cells = []
    for one in columns:
        value = row.get(one.key)
        text = "" if value is None else format(value, one.form)
        cells.append((text, "" if value is None else f"{value:.6g}", one.key == row.get("outlier")))
    reasons = "" if row.get("verdict") == "PASS" else row.get("reasons", "")
    return {
        "patient": row["patient"],
        "scan": row.get("scan", ""),
        "verdict": row.get("verdict") or "",
        "why": " ".join(filter(None, (reasons, odd(row)))),
        "warnings": row.get("warnings") or [],
        "cells": cells,
        "outlier": row.get("outlier_z") or 0,
        "link": quote(row.get("report") or row.get("file") or ""),
        "thumbnail": quote(row.get("thumbnail") or ""),
    }
