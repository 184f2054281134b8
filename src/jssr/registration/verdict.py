"""Whether a registration can be relied on: PASS, CHECK or FAIL, with reasons in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from jssr.core import field as ff
from jssr.core.full_size import FullTransform
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.preprocessing.prepare import PreparedPair
from jssr.registration.expected_error import Evidence, evidence_of
from jssr.registration.full_size import Working

Word = Literal["PASS", "CHECK", "FAIL"]
PASS_ABOVE = {2: 0.35, 3: 0.7}
FAIL_BELOW = {2: 0.19, 3: 0.3}
"""By the number of axes, of `Evidence.better`; of films the second of `Evidence.found`. Set on pairs of split
"validation" and on pairs of that split that cannot be aligned (`benchmarks/verdict_pairs.py`). 3D: CT and MR within
2 mm 0.75 and more; CT and MR of legs, 3 to 5 mm, 0.37 to 0.53; hippocampi of two people 0.46 to 0.51; prostates in MR
and ultrasound, 10 to 25 mm, below 0.07; other patients, noise, shuffled slices and scans 50 mm off up to 0.22, or 0.34
for an abdomen 50 mm off, mirrored abdomens 0.48 and 0.63. Films that overlap by 59 % and more, found: 0.23 and more;
turned ones, ones mirrored along a diagonal, and noise: up to 0.16."""
LITTLE_COVERED = 0.5
MANY_FOLDS = 0.5
"""Per cent of the body's cells."""
FAR_MM = 40.0
"""Median motion beside the rigid step, beyond what breathing does."""
RIGID_GAIN = 0.02
"""By so much of the unrelated points' difference the rigid state is better than none, to be kept where a pair fails."""


@dataclass(frozen=True)
class Verdict:
    """What a registration can be used for.

    Attributes:
        name: PASS, CHECK (look before you rely on it) or FAIL (the scans could not be aligned; no field was kept).
        reasons: in words, at least one.
        expected_mm: median of the expected error over the body, mm; None where nothing could be judged.
        expected_p95_mm: its 95th percentile.
    """

    name: Word
    reasons: tuple[str, ...]
    expected_mm: float | None
    expected_p95_mm: float | None

    @property
    def line(self) -> str:
        """One line for people."""
        if self.name == "FAIL" or self.expected_mm is None:  # what is expected is that of a field that was not kept
            error = ""
        else:
            error = f", expected error {self.expected_mm:.1f} mm"
            if self.expected_p95_mm is not None:
                error += f" (95 % of the body below {self.expected_p95_mm:.1f} mm)"
        return f"{self.name}{error}: {' '.join(self.reasons)}"


def verdict_of(result: Mapping[str, Any]) -> Verdict | None:
    """The verdict that a `result.json` holds; None of one that was written before there were verdicts."""
    quality = result.get("quality")
    if quality is None:
        return None
    expected = quality["expected_error_mm"]
    return Verdict(quality["verdict"], tuple(quality["reasons"]), expected["median"], expected["p95"])


def judge(evidence: Evidence, n: int, accepted: bool = True) -> tuple[Word, tuple[str, ...]]:
    """The word and the reasons for a registration of nD images.

    Args:
        accepted: the rigid step was kept, or there was none.
    """
    better = math.floor(100 * evidence.better)  # 69.6 % is below 70 %, and is not told as 70
    told = f"agree by {better} % (100: as a scan with itself, 0: no better than with what lies around)"
    least = 100 * FAIL_BELOW[n]
    if (evidence.found if n == 2 else evidence.better) < FAIL_BELOW[n]:
        why = told if n == 3 else f"agree by {100 * evidence.found:.0f} % of what unrelated films differ"
        return "FAIL", (
            f"The scans could not be aligned: they {why} (at least {least:.0f} % expected). They may show other body "
            "parts or other patients, lie too far from each other, or have nothing in common.",
        )
    doubts = []
    if evidence.better < PASS_ABOVE[n]:
        doubts.append(f"The scans {told} only: from {100 * PASS_ABOVE[n]:.0f} % on they can be relied on.")
    if evidence.covered < LITTLE_COVERED:
        doubts.append(f"The moving scan covers {100 * evidence.covered:.0f} % of the fixed body only.")
    if evidence.folds > MANY_FOLDS:
        doubts.append(f"{evidence.folds:.1f} % of the body folds.")
    if n == 3 and evidence.moved > FAR_MM:
        doubts.append(f"Half of the body moved by more than {evidence.moved:.0f} mm beside the rigid step.")
    if not accepted:
        doubts.append("The rigid step was discarded.")
    if evidence.found < evidence.before - RIGID_GAIN:
        doubts.append("The scans agree less under the field than without it.")
    return ("CHECK", tuple(doubts)) if doubts else ("PASS", (f"The scans {told}.",))


def judged(work: Working) -> Working:
    """A registration with what speaks for it. Where it fails, its last state is the rigid or the untouched one."""
    pair, final = work.pair, work.final
    evidence = evidence_of(pair, final.field)
    rigid = pair.rigid
    word, reasons = judge(evidence, pair.grid.ndim, rigid is None or rigid.accepted)
    if word == "FAIL":
        kept, state = _coarser(pair, evidence)
        last = list(work.transforms)[-1]
        work = replace(work, transforms={**work.transforms, last: kept})
        reasons = (*reasons, f"No field was kept: the result is {state}.")
    return replace(work, evidence=evidence, verdict=(word, reasons))


def _coarser(pair: PreparedPair, evidence: Evidence) -> tuple[FullTransform, str]:
    """The state that is kept of a pair that failed, and what it is in words."""
    none = Displacement(torch.zeros((pair.grid.ndim, *pair.grid.shape)), pair.grid)
    untouched = "a field that was given" if pair.initial is not None else "the scans as they lay before"
    if pair.rigid is None or not pair.rigid.accepted:
        return FullTransform(none, pair.transform, pair.initial), untouched
    # `moving` is read where the rigid step put it: from there back to where it lay.
    back = _linear(Affine(pair.transform.inverse().matrix @ pair.start.matrix), pair.grid)
    if evidence.before > evidence_of(pair, back).found + RIGID_GAIN:
        return FullTransform(none, pair.transform), "the rigid step"
    return FullTransform(none, pair.start), untouched


def _linear(transform: Affine, grid: Grid) -> Displacement:
    """A linear transform as a field."""
    at = transform.positions(grid, grid)
    return Displacement((at - ff.identity(grid.shape))[0].float(), grid)


def described(work: Working) -> dict[str, Any] | None:
    """What `result.json` says of it."""
    evidence = work.evidence
    if evidence is None or work.verdict is None:
        return None
    word, reasons = work.verdict
    return {
        "verdict": word,
        "reasons": list(reasons),
        "expected_error_mm": {"median": _finite(evidence.median), "p95": _finite(evidence.p95)},
        "agreement": {"better": evidence.better, "found": evidence.found, "before": evidence.before},
        "body_covered_percent": 100 * evidence.covered,
        "body_folds_percent": evidence.folds,
        "body_moved_mm": evidence.moved,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
