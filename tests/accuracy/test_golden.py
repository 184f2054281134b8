"""The golden file (`benchmarks/golden.py` writes it) and what it sees; the alignments meet it in `test_shipped.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from golden import ELSEWHERE, FILE, MOST, NAMES, allowed, difference, load  # noqa: E402


def test_another_processor_may_round_otherwise(monkeypatch):
    monkeypatch.setattr("golden._processor", lambda: "Some CPU")
    assert allowed({"machine": "x86_64, Some CPU"}) == MOST < ELSEWHERE == allowed({"machine": "x86_64, Other CPU"})


@pytest.mark.parametrize("name", NAMES)
def test_a_tenth_of_a_millimetre_is_seen(name):
    golden = load()[0][name]
    direction = np.random.default_rng(1).normal(size=golden.shape)
    disturbed = golden + 0.1 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    assert difference(golden, golden.copy()) == 0
    assert difference(golden, disturbed) > MOST
    part = np.where(np.arange(len(golden))[:, None] % 20 == 0, disturbed, golden)  # of 5 % of the points alone
    assert difference(golden, part) > MOST
    assert difference(golden, golden[1:]) == float("inf")
    assert difference(golden, np.where(disturbed == disturbed[0], np.nan, golden)) == float("inf")


def test_the_golden_file_is_small_and_says_whence():
    arrays, about = load()
    assert FILE.stat().st_size < 150_000 and {"commit", "date", "machine"} <= about.keys()
    assert all(len(values) >= 1000 and np.isfinite(values).all() for values in arrays.values())
    assert all(np.linalg.norm(arrays[name], axis=1).mean() > 1 for name in NAMES)
