"""The report of an evaluation: what stands in it, in which order, and that it loads nothing."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from jssr.metrics.results import CaseResult
from jssr.report.evaluation import picture_name, write_evaluation_report
from jssr.report.tables import summarise


def results(dice=(0.95, 0.6, 0.9, 0.85, 0.8, 0.7, 0.97, 0.96)):
    """A pair a case, from 0.5 to these."""
    out = []
    for i, value in enumerate(dice):
        out.append(CaseResult(f"c{i}", "arterial", "initial", {"dice/liver": 0.5, "tre": 9.0}, 0.0, 0.0))
        out.append(
            CaseResult(f"c{i}", "arterial", "jssr", {"dice/liver": value, "tre": 9 - 8 * value, "folds": 0.0}, 3.0, 9)
        )
    return out


def written(tmp_path, found, name="report.html"):
    write_evaluation_report(
        tmp_path / name, title="jssr on <b>balls</b>", results=found, summaries=[summarise(found, "dice", "liver")],
        pictures=tmp_path, provenance={"weights": "abc"},
    )  # fmt: skip
    return (tmp_path / name).read_text()


def test_worst_pairs_stand_first_then_the_one_in_the_middle(tmp_path):
    html = written(tmp_path, results())
    shown = re.findall(
        r"<figcaption><b>(c\d), arterial</b> \(([^)]*)\): Dice \(%\), mean of the structures (\d+\.\d+)", html
    )
    assert shown == [
        ("c1", "worst", "60.00"), ("c5", "worst 2", "70.00"), ("c4", "worst 3", "80.00"), ("c3", "worst 4", "85.00"),
        ("c2", "in the middle", "90.00"),
    ]  # fmt: skip
    assert "Low overlap (Dice): liver 60 %" in html
    assert "50.00 → 95.00" in html and "<b>84.12 (13.41)</b>" in html


def test_landmarks_judge_where_there_are_no_labels(tmp_path):
    found = [CaseResult(r.case, r.phase, r.method, {"tre": r.values["tre"]}, r.seconds, r.peak_mb) for r in results()]
    html = written(tmp_path, found)
    assert re.findall(r"<figcaption><b>(c\d)", html)[:2] == ["c1", "c5"]
    assert "by TRE (mm)" in html
    assert "neither labels nor landmarks" in written(tmp_path, [CaseResult("c", "p", "jssr", {}, 1.0, 1)], "none.html")


def test_pictures_are_inside_and_nothing_is_loaded(tmp_path):
    (tmp_path / "c1").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / picture_name("c1", "arterial"))
    html = written(tmp_path, results())
    assert html.count('<img src="data:image/png;base64,') == 2  # the plot, and the one picture that is there
    assert "http" not in re.sub(r"<meta http-equiv[^>]*>", "", html) and "<script" not in html
    assert "&lt;b&gt;balls" in html and "<b>balls" not in html
