"""Whole processes, timed: seconds, memory of the process and its children, beside busy processes, on which machine."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EVERY = 0.05
"""Seconds between two looks at the memory."""
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
LOOP = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    for _ in range(100000):\n        pass\n"
"""Busy as long as the process lives whose number is given."""


def held(pid: int) -> int:
    """Bytes that a process and its children hold now (RSS); pages that they share are counted for each. 0 where the
    system has no /proc, or the process ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        children = [int(c) for f in Path(f"/proc/{pid}/task").glob("*/children") for c in f.read_text().split()]
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(held(child) for child in children)


def most_held(pid: int) -> int:
    """Bytes that a process itself held at most so far; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


class Peak(threading.Thread):
    """Looks at a process and its children until it is told to stop."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.most, self.stop = pid, 0, threading.Event()

    def run(self) -> None:
        while not self.stop.wait(EVERY):
            # The second sees peaks between two looks.
            self.most = max(self.most, held(self.pid), most_held(self.pid))


def timed(command: dict[str, Any], log: Path, limit: float | None = None) -> dict[str, Any]:
    """Run a process of `subprocess.Popen(**command)` to its end.

    Returns:
        `seconds` by the clock, `cpu` seconds of all cores, children included, and `gb`, the most memory that it and its
        children held at once. `failed`, in words, if it failed or took longer than `limit` seconds: it is ended then.
    """
    begin = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(**command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        peak = Peak(process.pid)
        peak.start()
        late = threading.Timer(limit or threading.TIMEOUT_MAX, os.killpg, (process.pid, signal.SIGKILL))
        late.start()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        late.cancel()
        peak.stop.set()
        peak.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    # ru_maxrss counts what this process held when it forked: a test of a large process would see its own memory.
    most = peak.most or used.ru_maxrss * 1024
    run = {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "gb": most / 1e9}
    if process.returncode:
        last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
        run["failed"] = f"longer than {limit:g} s" if limit and seconds >= limit else f"{process.returncode}: {last}"
    return run


@contextmanager
def beside(count: int) -> Iterator[None]:
    """So many busy processes, each a loop of Python, within the block. They end with this process too."""
    busy = [subprocess.Popen([sys.executable, "-S", "-c", LOOP, str(os.getpid())]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def stages(folder: Path, seconds: float) -> dict[str, float]:
    """Seconds of each stage that a result.json names, and `start`, what the whole process took beside them.

    Of commit 6d3bec4 the key is `seconds`, later `time_s`. Empty where there is no such file, as of peers.
    """
    file = folder / "result.json"
    if not file.is_file():
        return {}
    result = json.loads(file.read_text(encoding="utf-8"))
    found = {k: v for k, v in result.get("time_s", result.get("seconds", {})).items() if k != "total"}
    return {"start": seconds - sum(found.values()), **found}


def processor() -> dict[str, Any]:
    """Its name, family and model, and which of `FLAGS` it has."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = told.get("flags", "").split()
    about = {"name": told.get("model name", platform.processor() or platform.machine())}
    about |= {"family": told.get("cpu family", ""), "model": told.get("model", "")}
    return {**about, "flags": [flag for flag in FLAGS if flag in flags], "cores": os.cpu_count()}


def commit_of(checkout: Path) -> str:
    """The commit of a checkout, and whether its sources were changed; "unknown" without git."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=checkout, capture_output=True, text=True, check=False).stdout.strip()

    if not (checkout / ".git").exists():
        return "unknown"
    return git("rev-parse", "--short", "HEAD") + (" with changes" if git("status", "--short", "src") else "")


def about(against: Path | None) -> dict[str, Any]:
    """The machine, the day and the commits."""
    earlier = {} if against is None else {"before": commit_of(against)}
    return {"machine": processor(), "date": date.today().isoformat(), "commit": commit_of(ROOT), **earlier}
