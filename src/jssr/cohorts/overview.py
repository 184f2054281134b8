"""The table of a cohort's results, what stands out first: rows of all patients, outliers within the cohort, files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from jssr.cohorts.manifest import Results
from jssr.errors import MissingExtraError, requires
from jssr.io.files import atomic_path
from jssr.io.patients import Patient

OUTLIER = 3.5
"""Of a modified z-score, from which a value counts as an outlier (Iglewicz and Hoaglin 1993, How to Detect and Handle
Outliers)."""
MAD_SCALE, MEAN_SCALE = 0.6745, 0.7979
"""MAD and mean absolute deviation of normal values, in standard deviations (0.6745; sqrt(2 / pi))."""
FEWEST = 5
"""Values that a spread is judged by."""
JUDGED = {
    "expected_mm": (1, 0.5), "folds_percent": (1, 0.05), "log_jacobian_sd": (1, 0.03), "moved_mm": (1, 2.0),
    "covered_percent": (-1, 5.0), "dice_after": (-1, 0.05), "tre_after_mm": (1, 0.5), "seconds": (1, 5.0),
}  # fmt: skip
"""Columns, on which side of the cohort's median a value is worse, and the smallest difference that anybody minds: where
a cohort is alike, a per cent of coverage is many deviations."""
STATES = ("before", "rigid", "after")
NUMBERS = (*JUDGED, "expected_p95_mm", "peak_memory_mib", "outlier_z", *(f"dice_{one}" for one in STATES),
           *(f"tre_{one}_mm" for one in STATES))  # fmt: skip
WORDS = ("patient", "scan", "verdict", "reasons", "warnings", "report", "thumbnail", "file", "ml", "outlier")
"""Columns of results."""
ORDER = {"failed": 0, "FAIL": 1, "CHECK": 2, "PASS": 3, None: 3}


def rows_of(patients: Sequence[Patient], results: Results, failed: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each scan of each finished patient and one for each that failed, what wants looking at first: failed,
    FAIL, CHECK, then by the largest outlier."""
    rows: list[dict[str, Any]] = []
    for one in patients:
        if one.id in failed:
            continue
        home = results.folder(one).relative_to(results.out)
        for row in results.rows(one):
            links = {key: f"{home}/{row[key]}" for key in ("report", "thumbnail", "file") if row.get(key)}
            rows.append({**row, "patient": one.id, **links, **_notes(one)})
    for k, (value, column) in outliers(rows).items():
        known = [row[column] for row in rows if row.get(column) is not None]
        rows[k] |= {"outlier": column, "outlier_z": value, "cohort_median": round(median(known), 6)}
    notes = {one.id: _notes(one) for one in patients if one.id in failed}
    for name, reason in failed.items():
        rows.append({"patient": name, "scan": "", "verdict": "failed", "reasons": reason, **notes.get(name, {})})
    return sorted(rows, key=lambda row: (ORDER.get(row.get("verdict"), 3), -(row.get("outlier_z") or 0.0)))


def _notes(patient: Patient) -> dict[str, str]:
    """What else its table holds; what is called as a result is, `verdict` or `seconds`, is given another name."""
    return {f"given_{k}" if k in NUMBERS or k in WORDS else k: value for k, value in patient.notes.items()}


def outliers(rows: Sequence[Mapping[str, Any]]) -> dict[int, tuple[float, str]]:
    """Rows with a value that is much worse than the cohort's: index to the modified z-score and the column."""
    found: dict[int, tuple[float, str]] = {}
    for column, (side, least) in JUDGED.items():
        known = [(k, float(row[column])) for k, row in enumerate(rows) if row.get(column) is not None]
        values = [value for _, value in known]
        for (k, value), z in zip(known, z_scores(values), strict=True):
            worse, far = side * z, abs(value - median(values)) >= least
            if far and worse > OUTLIER and worse > found.get(k, (0.0, ""))[0]:
                found[k] = (round(worse, 2), column)
    return found


def z_scores(values: Sequence[float]) -> list[float]:
    """Modified z-scores: distance from the median in units of the spread (median absolute deviation; where more than
    half of the values are equal, the mean absolute deviation). 0 of fewer than five values, and of equal ones."""
    if len(values) < FEWEST:
        return [0.0] * len(values)
    middle = median(values)
    away = [abs(value - middle) for value in values]
    spread = median(away) / MAD_SCALE or sum(away) / len(away) / MEAN_SCALE
    return [(value - middle) / spread if spread else 0.0 for value in values]


def write_tables(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Write `cohort.csv`, `cohort.json`, and `cohort.parquet` where pyarrow is installed; each whole or not at all."""
    cells = [{key: _cell(value) for key, value in _unpacked(row).items()} for row in rows]
    columns = list(dict.fromkeys(key for row in cells for key in row))
    with atomic_path(out / "cohort.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(cells)
    with atomic_path(out / "cohort.json") as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(_json_lines(rows))
    with suppress(MissingExtraError):
        requires("cohort", "pyarrow")
        _write_parquet(cells, columns, out / "cohort.parquet")


def _json_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A JSON array, a row a line."""
    yield "[\n"
    for k, row in enumerate(rows):
        yield json.dumps(row, ensure_ascii=False) + (",\n" if k + 1 < len(rows) else "\n")
    yield "]\n"


def _unpacked(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with a column for each entry of its mappings: the volume of the liver is in `ml_liver`."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        found |= {f"{key}_{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {key: value}
    return found


def _cell(value: Any) -> Any:
    """A value for one cell."""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _write_parquet(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    def column(name: str) -> Any:
        values = [row.get(name) for row in rows]
        numbers = all(value is None or isinstance(value, (int, float)) for value in values)
        kept = values if numbers else [None if value is None else str(value) for value in values]
        return pa.array(kept, pa.float64() if numbers else pa.string())

    with atomic_path(path) as temporary:
        parquet.write_table(pa.table({name: column(name) for name in columns}), temporary)
