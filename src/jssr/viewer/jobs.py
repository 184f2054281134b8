"""Alignments asked for in the browser: each in a process of its own, one at a time, one more may wait."""

from __future__ import annotations

import multiprocessing as mp
import shutil
import threading
import uuid
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from jssr.core.processes import end_with_parent
from jssr.errors import JssrError

STAGES = 9
"""Stages that a run reports: read, load, prepare, network, refine, fullsize, inverse, measure, writing."""
State = Literal["waiting", "running", "done", "failed", "cancelled"]


class Busy(JssrError):
    """One alignment runs and one waits."""


@dataclass
class Job:
    """An alignment of two scans.

    `folder` is its own: `fixed` and `moving` in it are the scans, `result` is what is made. `options` are keywords of
    `jssr.register`, `stage` runs and `done` have ended, `message` says why it failed.
    """

    folder: Path
    fixed: Path
    moving: Path
    options: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    state: State = "waiting"
    stage: str = ""
    done: int = 0
    message: str = ""

    @property
    def result(self) -> Path:
        return self.folder / "result"

    def as_data(self) -> dict[str, Any]:
        """As plain data, without paths."""
        return {
            "id": self.id, "state": self.state, "stage": self.stage, "done": self.done, "of": STAGES,
            "message": self.message,
        }  # fmt: skip


class Jobs:
    """Runs jobs one after the other. Threads touch it: every change is made under the lock."""

    def __init__(self) -> None:
        self.known: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._process: Any = None
        self._running: Job | None = None
        self._waiting: Job | None = None

    def add(self, job: Job) -> None:
        """Start a job, or let it wait for the one that runs; `Busy` where another waits already."""
        with self._lock:
            self.check()
            self.known[job.id] = job
            if self._running is None:
                self._start(job)
            else:
                self._waiting = job

    def check(self) -> None:
        """Refuse what `add` would refuse, before an upload."""
        if self._waiting is not None:
            raise Busy("one alignment runs and another waits; cancel one or come back later")

    def cancel(self, job: Job) -> None:
        """Stop a job that runs or waits; its scans are removed. One that has ended stays as it is."""
        with self._lock:
            if job is self._waiting:
                self._waiting, job.state = None, "cancelled"
                shutil.rmtree(job.folder, ignore_errors=True)
            elif job is self._running:
                job.state = "cancelled"
                self._process.terminate()  # its watcher sees the end and goes on with the next

    def close(self) -> None:
        """Stop everything."""
        for job in list(self.known.values()):
            self.cancel(job)
        if self._process is not None:
            self._process.join(10)

    def _start(self, job: Job) -> None:
        ours, theirs = mp.Pipe(duplex=False)
        # A fresh interpreter: threads of torch and of the server do not survive a fork.
        self._process = mp.get_context("spawn").Process(target=_work, args=(theirs, job), daemon=True)
        self._process.start()
        theirs.close()
        self._running, job.state = job, "running"
        threading.Thread(target=self._watch, args=(job, self._process, ours), daemon=True).start()

    def _watch(self, job: Job, process: Any, ours: Connection) -> None:
        ended: tuple[State, str] = ("failed", "the alignment ended unexpectedly: check whether memory is short")
        try:
            while True:
                kind, text = ours.recv()
                if kind == "stage":
                    job.done, job.stage = job.done + bool(job.stage), text
                else:
                    ended = (kind, text)
        except (EOFError, OSError):
            process.join()
        with self._lock:
            if job.state != "cancelled":
                job.state, job.message = ended
            if job.state == "done":
                job.done = STAGES
            else:
                shutil.rmtree(job.folder, ignore_errors=True)
            self._running, following, self._waiting = None, self._waiting, None
            if following is not None:
                self._start(following)


def _work(pipe: Connection, job: Job) -> None:
    """The process of a job."""
    end_with_parent()
    from jssr.registration.pipeline import register

    def report(stage: str) -> None:
        pipe.send(("stage", stage))

    try:
        done = register(job.fixed, job.moving, on_stage=report, **job.options)
        report("writing")
        done.save(job.result)
    except JssrError as error:
        pipe.send(("failed", str(error).replace(f"{job.folder}/", "")))  # the browser knows its own names only
    except Exception as error:
        pipe.send(("failed", f"{type(error).__name__}: {error}"))
    else:
        pipe.send(("done", ""))
    finally:
        pipe.close()
