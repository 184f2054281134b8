"""One command of `benchmarks/fuzz.py` in a forked process: bounded in time and memory, and judged by what it left."""

from __future__ import annotations

import contextlib
import csv
import faulthandler
import hashlib
import json
import logging
import os
import resource
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SECONDS = 30.0
GIGABYTE = 2**30
MOST = 4 * GIGABYTE
"""Of memory that a command on these small files may ask for beside the process itself."""
STORES = ("evaluate", "benchmark", "prepare", "train")
"""Commands whose finished work stays where a later case is refused."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        end: "read", "refused", or a fault: "traceback", "unexpected", "usage", "signal", "hang", "memory", "noise",
            "lines", "partial", "broken", "changed".
        said: the last of stderr.
    """

    end: str
    said: str
    seconds: float

    @property
    def fault(self) -> bool:
        return self.end not in ("read", "refused")


def run(words: Sequence[str], folder: Path, out: Path, log: Path, command: str) -> Outcome:
    """Run a command in `folder`, whose files are its input; `out` is an empty folder for what it writes."""
    before = _prints(folder)
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        _child(words, folder, log)
    code, hung = _wait(child, start + SECONDS)
    seconds = time.perf_counter() - start
    peak = int((log / "peak").read_text() or 0) if (log / "peak").exists() else 0
    end = "hang" if hung else "signal" if code < 0 else "memory" if peak > MOST else ""
    said = (log / "stderr").read_text(encoding="utf-8", errors="replace")
    if end == "hang":
        said += (log / "where").read_text()
    return _outcome(end or _judge(code, said), said, seconds, folder, before, out, command)


def run_here(words: Sequence[str], folder: Path, out: Path, log: Path, command: str) -> Outcome:
    """The same in this process, for tests: bounded neither in time nor in memory."""
    before, home, handlers = _prints(folder), Path.cwd(), list(logging.root.handlers)
    start = time.perf_counter()
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        os.chdir(folder)
        code = _command(words, log)
    finally:
        os.chdir(home)
        logging.root.handlers[:] = handlers  # the command's own writes to a file that is closed
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
    said = (log / "stderr").read_text(encoding="utf-8", errors="replace")
    return _outcome(_judge(code, said), said, time.perf_counter() - start, folder, before, out, command)


def _outcome(
    end: str, said: str, seconds: float, folder: Path, before: dict[str, str], out: Path, command: str
) -> Outcome:
    writes = end == "read" and command in ("report", "train")  # beside what they read, when all went well
    if end in ("read", "refused") and not writes and _prints(folder) != before:
        end = "changed"
    if end == "refused":
        end = _left(out, command) or end
    elif end == "read":
        broken = list(_broken(out))
        if broken:
            end, said = "broken", f"{said} | {broken[0]}"
    return Outcome(end, said.strip()[-600:], seconds)


def _child(words: Sequence[str], folder: Path, log: Path) -> None:
    """The command in a process of its own; never returns."""
    os.setsid()
    os.chdir(folder)
    size = _status("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (size + 8 * GIGABYTE, size + 8 * GIGABYTE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.dump_traceback_later(0.8 * SECONDS, file=(log / "where").open("w"))
    code = _command(words, log)
    (log / "peak").write_text(str(_status("VmPeak") - size))
    os._exit(code)


def _command(words: Sequence[str], log: Path) -> int:
    """The command itself, its stdout and stderr in files of `log`; its exit code."""
    from jssr.cli import app

    with contextlib.ExitStack() as stack:
        for name, number in (("stdout", 1), ("stderr", 2)):
            file = stack.enter_context((log / name).open("w", encoding="utf-8"))
            os.dup2(file.fileno(), number)
            stack.enter_context(getattr(contextlib, f"redirect_{name}")(file))
        try:
            app(list(words), prog_name="jssr")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        return 70


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _wait(child: int, until: float) -> tuple[int, bool]:
    """Its exit code (below 0: a signal), and whether it had to be ended."""
    hung, pause = False, 0.002
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), hung
        if not hung and time.perf_counter() > until:
            hung = True
            with suppress(OSError):
                os.killpg(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(0.05, pause * 1.3)


def _judge(code: int, said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    others = [line for line in lines if not line.startswith(("warning: ", "error: ", "WARNING jssr."))]
    if "Traceback" in said or code == 70:
        return "traceback"
    if code in (0, 1) and others:
        return "noise"
    if code == 0:
        return "read"
    if code == 1:
        return "refused" if sum(line.startswith("error: ") for line in lines) == 1 else "lines"
    if code == 2:  # a file of defaults holds options: a value that is none is wrong use of --config
        return "refused" if "Invalid value for --config" in said else "usage"
    return "unexpected"


def _prints(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.md5(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def _left(out: Path, command: str) -> str:
    """Of what was refused nothing is left, but the finished work of a store."""
    files = [p for p in out.rglob("*") if p.is_file()]
    if any(".tmp-" in str(p) for p in files) or (files and command not in STORES):
        return "partial"
    return "partial" if next(_broken(out), None) else ""


def _broken(out: Path) -> Iterator[str]:
    """What was written and cannot be read again, or is not finite."""
    import nibabel as nib
    import numpy as np

    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = path.name.lower()
        try:
            if ".tmp-" in str(path):
                yield f"{path.name}: temporary"
            elif name.endswith((".nii", ".nii.gz")):
                if not np.isfinite(np.asarray(nib.load(path).dataobj, dtype=np.float64)).all():
                    yield f"{path.name}: not finite"
            elif name.endswith(".json"):
                inner = path.parent.parent.name == "cases"  # of a store, for Python alone: what was not measured is NaN
                json.loads(path.read_text(encoding="utf-8"), parse_constant=None if inner else _refuse)
            elif name.endswith(".csv"):
                rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
                if len({len(row) for row in rows}) > 1:
                    yield f"{path.name}: rows of several lengths"
            elif not path.stat().st_size:
                yield f"{path.name}: empty"
        except Exception as error:
            yield f"{path.name}: {type(error).__name__}: {error}"


def _refuse(name: str) -> None:
    raise ValueError(name)
