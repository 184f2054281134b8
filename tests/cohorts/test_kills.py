"""`benchmarks/kill.py` in short: eight patients of simulated work, five kills, and nothing is lost or done twice."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("distributed")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import kill  # noqa: E402

DRIVER = """
import sys
from pathlib import Path
from jssr.cohorts.batch import run
from jssr.cohorts.cluster import Workers
from jssr.cohorts.manifest import Results
from jssr.errors import JssrError
from tests.support.batch_jobs import act, patients_of

scans, out, scheduler = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
scans.mkdir(exist_ok=True)
patients = patients_of(scans, 8, **{f"p{k}": "slow1" for k in range(8)})
try:
    batch = run(patients, act, Results(out, {"task": "align", "options": {}}), Workers(2, scheduler=scheduler or None))
except JssrError as error:
    sys.exit(str(error))
sys.exit(len(batch.failed))
"""


def simulated(options, cohort, out, scheduler=""):
    """A run whose work is waiting and writing two files."""
    command = [sys.executable, "-c", DRIVER, str(cohort), str(out), scheduler]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)


def test_five_kills_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(kill, "command", simulated)
    monkeypatch.setitem(os.environ, "PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    options = argparse.Namespace(workers=2, kills=5, seed=1, between=0.2, out=tmp_path)
    calm, out = tmp_path / "calm", tmp_path / "killed"
    assert simulated(options, tmp_path / "scans", calm).wait() == 0
    kills, begun = kill.killed(options, tmp_path / "scans", out)
    assert kills == {"worker": 2, "scheduler": 2, "parent": 1} and begun >= 5
    assert kill.differences(calm, out) == [] and kill.twice(out) == []
    assert len(list(out.glob("p*/manifest.json"))) == 8 and not list(out.glob(".tmp*"))


def test_what_is_lost_is_seen(tmp_path):
    """The check can fail: a byte, a file, a patient that was done twice."""
    for name in ("calm", "killed"):
        (tmp_path / name / "p0").mkdir(parents=True)
        (tmp_path / name / "p0" / "a.txt").write_text("1")
    assert kill.differences(tmp_path / "calm", tmp_path / "killed") == []
    (tmp_path / "killed" / "p0" / "a.txt").write_text("2")
    (tmp_path / "killed" / "p0" / "b.txt").write_text("2")
    assert len(kill.differences(tmp_path / "calm", tmp_path / "killed")) == 2
    lines = [json.dumps({"event": word, "patient": "p0", "at": ""}) for word in ("begun", "done", "begun")]
    (tmp_path / "killed" / "log.jsonl").write_text("\n".join(lines))
    assert len(kill.twice(tmp_path / "killed")) == 1
