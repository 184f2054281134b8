"""The methods of `benchmarks/real.py`: ours as users get it, peers, and our package of an earlier commit."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jssr.core.transform import Displacement, Transform
from jssr.errors import JssrError
from jssr.evaluation.alignment import Scans, measured
from jssr.evaluation.methods import BEFORE, methods_of
from jssr.evaluation.runner import Method, Pair
from jssr.io.itk_elastix import load
from jssr.io.provenance import Stopwatch, forget_peak, peak_memory_mib
from jssr.io.transforms import read_transform
from jssr.metrics.results import CaseResult
from jssr.peers import PEERS
from jssr.registration.pipeline import register

OURS: dict[str, dict[str, Any]] = {"discrete": {}, "network": {"system": "jssr"}}
"""Rows of ours, with the options of `jssr register`: the default, and the shipped network."""
EARLIER = "discrete, before"
VERDICTS = ("PASS", "CHECK", "FAIL")


@dataclass(frozen=True)
class Measured(Method):
    """A row that is measured as the rows of `jssr benchmark` are."""

    def measure(self, pair: Pair, done: Sequence[CaseResult]) -> list[CaseResult]:
        fixed, moving = pair.scan(pair.fixed), pair.scan(pair.moving)
        load()
        forget_peak()
        watch = Stopwatch()
        with watch.stage("align"):
            transform, more = self.found(pair)
        peak, seconds = peak_memory_mib(), watch.total
        scans = Scans(fixed, moving, pair.labels(pair.fixed, fixed), pair.cohort.structures())
        values = {**measured(pair, scans, transform, False), **more}
        return [CaseResult(pair.case.id, pair.moving, self.name, values, seconds, peak)]

    def found(self, pair: Pair) -> tuple[Transform, dict[str, float]]:
        """The full transform of a pair, and further numbers of it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Registered(Measured):
    """`jssr register` with some options; the numbers are the expected error and the verdict, where it gives them."""

    options: dict[str, Any] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        return {"row": self.name, "options": self.options}

    def found(self, pair: Pair) -> tuple[Displacement, dict[str, float]]:
        one = register(pair.scan(pair.fixed), pair.scan(pair.moving), **self.options)
        return one.displacement, judgement(one.result)


def judgement(result: dict[str, Any]) -> dict[str, float]:
    """What `result.json` expects of a result: "expected_mm", and "verdict" as an index of `VERDICTS`."""
    told: dict[str, float] = {}
    quality = result.get("quality") or result
    verdict = quality.get("verdict")
    word = verdict.get("verdict") if isinstance(verdict, dict) else verdict
    if word in VERDICTS:
        told["verdict"] = float(VERDICTS.index(word))
    expected = quality.get("expected_error_mm", quality.get("expected_error"))
    if isinstance(expected, dict):
        expected = next((expected[k] for k in ("median", "mean") if k in expected), None)
    return told if expected is None else {**told, "expected_mm": float(expected)}


@dataclass(frozen=True)
class Checkout(Measured):
    """`jssr register --system discrete` of another checkout of this package, in a process of its own."""

    checkout: str = ""
    commit: str = ""

    def identity(self) -> dict[str, Any]:
        return {"row": self.name, "commit": self.commit}

    def found(self, pair: Pair) -> tuple[Transform, dict[str, float]]:
        files = [str(pair.cohort.image(pair.case, phase)) for phase in (pair.fixed, pair.moving)]
        environment = {**os.environ, "PYTHONPATH": str(Path(self.checkout) / "src")}
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "jssr", "register", *files, "-o", out, "--system", "discrete"]
            command += ["--no-report", "--threads", str(torch.get_num_threads())]
            ran = subprocess.run(command, env=environment, capture_output=True, text=True)
            if ran.returncode:
                raise JssrError(f"the checkout failed: {(ran.stderr.strip().splitlines() or ['killed'])[-1]}")
            return read_transform(Path(out) / "displacement.nii.gz"), {}


def rows(names: Iterable[str], before: Path | None = None) -> list[Method]:
    """The methods of some names, in the order given.

    Args:
        names: "initial", "rigid", the rows of `OURS`, `EARLIER` and peers.
        before: folder of the earlier checkout.
    """
    found: list[Method] = []
    first = {one.name: one for one in methods_of()}
    for name in names:
        if name in BEFORE:
            found.append(first[name])
        elif name in OURS:
            found.append(Registered(name, OURS[name]))
        elif name == EARLIER:
            if before is None:
                raise JssrError(f"{name!r}: name the folder of that checkout with --before")
            ran = subprocess.run(["git", "log", "-1", "--format=%h"], cwd=before, capture_output=True, text=True)
            found.append(Checkout(name, str(before.resolve()), ran.stdout.strip()))
        else:
            found.extend(methods_of(peers=(name,))[len(BEFORE) :])
    return found


def usable(names: Iterable[str], ndim: int) -> list[str]:
    """Those of some names that take images of `ndim` axes and can be used on this machine."""
    return [n for n in names if n not in PEERS or (ndim in PEERS[n].dims and not PEERS[n].lacks())]
