"""The same job on many items by Dask (dask.org): processes of this machine, or the workers of a cluster.

A worker here is a process with its share of the threads and the memory. One that dies is replaced, and its item tried
again; one that needs more memory than it has ends its item. Items are small, and results are files.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from jssr._version import __version__
from jssr.core.waiting import waiting
from jssr.errors import JssrError, OptionError, WorkerError, requires

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

T = TypeVar("T")
logger = logging.getLogger(__name__)

CONNECT_S = 15.0
"""Seconds that a scheduler, and then its first worker, has to answer."""
LOOK_S = 0.5
"""Seconds between looks at whether the scheduler still answers."""
LOST_S = 60
"""Seconds until a process of this machine that has not come back is started anew; a busy machine starts slowly."""
ALONE_S = 900.0
"""Seconds that the scheduler may be without any worker: a cluster may start others in place of those that ended."""
TRIES = 3
"""Of an item whose worker died: another item's end may have taken it along."""
LEAST_BYTES = 2**28
MEMORY_EVENT = "worker-restart-memory"
"""The topic under which Dask tells that a worker needed more memory than it has."""


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        count: processes of this machine.
        threads: of each; None shares the machine's cores.
        memory: of each, as "2 GiB"; None shares the machine's memory.
        scheduler: address of a Dask scheduler ("tcp://host:8786"), whose workers do it in place of processes here.
    """

    count: int = 1
    threads: int | None = None
    memory: str | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("workers", self.count), ("threads", self.threads)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise OptionError(f"{name}: expected a whole number from 1, got {value!r}")
        if self.memory is not None and memory_bytes(self.memory) < LEAST_BYTES:
            raise OptionError(f"memory: expected at least 256 MiB for each worker, got {self.memory!r}")

    @property
    def threads_each(self) -> int:
        return self.threads or max(1, (os.cpu_count() or 1) // self.count)


class Ended(NamedTuple):
    """Why an item has no result: its worker's end, in words."""

    reason: str


def memory_bytes(words: str) -> int:
    """Bytes of "2 GiB", "1500 MB" or a plain number.

    Raises:
        OptionError: words that are no size.
    """
    requires("cohort", "distributed")
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(words))
    except (ValueError, TypeError, OverflowError):
        raise OptionError(f"memory: expected a size as 2 GiB, got {words!r}") from None


@contextmanager
def connected(workers: Workers) -> Iterator[Client]:
    """Start the processes, or find the cluster, and end with them what was begun.

    Raises:
        WorkerError: no scheduler at the address, no workers, or workers of another version.
    """
    requires("cohort", "distributed")
    import dask
    from distributed import Client, LocalCluster
    from distributed.system import MEMORY_LIMIT

    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what it has to say is told by name here
    if workers.scheduler is not None:
        with _found(workers.scheduler) as client:
            yield client
        return
    each = str(workers.threads_each)
    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": 0,  # tries are counted here
        "distributed.scheduler.worker-ttl": None,  # a clock that jumps is no dead worker; a dead one closes its line
        "distributed.worker.memory.target": False,  # there is nothing to spill: results are files
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.deploy.lost-worker-timeout": f"{LOST_S} s",
        "distributed.admin.tick.limit": "1h",  # compiled code may hold the interpreter for seconds
        "distributed.nanny.pre-spawn-environ": {
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), each),
            **waiting(os.environ),
            "MALLOC_TRIM_THRESHOLD_": str(2**26),
        },
    }
    most = MEMORY_LIMIT // LEAST_BYTES
    if workers.memory is None and workers.count > most:
        raise OptionError(f"workers: expected {most} at most, with 256 MiB of this machine's memory each, got "
                          f"{workers.count}")  # fmt: skip
    place = tempfile.mkdtemp(prefix="jssr-")
    memory = "auto" if workers.memory is None else memory_bytes(workers.memory)
    try:
        with (
            dask.config.set(settings),
            _uninterrupted() as begun,
            _started(lambda: LocalCluster(
                n_workers=workers.count, threads_per_worker=1, processes=True, memory_limit=memory,
                dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False},
                silence_logs=logging.CRITICAL, local_directory=place,
            )) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):  # fmt: skip
            begun()
            yield client
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _started(start: Callable[[], LocalCluster]) -> Iterator[LocalCluster]:
    """Start the processes, and end them with the block. Raises WorkerError where they do not start."""
    from distributed.deploy.spec import close_clusters

    try:
        cluster = start()
    except RuntimeError as error:
        atexit.unregister(close_clusters)  # of a half cluster that only prints tracebacks
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        raise WorkerError("expected processes that start, got none: a script calls this below "
                          'if __name__ == "__main__":') from error  # fmt: skip
    with cluster:
        yield cluster


@contextmanager
def _uninterrupted() -> Iterator[Callable[[], None]]:
    """Processes that are started from here on do not hear Ctrl-C, which a terminal sends to all of them: the parent
    ends them. It hears it when what is given is called; until then it waits."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield lambda: None
        return
    resource_tracker.ensure_running()  # its start, with the first process, would let the signal through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # threads and processes inherit it

    def begun() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield begun
    finally:
        begun()


@contextmanager
def interrupted_once() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt once; while that ends what was begun, it does nothing more."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return

    def first(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _found(address: str) -> Iterator[Client]:
    """A client of a scheduler elsewhere, whose workers can do the work."""
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        said = " ".join(str(error).split())[:160]
        raise WorkerError(f"scheduler: expected a Dask scheduler at {address}, found none: start it, or check the "
                          f"address ({said})") from None  # fmt: skip
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError:
            raise WorkerError(f"{address}: the scheduler has no workers: start some (dask worker {address})") from None
        _check_versions(address, client.run(_version, on_error="return"))
        yield client


def _version() -> str:
    return __version__


def _check_versions(address: str, found: Mapping[str, Any]) -> None:
    """Refuse workers whose jssr is another, or none."""
    for worker, told in found.items():
        if told != __version__:
            got = f"jssr {told}" if isinstance(told, str) else "none that can be imported"
            raise WorkerError(f"{address}: expected jssr {__version__} on every worker, got {got} on {worker}: "
                              "install the same there")  # fmt: skip


def in_cluster(client: Client, job: Callable[[T], Any], items: Iterable[T]) -> Iterator[tuple[T, Any]]:
    """Do a job for every item; yields the item with what the job returned, or with `Ended`, as each is done.

    Items are taken as workers become free, so that a million of them need no more memory than a few. Job, items and
    results are importable on the workers; what the job raises is an error of the program.

    Raises:
        WorkerError: the scheduler is gone.
    """
    waiting: dict[Future, tuple[T, int]] = {}
    rest = iter(items)
    tries: list[tuple[T, int]] = []
    try:
        while True:
            while len(waiting) < _room(client):
                again = tries.pop() if tries else None
                item, count = again if again is not None else (next(rest, None), 0)
                if item is None:
                    break
                future = client.submit(job, item, pure=False)
                waiting[future] = (item, count + 1)
            if not waiting:
                return
            with client.as_current():
                finished = _finished(client, waiting)
            for future in finished:
                item, count = waiting.pop(future)
                outcome = _outcome(client, future)
                if isinstance(outcome, Ended) and count < TRIES and outcome.reason == KILLED:
                    tries.append((item, count))
                else:
                    yield item, outcome
    except JssrError:
        raise
    except Exception as error:
        if isinstance(error, CancelledError) or client.status != "running":  # whatever Dask says of a lost line
            raise WorkerError(GONE) from None
        raise
    finally:
        with suppress(Exception):
            client.cancel(list(waiting), force=True)


def _room(client: Client) -> int:
    """How many items may be with the scheduler at once."""
    info = client.scheduler_info(n_workers=-1).get("workers", {})
    return max(1, sum(int(one.get("nthreads", 1)) for one in info.values()))


def _finished(client: Client, waiting: Iterable[Future]) -> list[Future]:
    """Wait until something is done; tells when the scheduler is gone."""
    from distributed import wait

    pending, seen, told = list(waiting), time.monotonic(), False
    while True:
        with suppress(TimeoutError):
            done = wait(pending, timeout=LOOK_S, return_when="FIRST_COMPLETED").done
            if done:
                return [one for one in pending if one in done]
        if client.status != "running":
            raise WorkerError(GONE)
        if client.scheduler_info(n_workers=-1).get("workers"):
            seen = time.monotonic()
        elif time.monotonic() - seen > ALONE_S:
            raise WorkerError(f"the scheduler has had no workers for {ALONE_S / 60:.0f} minutes; what is done stays: "
                              "start some, and the same command goes on from there")  # fmt: skip
        elif not told and time.monotonic() - seen > LOST_S:
            logger.warning("the scheduler has no workers any more: waiting for some; Ctrl-C ends, what is done stays")
            told = True
        _refill(client)


def _refill(client: Client) -> None:
    """Start those processes of this machine anew that ended while they started: Dask gives them up, and their items
    would wait for ever."""
    cluster: Any = client.cluster
    if cluster is not None and len(client.scheduler_info(n_workers=-1)["workers"]) < len(cluster.worker_spec):
        cluster.scale(len(cluster.worker_spec))


KILLED = "its worker ended each time it was tried: it was killed, or it crashed"
GONE = "the scheduler is gone; what is done stays: the same command goes on from there"


def _outcome(client: Client, future: Future) -> Any:
    """The result of an item, or how its worker ended.

    Raises:
        WorkerError: the scheduler is gone. Whatever the job raised.
    """
    from distributed.scheduler import KilledWorker

    if future.status in ("cancelled", "lost"):
        raise WorkerError(GONE)
    error = future.exception()
    if error is None:
        return future.result()
    if not isinstance(error, KilledWorker):
        if isinstance(error, JssrError):
            raise error
        raise WorkerError(f"a worker failed: {type(error).__name__}: {error}") from error
    worker = error.last_worker.address
    for _, event in client.get_events(MEMORY_EVENT):
        if event.get("worker") == worker:
            used = event["rss"] / 2**30
            return Ended(f"it needs more memory than its worker has: it held {used:.1f} GiB: give --memory, or fewer "
                         "--workers")  # fmt: skip
    return Ended(KILLED)
