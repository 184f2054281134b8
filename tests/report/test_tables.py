from __future__ import annotations

import math
from pathlib import Path

import pytest

from jssr.errors import JssrError, OutputError
from jssr.metrics.results import CaseResult, value_of
from jssr.report.tables import (
    Cell,
    markdown,
    read_csv,
    summarise,
    write_csv,
)


def result(case: str, phase: str, method: str, dice: float, **more: float) -> CaseResult:
    return CaseResult(case, phase, method, {"dice/liver": dice, **more}, seconds=more.pop("s", 1.5))


RESULTS = [
    result("p1", "arterial", "initial", 0.88, tre=10.0),
    result("p2", "arterial", "initial", 0.92, tre=6.0),
    result("p1", "delay", "initial", 0.90, tre=8.0),
    result("p1", "arterial", "jssr", 0.95, tre=3.0),
    result("p2", "arterial", "jssr", 0.97, tre=1.0),
    result("p1", "delay", "jssr", 0.96, tre=2.0),
]


def test_a_segmentors_table_says_so():
    rows = [CaseResult("a", "t1", "segmentor", {"dice/liver": 0.9})]
    assert "| Segmentor: Dice (%), liver ↑ | t1 |" in markdown(summarise(rows, "dice", "liver", segmentor=True))


def test_csv_comes_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "metrics.csv"
    values = {"dice/liver": 1 / 3, "hd95/liver": math.inf, "asd/kidney, left": 0.1, "tre": 2.5}
    write_csv([CaseResult('p"1', "arterial, late", "jssr", values, 1.25, 800.0), RESULTS[0]], path)
    first, second = read_csv(path)
    assert (first.case, first.phase, first.method) == ('p"1', "arterial, late", "jssr")
    assert dict(first.values) == values
    assert (first.seconds, first.peak_mb) == (1.25, 800.0)
    assert second.values["dice/liver"] == 0.88 and math.isnan(second.peak_mb)
    lines = path.read_text().splitlines()
    assert lines[0] == "case,phase,method,structure,metric,value"
    assert lines[1] == '"p""1","arterial, late",jssr,liver,dice,0.3333333333333333'


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "", "case,phase,method,structure,metric,value\np,a,m,,tre,much\n"])
def test_a_bad_csv_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(JssrError, match=r"bad\.csv"):
        read_csv(path)


def test_a_missing_csv_and_an_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(JssrError, match=r"none\.csv"):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        write_csv(RESULTS, tmp_path / "file" / "out.csv")


def test_mean_and_sample_sd() -> None:
    cell = Cell.of([2.0, 4.0, 9.0, math.inf, math.nan])
    assert cell == Cell(mean=5.0, sd=pytest.approx(math.sqrt(13)), n=3, missed=1)
    assert Cell.of([3.0]) == Cell(3.0, 0.0, 1)
    assert math.isnan(Cell.of([]).mean)


def test_a_miss_that_all_share_leaves_a_best_and_fewer_pairs_do_not_win() -> None:
    def of(method: str, *values: float) -> list[CaseResult]:
        return [CaseResult(f"p{i}", "a", method, {"hd95/liver": v}) for i, v in enumerate(values)]

    both = of("good", 1.0, 3.0, math.inf) + of("bad", 2.0, 4.0, math.inf) + of("few", 0.5)
    assert markdown(summarise(both, "hd95", "liver")).splitlines()[2:] == [
        "| good | **2.00 (1.41), 1 missed** |",
        "| bad | 3.00 (1.41), 1 missed |",
        "| few | 0.50, of 1 |",
    ]


def test_markdown_as_the_paper_prints_it() -> None:
    assert markdown(summarise(RESULTS, "dice", "liver")) == (
        "| Dice (%), liver ↑ | arterial | delay | all |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| initial | 90.00 (2.83) | 90.00 | 90.00 (2.00) |\n"
        "| jssr | **96.00 (1.41)** | **96.00** | **96.00 (1.00)** |\n"
    )


def test_smaller_distances_are_better_and_ties_are_not_bold() -> None:
    text = markdown(summarise(RESULTS, "tre"), summarise(RESULTS, "seconds"))
    assert "| jssr | **2.00 (1.41)** |" in text
    assert "| initial | 1.50 (0.00) | 1.50 | 1.50 (0.00) |" in text


def test_missed_structures_are_counted_not_averaged() -> None:
    some = [CaseResult(c, "arterial", "m", {"hd95/liver": v}) for c, v in (("a", 4.0), ("b", math.inf))]
    assert markdown(summarise(some, "hd95", "liver")).splitlines()[2] == "| m | 4.00, 1 missed |"
    assert "| m | -, 1 missed |" in markdown(summarise(some[1:], "hd95", "liver"))


def test_a_method_that_missed_a_structure_does_not_win() -> None:
    some = [CaseResult(c, "arterial", "lost", {"hd95/liver": v}) for c, v in (("a", 2.0), ("b", math.inf))]
    some += [CaseResult(c, "arterial", "found", {"hd95/liver": 3.0}) for c in "ab"]
    some += [CaseResult(c, "arterial", "worse", {"hd95/liver": 5.0}) for c in "ab"]
    text = markdown(summarise(some, "hd95", "liver"))
    assert "| lost | 2.00, 1 missed |" in text and "| found | **3.00 (0.00)** |" in text


def test_the_mean_structure_leaves_out_the_absent() -> None:
    one = CaseResult("p", "a", "m", {"dice/liver": 0.9, "dice/spleen": 0.7, "dice/gone": math.nan, "hd95/liver": 3.0})
    assert value_of(one, "dice", "mean") == pytest.approx(0.8)
    assert math.isnan(value_of(one, "asd", "mean")) and math.isnan(value_of(one, "tre"))
