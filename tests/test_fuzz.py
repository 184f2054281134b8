"""Sixty damaged files of all kinds (`benchmarks/fuzz.py` has a thousand): a whole result, or one line and nothing left.

Run in this process, so that they take seconds: bounded neither in time nor in memory, as the benchmark is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from fuzz import one
from fuzz_inputs import make
from fuzz_run import _judge, run_here
from fuzz_targets import chosen

SEED = 1
CASES = (
    3, 4, 72, 144, 76, 7, 9, 77, 149, 222, 13, 82, 154, 228, 301, 17, 88, 160, 306, 21, 91, 93, 22, 94, 166, 239,
    26, 97, 314, 99, 30, 101, 173, 319, 34, 106, 178, 37, 108, 180, 39, 44, 49, 112, 51, 124, 195, 53, 125, 126, 57,
    202, 272, 59, 276, 62, 66, 139, 68, 430,
)  # fmt: skip
"""Numbers of the benchmark's cases by this seed, a few of each kind, those that take no second."""


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Valid files of each kind."""
    home = tmp_path_factory.mktemp("fuzz") / "good"
    make(home, whole=False)
    return home


@pytest.fixture(scope="module")
def every():
    return chosen(1000, None)


def test_the_cases_are_of_every_kind(every):
    assert len(CASES) == len(set(CASES)) == 60
    assert {every[n].kind for n in CASES} == {target.kind for target in every}


@pytest.mark.parametrize("number", CASES)
def test_a_damaged_file_is_read_whole_or_refused_in_one_line(good, every, tmp_path, number):
    ended, told = one(number, SEED, every[number], good, tmp_path / "case", how=run_here)
    assert not ended.fault, (ended.end, told, every[number].words, ended.said)


@pytest.mark.parametrize(
    ("code", "said", "end"),
    [
        (0, "warning: a\n", "read"),
        (1, "warning: a\nerror: b\n", "refused"),
        (1, "error: a\nerror: b\n", "lines"),
        (1, "", "lines"),
        (1, "a library's own words\nerror: b\n", "noise"),
        (0, "a library's own words\n", "noise"),
        (3, "error: ValueError: x (unexpected)\n", "unexpected"),
        (2, "Usage: jssr\n", "usage"),
        (1, "Traceback (most recent call last):\n", "traceback"),
    ],
)
def test_what_counts_as_a_fault(code, said, end):
    assert _judge(code, said) == end


def test_what_is_left_or_changed_is_a_fault(tmp_path):
    """A command that is refused, and yet wrote: a file beside its input, half an output."""
    folder, out, log = (tmp_path / name for name in ("in", "out", "log"))
    for made in (folder, out, log):
        made.mkdir()
    (folder / "a.nii.gz").write_bytes(b"none")
    words = ("segment", "a.nii.gz", "-o", str(out / "s.nii.gz"))
    assert run_here(words, folder, out, log, "segment").end == "refused"
    (out / "moved.nii.gz").write_bytes(b"half")
    assert run_here(words, folder, out, log, "segment").end == "partial"
    assert run_here((*words, "--log-file", "a.log"), folder, out, log, "segment").end == "changed"
