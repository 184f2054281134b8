"""What the tests of benchmarks share: the command, and a tool that knows the answer."""

from __future__ import annotations

import numpy as np
from typer.testing import CliRunner

from jssr.cli import app
from jssr.core.transform import Affine
from jssr.peers import Peer
from jssr.report.tables import read_csv

__all__ = ["ORACLE", "run", "solved", "table"]


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == code, result.output + result.stderr
    return result


def solved(fixed, moving, rigid, threads):
    """Middle on middle: what the balls of the cohort differ by."""
    known = np.eye(4)
    middle = [np.argwhere(v.array > 80).mean(axis=0) for v in (fixed, moving)]
    known[:3, 3] = moving.grid.world(middle[1]) - fixed.grid.world(middle[0])
    return Affine(known)


ORACLE = Peer("oracle", "knows", solved)


def table(out):
    """The results of a benchmark by method and case."""
    return {(r.method, r.case): r for r in read_csv(out / "results.csv")}
