"""Rows of a cohort: outliers by robust z-scores, the order, and the files."""

from __future__ import annotations

import csv
import json

import pytest

from jssr.cohorts.overview import outliers, write_tables, z_scores


def test_modified_z_scores_by_hand():
    """Median 3, deviations 2 1 0 1 97, their median 1: 0.6745 (100 - 3) / 1."""
    assert z_scores([1, 2, 3, 4, 100]) == pytest.approx([-1.349, -0.6745, 0, 0.6745, 65.4265])


def test_where_most_are_equal_the_mean_deviation_judges():
    """Median 0, median deviation 0, mean deviation 10 / 5 = 2: 10 / (2 / 0.7979)."""
    assert z_scores([0, 0, 0, 0, 10]) == pytest.approx([0, 0, 0, 0, 3.9895])
    assert z_scores([7, 7, 7, 7, 7]) == [0] * 5
    assert z_scores([1, 2, 100]) == [0] * 3


def test_only_the_worse_side_counts():
    rows = [{"dice_after": value, "seconds": 10.0} for value in (0.90, 0.91, 0.92, 0.93, 0.94, 0.2)]
    rows.append({"dice_after": 1.7, "seconds": None})
    found = outliers(rows)
    assert list(found) == [5] and found[5][1] == "dice_after"


def test_the_tables_hold_every_row(tmp_path):
    rows = [
        {
            "patient": "a",
            "scan": "arterial",
            "verdict": "PASS",
            "folds_percent": 0.5,
            "warnings": ["One.", "Two."],
            "ml": {"liver": 1500.5},
        },
        {"patient": "b", "scan": "", "verdict": "failed", "reasons": "damaged, quite"},
    ]
    write_tables(rows, tmp_path)
    with (tmp_path / "cohort.csv").open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert read[0]["warnings"] == "One. Two." and read[1]["reasons"] == "damaged, quite"
    assert (read[0]["ml_liver"], read[1]["ml_liver"]) == ("1500.5", "")
    assert json.loads((tmp_path / "cohort.json").read_text()) == rows
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(tmp_path / "cohort.parquet").column("folds_percent").to_pylist() == [0.5, None]
