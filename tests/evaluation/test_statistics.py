import math

import pytest

from jssr.evaluation.statistics import compare, comparisons_markdown, worse_markdown, worsened
from jssr.metrics.results import CaseResult


def rows(method, values, phases=("a",)):
    """One patient a value; with several phases the value is spread round its mean."""
    return [
        CaseResult(f"p{i}", phase, method, {"dice/liver": v + 0.01 * (k - (len(phases) - 1) / 2)})
        for i, v in enumerate(values)
        for k, phase in enumerate(phases)
    ]


BASE = [0.90, 0.91, 0.92, 0.93, 0.94, 0.95]


def test_six_patients_that_all_gain_have_the_p_value_of_six_coins():
    """Exact two-sided signed-rank test: all differences positive is 2 of 2^6 sign patterns."""
    better = [v + 0.01 * (i + 1) for i, v in enumerate(BASE)]
    (found,) = compare(rows("old", BASE) + rows("new", better), "old", "dice", "liver")
    assert (found.method, found.n) == ("new", 6)
    assert found.p == pytest.approx(2 / 64) and found.p_holm == found.p
    assert found.difference == pytest.approx(0.035)
    assert 0.01 < found.low < 0.035 < found.high < 0.06


def test_scans_of_one_patient_count_once():
    better = [v + 0.01 * (i + 1) for i, v in enumerate(BASE)]
    results = rows("old", BASE, "abc") + rows("new", better, "abc")
    (found,) = compare(results, "old", "dice", "liver")
    assert found.n == 6 and found.p == pytest.approx(2 / 64) and found.difference == pytest.approx(0.035)


def test_holm_multiplies_the_smallest_most_and_keeps_the_order():
    clear = [v + 0.01 * (i + 1) for i, v in enumerate(BASE)]  # p = 2 / 64
    mixed = [v + d for v, d in zip(BASE, (0.01, -0.02, 0.03, 0.04, 0.05, 0.06), strict=True)]  # rank 2 negative
    results = rows("old", BASE) + rows("clear", clear) + rows("mixed", mixed) + rows("same", BASE)
    found = {c.method: c for c in compare(results, "old", "dice", "liver")}
    assert found["mixed"].p == pytest.approx(2 * 3 / 64)  # rank sums 0, 1, 2 are as extreme: three patterns a side
    assert found["same"].p == 1 and found["same"].low == found["same"].high == 0
    assert found["clear"].p_holm == pytest.approx(3 * 2 / 64)
    assert found["mixed"].p_holm == pytest.approx(2 * 6 / 64)
    assert found["same"].p_holm == 1


def test_a_patient_that_one_method_missed_is_left_out():
    better = [*[v + 0.01 for v in BASE[:5]], math.inf]
    (found,) = compare(rows("old", BASE) + rows("new", better), "old", "dice", "liver")
    assert found.n == 5
    assert compare(rows("old", BASE) + rows("new", [math.nan]), "old", "dice", "liver") == []


def test_patients_are_compared_by_the_same_scans_alone():
    """A tool that failed on the hard phase of two patients is not ahead for it."""
    both = [*rows("old", BASE, "ab"), *rows("tool", BASE, "ab")]
    some = [r for r in both if not (r.method == "tool" and r.phase == "a" and r.case in ("p0", "p1"))]
    (found,) = compare(some, "old", "dice", "liver")
    assert found.n == 4 and found.difference == pytest.approx(0) and found.p == 1


def test_one_patient_has_no_interval():
    (found,) = compare(rows("old", BASE[:1]) + rows("new", [0.95]), "old", "dice", "liver")
    assert math.isnan(found.low) and math.isnan(found.high)
    assert "| new | +5.00 | - | 1 |" in comparisons_markdown([[found]])


def test_the_seed_alone_decides_the_interval():
    results = rows("old", BASE) + rows("new", [v + 0.001 * i**2 for i, v in enumerate(BASE)])
    first, again, other = (compare(results, "old", "dice", "liver", seed)[0] for seed in (1, 1, 2))
    assert first == again and (first.low, first.high) != (other.low, other.high)


def test_markdown_prints_the_units_of_the_tables():
    found = compare(rows("old", BASE) + rows("new", [v + 0.01 for v in BASE]), "old", "dice", "liver")
    text = comparisons_markdown([found, []])
    assert "| Dice (%), liver: minus old |" in text and "| new | +1.00 | +1.00 to +1.00 | 6 |" in text


def test_pairs_made_worse_are_counted_by_pair():
    """More overlap is better, less distance is; what precision alone sets apart is not worse; what one of the two
    lacks does not count."""
    before = [CaseResult(f"p{i}", "a", "rigid", {"dice/liver": 0.9, "tre": 5.0}) for i in range(4)]
    after = [
        CaseResult(f"p{i}", "a", "new", {"dice/liver": dice, "tre": tre})
        for i, (dice, tre) in enumerate([(0.95, 5.0000003), (0.85, 4.0), (0.8999999, 6.0), (math.nan, 7.0)])
    ]
    other = [CaseResult("p9", "a", "new", {"dice/liver": 0.1, "tre": 99.0})]
    lost = [CaseResult("p0", "a", "rough", {"hd95/liver": math.inf})]
    results = [*before, *after, *other, *lost]
    assert worsened(results, "rigid", "dice", "liver") == {"new": (1, 3)}
    assert worsened(results, "rigid", "tre") == {"new": (2, 4)}
    text = worse_markdown(results, "rigid", [("dice", "liver"), ("tre", ""), ("dice", "spleen")])
    assert text.splitlines() == ["| pairs worse than rigid | Dice, liver | TRE |", "| --- | ---: | ---: |",
                                 "| new | 1 of 3 | 2 of 4 |"]  # fmt: skip
    missed = [CaseResult("p0", "a", "rigid", {"hd95/liver": 3.0}), *lost]
    assert worsened(missed, "rigid", "hd95", "liver") == {"rough": (1, 1)}
    assert worse_markdown(lost, "rigid", [("tre", "")]) == ""
