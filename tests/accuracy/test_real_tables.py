"""Tables of real scans: who is the best, by hand, and the docs hold what the generator makes of the stored results."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from real_results import RESULTS, Row, collect, judged, read  # noqa: E402
from real_tables import (
    between,
    losses_markdown,
    methods_markdown,
    overall_markdown,
    pages,
    set_markdown,
    verdicts_markdown,
)  # noqa: E402

from jssr.cohorts.store import Store  # noqa: E402


def rows(measure, name, **methods):
    """Rows of pairs a, b, ...: a value for each, None where the method failed."""
    found = []
    for method, values in methods.items():
        for case, value in zip("ab", values, strict=False):
            known, why = ({}, "no luck") if value is None else ({measure: value}, "")
            found.append(Row(name, "test", case, "moving", method.replace("_", "-"), known, failed=why))
    return found


def ranks(found, pair):
    return {method: (rank, round(gap, 6)) for method, (rank, gap) in found.ranks(pair).items()}


def test_ranks_and_distances_by_hand():
    found = judged(rows("tre", "hcc", initial=[4, 4], greedy=[1.0, 2.0], syn_mi=[1.5, 2.0], discrete=[1.05, 2.5]))[0]
    assert ranks(found, "a moving") == {"greedy": (1, 0), "discrete": (2, 0.05), "syn-mi": (3, 0.5)}
    assert ranks(found, "b moving") == {"greedy": (1, 0), "syn-mi": (1, 0), "discrete": (3, 0.5)}
    assert found.behind("a moving", "discrete") == pytest.approx(0.05)  # near enough: 0.1 mm
    assert found.behind("b moving", "discrete") == pytest.approx(0.5)
    assert found.behind("a moving", "greedy") == pytest.approx(-0.5)  # beside the other tool, not beside ours
    assert found.worse("a moving", "discrete") == pytest.approx(-2.95)
    assert "| `discrete` | 50 % | 1 of 2 | 0 of 2 | 0 |" in methods_markdown([found])


def test_the_pairs_that_ours_loses_are_named():
    told = losses_markdown(
        judged(rows("tre/liver", "eth_liver", initial=[4, 4], greedy=[1.0, 2.0], discrete=[1.05, 4.5]))
    )
    assert "`discrete` behind the best tool: eth_liver b moving liver (2.50 mm).\n" in told
    assert "`discrete` worse than before: eth_liver b moving liver (0.50 mm).\n" in told
    assert losses_markdown(judged(rows("tre", "hcc", initial=[4, 4], greedy=[1.0, 2.0]))) == ""


def test_more_dice_is_better():
    found = judged(rows("dice", "acdc", initial=[70, 70], greedy=[80, 69], discrete=[79.6, 69.4]))[0]
    assert ranks(found, "a moving") == {"greedy": (1, 0), "discrete": (2, 0.4)}
    assert [found.behind(p, "discrete") for p in found.values] == pytest.approx([0.4, -0.4])
    assert [found.worse(p, "greedy") for p in found.values] == pytest.approx([-10, 1])
    assert "| greedy | 50 % | 1 of 2 | 1 of 2 | 0 |" not in methods_markdown([found])  # nothing beside it but ours
    assert "| `discrete` | 100 % | 2 of 2 | 1 of 2 | 0 |" in methods_markdown([found])


def test_what_failed_is_no_mean_and_never_the_best():
    some = rows("tre", "hcc", initial=[4, 4], greedy=[1.0, None], discrete=[1.5, 3.0])
    found = judged(some)[0]
    assert math.isinf(found.behind("b moving", "greedy")) is False  # nothing to compare with
    assert found.mean("greedy") == (1.0, 1)
    table = set_markdown(found, some)
    assert (
        "| greedy | **1.00** | fails | 1.00 of 1 |" in table
        and "| `discrete` | 1.50 (2, 0.50) | **3.00** | 2.25 |" in table
    )
    assert "| 1.00 of 1 | **2.25** |" in overall_markdown([found])  # of one pair alone is not the best


def test_verdicts_are_counted():
    told = [
        Row("hcc", "test", "a", "x", "discrete", {"tre": 1.0, "verdict": 0}),
        Row("hcc", "test", "b", "x", "discrete", {"tre": 6.0, "verdict": 0}),
        Row("hcc", "test", "c", "x", "discrete", {"tre": 4.0, "verdict": 1}),
    ]
    table = verdicts_markdown(told)
    assert (
        "| `discrete` | judged | PASS | 2 | 1 | 1 |" in table and "| `discrete` | judged | CHECK | 1 | 0 | 0 |" in table
    )


def test_results_are_collected_as_they_were_stored(tmp_path):
    store = Store(tmp_path / "acdc" / "test" / "cases" / "greedy")
    values = {"dice/a": 0.8, "dice/b": 0.9, "tre": 1.23456, "tre/liver": 2.0, "hd95/a": 3.0, "folds": 0.01}
    row = {"case": "p1", "phase": "ES", "method": "greedy", "values": values, "seconds": 12.34, "peak_mb": 1.0}
    made = {"processor": "some", "date": "2026-11-28"}
    store.keep("p1", {"row": "greedy"}, {"rows": [row], "measured": made}, {"late": "no luck"})
    collect(tmp_path, tmp_path / "out.json")
    found, about = read(tmp_path / "out.json")
    assert about["machines"] == ["some"]
    done = next(r for r in found if not r.failed)
    assert done.values == pytest.approx({"dice": 85.0, "tre": 1.235, "tre/liver": 2.0, "folds": 0.01})
    assert (done.set, done.split, done.case, done.phase, done.seconds) == ("acdc", "test", "p1", "ES", 12.3)
    assert [r.failed for r in found if r.phase == "late"] == ["no luck"]


def test_rows_that_another_machine_measured_stay_and_those_done_anew_are_replaced(tmp_path):
    def measure(method, tre):
        row = {"case": "p1", "phase": "ES", "method": method, "values": {"tre": tre}, "seconds": 1.0, "peak_mb": 1.0}
        made = {"processor": method, "date": "2026-11-28"}
        folder = tmp_path / "acdc" / "test" / "cases" / method
        Store(folder).keep("p1", {"row": method}, {"rows": [row], "measured": made}, {})
        return folder

    theirs = measure("greedy", 3.0)
    measure("discrete", 2.0)
    collect(tmp_path, tmp_path / "out.json")
    for file in theirs.glob("*.json"):
        file.unlink()
    measure("discrete", 1.0)
    collect(tmp_path, tmp_path / "out.json")
    found, about = read(tmp_path / "out.json")
    assert {row.method: row.values["tre"] for row in found} == {"greedy": 3.0, "discrete": 1.0}
    assert about["machines"] == ["discrete", "greedy"]


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="the page has no"):
        between("text", "table")


def test_the_docs_hold_what_the_generator_makes():
    assert RESULTS.stat().st_size < 400_000
    for page, text in pages().items():
        assert page.read_text(encoding="utf-8") == text, f"{page}: run python benchmarks/real.py --tables"
