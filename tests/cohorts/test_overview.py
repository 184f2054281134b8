"""Rows of a cohort: outliers by robust z-scores, the order, and the files."""

from __future__ import annotations

import csv
import json

import pytest

from jssr.cohorts.batch import Job, work
from jssr.cohorts.manifest import Results
from jssr.cohorts.overview import outliers, rows_of, write_tables, z_scores
from jssr.io.patients import Patient
from jssr.report.cohort import write_index
from tests.support.batch_jobs import act, patients_of


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


def test_what_nobody_minds_is_no_outlier():
    """Median 100, mean deviation 2 / 11: 2 x 0.7979 x 11 / 2 = 8.8 deviations for 2 %, below the 5 % that count."""
    rows = [{"covered_percent": 100.0} for _ in range(10)]
    assert outliers([*rows, {"covered_percent": 98.0}]) == {}
    assert list(outliers([*rows, {"covered_percent": 80.0}])) == [10]


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


def test_columns_of_the_table_that_are_called_as_results_take_nothing_from_them(tmp_path):
    """Those of now, whatever they were when the patient was done; of patients that failed too."""
    one, two = patients_of(tmp_path, 2)
    results = Results(tmp_path / "out", {"task": "align", "options": {}})
    work(Job(act, results, "run"), one)
    notes = {"age": "61", "verdict": "mine", "seconds": "long", "dice_after": "good", "report": "javascript:x"}
    some = [Patient(p.id, p.origin, p.images, notes=notes) for p in (one, two)]
    failed, done = rows_of(some, results, {"p1": "is damaged"})
    assert (failed["verdict"], failed["age"]) == ("failed", "61")
    assert (done["verdict"], done["given_verdict"], done["given_seconds"]) == ("PASS", "mine", "long")
    assert not {"seconds", "dice_after", "report"} & set(done)
    write_tables([failed, done], results.out)
    write_index(results.out / "index.html", [failed, done], {})


def test_names_are_no_html(tmp_path):
    row = {"patient": "<img src=x onerror=alert(1)>", "scan": "<b>", "verdict": "PASS", "warnings": ["<script>"],
           "report": "a\"b/<c>.html", "thumbnail": "a'b.png"}  # fmt: skip
    write_index(tmp_path / "index.html", [row], {"cohort": "<script>alert(1)</script>"})
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and page.count("<script>") == 1 and "<b>" not in page
    assert 'href="a%22b/%3Cc%3E.html"' in page
