"""Verdicts: equal scans pass, unrelated ones fail, expected errors grow with what is off."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.preprocessing.prepare import PreparedPair
from jssr.registration.expected_error import Evidence, evidence_of
from jssr.registration.verdict import Verdict, judge, verdict_of


def blobs(seed, shape=(40, 40, 40)):
    """Smooth random shapes in -1..1."""
    from jssr.core import field as ff

    noise = torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(seed))
    smooth = ff.smooth(noise, 2.5)
    return (smooth / smooth.abs().max()).clamp(-0.9, 1)


def pair_of(fixed, moving):
    n = fixed.ndim - 2
    grid = Grid.of(list(fixed.shape[2:]), [2.0] * n, [0.0] * n, np.eye(n))
    ones, limits = torch.ones_like(fixed), (0.0, 1.0)
    return PreparedPair(fixed, moving, ones, ones, grid, Affine.identity(n), limits, limits)


def shift(pair, mm):
    u = torch.zeros((pair.grid.ndim, *pair.grid.shape))
    u[0] = mm / 2
    return Displacement(u, pair.grid)


@pytest.mark.parametrize("shape", [(40, 40, 40), (96, 96)])
def test_equal_scans_pass_and_unrelated_ones_fail(shape):
    n, image = len(shape), blobs(0, shape)
    same, other = pair_of(image, image.clone()), pair_of(image, blobs(1, shape))
    good, bad = (evidence_of(p, shift(p, 0.0)) for p in (same, other))
    assert good.better == pytest.approx(1.0, abs=1e-4) and good.found == pytest.approx(1.0, abs=1e-4)
    assert abs(bad.better) < 0.11 and abs(bad.found) < 0.15
    assert judge(good, n)[0] == "PASS" and judge(bad, n)[0] == "FAIL"
    assert good.median < good.p95 + 1e-6 < bad.median


def test_the_error_grows_with_the_shift():
    image = blobs(0)
    pair = pair_of(image, image.clone())
    errors = [evidence_of(pair, shift(pair, mm)).median for mm in (0.0, 2.0, 4.0, 8.0)]
    assert errors == sorted(errors) and errors[-1] > 3 * errors[0]


def test_a_field_that_brings_a_moved_scan_back_is_judged_as_equal():
    image = blobs(0, (48, 40, 40))
    pair = pair_of(image[:, :, 4:44].contiguous(), image[:, :, :40].contiguous())
    right, wrong = evidence_of(pair, shift(pair, 8.0)), evidence_of(pair, shift(pair, 0.0))
    assert right.better > 0.9 > 0.3 > wrong.better
    assert right.covered == pytest.approx(0.9, abs=0.05) and right.moved == pytest.approx(8.0)
    assert right.before == pytest.approx(wrong.found, abs=0.05)


def evidence(better, **more):
    grid = Grid.of([2, 2, 2], [8.0] * 3, [0.0] * 3, np.eye(3))
    known = {"found": 0.9, "before": 0.5, "covered": 1.0, "folds": 0.0, "moved": 2.0} | more
    return Evidence(torch.full((1, 2, 2, 2), 1.5), grid, better, **known)


def test_words_and_reasons():
    assert [judge(evidence(s), 3)[0] for s in (0.95, 0.71, 0.69, 0.31, 0.29)] == ["PASS"] * 2 + ["CHECK"] * 2 + ["FAIL"]
    assert [judge(evidence(s), 2)[0] for s in (0.36, 0.34)] == ["PASS", "CHECK"]
    # Of films it is the agreement itself that fails.
    assert [judge(evidence(0.2, found=f, before=0.0), 2)[0] for f in (0.2, 0.18)] == ["CHECK", "FAIL"]
    assert judge(evidence(0.1, found=0.5), 2)[0] == "CHECK"
    doubts = {"covered": 0.4, "folds": 1.0, "moved": 50.0, "found": 0.4}
    for name, value in doubts.items():
        word, reasons = judge(evidence(0.9, **{name: value}), 3)
        assert word == "CHECK" and len(reasons) == 1, name
    assert judge(evidence(0.9), 3, accepted=False) == ("CHECK", ("The rigid step was discarded.",))
    assert "agree by 69 %" in judge(evidence(0.696), 3)[1][0]  # below the limit of 70 %, and told so
    assert "could not be aligned" in judge(evidence(0.1), 3)[1][0]


def test_what_cannot_be_judged_has_no_expected_error():
    empty = Evidence(torch.full((1, 2, 2, 2), float("nan")), evidence(0).grid, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert empty.median == float("inf")


def test_a_verdict_is_read_back():
    quality = {"verdict": "CHECK", "reasons": ["Look."], "expected_error_mm": {"median": 3.04, "p95": 9.0}}
    told = verdict_of({"quality": quality})
    assert told == Verdict("CHECK", ("Look.",), 3.04, 9.0)
    assert told.line == "CHECK, expected error 3.0 mm (95 % of the body below 9.0 mm): Look."
    assert verdict_of({}) is None


def test_the_reason_is_how_far_they_agree():
    assert judge(evidence(0.95), 3)[1] == (
        "The scans agree by 95 % (100: as a scan with itself, 0: no better than with what lies around).",
    )  # fmt: skip
    assert "agree by 50 %" in judge(evidence(0.5), 3)[1][0] and "from 70 % on" in judge(evidence(0.5), 3)[1][0]
    assert "they agree by 10 %" in judge(evidence(0.1), 3)[1][0] and "30 % expected" in judge(evidence(0.1), 3)[1][0]


def test_a_pair_that_cannot_be_aligned_keeps_no_field():
    from jssr.registration.pipeline import register

    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    scans = [((blobs(k)[0, 0] * 100).numpy(), affine) for k in (0, 1)]
    done = register(*scans, system="discrete", rigid=False)
    assert done.verdict is not None and done.verdict.name == "FAIL"
    assert "as they lay before" in done.verdict.reasons[-1]
    assert done.result["warnings"][0].startswith("The verdict is FAIL. No field was kept")
    assert "expected error" not in done.verdict.line
    assert repr(done).startswith("<Registration of") and "FAIL" in repr(done) and len(repr(done)) < 600
    assert float(done.displacement.u.abs().max()) < 1e-3
    assert done.expected_error is not None and float(done.expected_error.data.max()) > 5
