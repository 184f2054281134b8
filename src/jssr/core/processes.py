"""The same job on many items, in a few processes that end when their parent does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

import torch

from jssr.errors import WorkerError

PATIENCE = 5.0
"""Seconds that a process has to clean up once its parent is gone."""

T = TypeVar("T")
R = TypeVar("R")


def in_processes(
    job: Callable[[T], R], items: Sequence[T], workers: int, steady: bool = False, apart: bool = False
) -> Iterator[tuple[T, R]]:
    """Do a job for every item; yields (item, result) as each is done, in whatever order that is.

    Args:
        job: picklable where there is more than one worker, as are items and results.
        items: what it is done for.
        workers: processes, each with one thread of torch. With 1 everything is done in this process, in order.
        apart: even one worker is a process of its own, then with all threads: its memory is that of the job.
        steady: one thread of torch in this process too, so that not a bit depends on the number of workers.

    Raises:
        WorkerError: a worker ended before its work was done.
    """
    if min(workers, len(items)) <= 1 and not apart:
        threads = torch.get_num_threads()
        try:
            for item in items:
                torch.set_num_threads(1 if steady else threads)
                yield item, job(item)
        finally:
            torch.set_num_threads(threads)
        return
    # Spawned, not forked: torch and elastix have threads, and a fork of a process that has used them can hang.
    context = multiprocessing.get_context("spawn")
    count, threads = shared(workers, len(items))
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(threads,)) as pool:
        waiting: dict[Future[R], T] = {}
        try:
            for item in items:
                with _uninterrupted():  # a worker is started here, and inherits it
                    waiting[pool.submit(_do, job, item)] = item
                if len(waiting) >= 2 * workers:  # results of any size are fetched as they come
                    yield from _finished(waiting)
            while waiting:
                yield from _finished(waiting)
        except BrokenProcessPool:
            why = "check whether it was killed or memory is short; fewer workers need less"
            raise WorkerError(f"a worker process ended before its work was done: {why}") from None
        except KeyboardInterrupt:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def shared(workers: int, items: int) -> tuple[int, int]:
    """Processes that share some items, and the threads of each."""
    count = max(1, min(workers, items))
    return count, 1 if count > 1 else torch.get_num_threads()


def _do(job: Callable[[T], R], item: T) -> R:
    """Do a job in a worker; after SIGTERM the worker ends instead of taking the next item."""
    try:
        return job(item)
    except SystemExit as end:  # raised by the handler below: what the job had open has been cleaned up
        sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)


def _begin(threads: int) -> None:
    """Set up a worker: its threads, and an end that lets it clean up."""
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    end_with_parent()


def end_with_parent() -> None:
    """End this process of `multiprocessing` when its parent ends, killed or not.

    A peer may work half an hour on a pair, and nobody would take its result.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)  # compiled code hears no signal
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal: workers ignore it, and their parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _finished(waiting: dict[Future[R], T]) -> Iterable[tuple[T, R]]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        yield waiting.pop(future), future.result()
