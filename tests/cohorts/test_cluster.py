"""Workers: their number, Ctrl-C, and a scheduler that is lost, without starting any."""

from __future__ import annotations

import os
import signal
from concurrent.futures import CancelledError

import pytest

from jssr.cohorts import cluster
from jssr.cohorts.cluster import Workers, in_cluster, interrupted_once
from jssr.errors import OptionError, WorkerError

pytest.importorskip("distributed")


class Lost:
    """A client whose scheduler is lost, as Dask tells it."""

    def __init__(self, status, error=None, workers=None):
        self.status, self.error, self.workers = status, error, workers or {}
        self.cancelled = False

    def scheduler_info(self, n_workers):
        return {"workers": self.workers}

    def submit(self, *args, **options):
        raise self.error

    def cancel(self, *args, **options):
        self.cancelled = True


@pytest.mark.parametrize(("status", "error"), [("running", CancelledError("lost")), ("closed", OSError("closed"))])
def test_a_scheduler_that_is_lost_is_told_in_words(status, error):
    client = Lost(status, error)
    with pytest.raises(WorkerError, match="the scheduler is gone; what is done stays"):
        list(in_cluster(client, str, [1]))
    assert client.cancelled


def test_an_error_of_the_program_stays_one():
    with pytest.raises(ZeroDivisionError):
        list(in_cluster(Lost("running", ZeroDivisionError()), str, [1]))


def test_a_scheduler_that_stays_without_workers_is_told(monkeypatch):
    def nothing(*args, **options):
        raise TimeoutError

    monkeypatch.setattr("distributed.wait", nothing)
    monkeypatch.setattr(cluster, "ALONE_S", 0.0)
    with pytest.raises(WorkerError, match="no workers for 0 minutes"):
        cluster._finished(Lost("running"), [])


@pytest.mark.skipif(not hasattr(os, "kill") or os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_counts_once():
    """While the first one ends what was begun, others do nothing; afterwards all is as it was."""
    before = signal.getsignal(signal.SIGINT)
    ended = False
    with pytest.raises(KeyboardInterrupt), interrupted_once():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            ended = True
    assert ended and signal.getsignal(signal.SIGINT) is before


def test_more_workers_than_memory_are_refused(monkeypatch):
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 2**30)
    with pytest.raises(OptionError, match="4 at most.*got 5"), cluster.connected(Workers(5)):
        pass


@pytest.mark.parametrize("memory", ["nonsense", "-5GiB", "0", "nan", "1e400GiB", "inf", ""])
def test_sizes_that_are_none(memory):
    with pytest.raises(OptionError, match="memory: expected"):
        Workers(memory=memory)
