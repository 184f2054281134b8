"""The table of verdicts: counted by hand, and the docs hold what the generator makes of the stored rows."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from verdict import PAGE, page, read, table  # noqa: E402


def row(verdict, tre="", dice="", name="hcc", split="test", expected="2"):
    return {"split": split, "set": name, "verdict": verdict, "expected_mm": expected, "tre_mm": tre, "dice": dice}


def test_verdicts_are_counted_by_hand():
    some = [row("PASS", "1", expected="1"), row("PASS", "4"), row("FAIL", "9", expected="9"), row("PASS", dice="0.8")]
    some += [row("FAIL", name="negative"), row("PASS", "50", split="validation")]
    text = table(some)
    assert "| PASS | 2 | 1 | 2 | 0 | 2.5 | 1 | 0.80 | 0 |" in text
    assert "| FAIL | 1 | 0 | 0 | 1 | 9.0 | 0 | – | 1 |" in text
    assert "1.00 (3 pairs)" in text


def test_nothing_of_5_mm_passes():
    stored = read()
    assert not [r for r in stored if r["verdict"] == "PASS" and r["tre_mm"] and float(r["tre_mm"]) >= 5]
    assert not [r for r in stored if r["verdict"] == "PASS" and r["set"] == "negative"]


def test_the_docs_hold_what_the_generator_makes():
    text = PAGE.read_text(encoding="utf-8")
    assert page(text, read()) == text, "run python benchmarks/verdict.py --tables"
