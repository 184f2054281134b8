"""Workers end with the process that wants their results."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os, sys, time
from pathlib import Path
from jssr.core.processes import in_processes


def job(file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(300)


if __name__ == "__main__":
    list(in_processes(job, [sys.argv[1]], 1, apart=True))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed by signals here")
def test_a_worker_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program, told = tmp_path / "program.py", tmp_path / "pid"
    program.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, program, told]) as parent:
        worker = int(_soon(lambda: told.read_text() if told.exists() else ""))
        assert _runs(worker)
        parent.kill()
        parent.wait()
    assert _soon(lambda: "" if _runs(worker) else "ended") == "ended"


def _soon(found, seconds: float = 60.0) -> str:
    """What `found` says as soon as that is not nothing."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        said = found()
        if said:
            return str(said)
        time.sleep(0.1)
    return ""


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.is_file() and status.read_text().rpartition(")")[2].split()[0] == "Z")
