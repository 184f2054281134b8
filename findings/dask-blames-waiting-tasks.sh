#!/usr/bin/env bash
# One would guess: where a task ends its worker's process, that task gets the KilledWorker error, which says that the worker
#   died while running it; tasks that had not begun go to another worker.
# What happens: a worker of one thread is sent two tasks, one to run and one to wait. When it dies, the waiting task counts
#   as tried as well. With allowed-failures=0 it fails with the same error, though it never ran. With the default of 3 the
#   waiting uses up one of its four tries.
# Source: distributed/scheduler.py, "remove_worker": every task in WorkerState.processing is counted as suspicious. The
#   second task is sent by "distributed.scheduler.worker-saturation" (1.1, rounded up); with 1.0 and Client.map it is not.
# Who is hurt: whoever runs a cohort, a task for each patient, where one needs too much memory or crashes in compiled code:
#   another patient is reported with it, and looked into in vain.
# Also seen: a result that is done is computed again when the worker that holds it dies, and future.done() turns False
#   again. Dask documents that lost results are computed again; a task that writes files then writes them twice.
# Seen with distributed 2026.8.0, one worker of one thread, six tasks, of which task 0 ends the process:
#   saturation 1.1: ran [0, 2, 3, 4, 5], KilledWorker [0, 1]
#   saturation 1.0: ran [0, 1, 2, 3, 4, 5], KilledWorker [0]
#   done, then its worker died: ran 2 times, done() was [True, False, True]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check distributed==2026.8.0 dask==2026.8.0
cd "$folder"
cat >tasks.py <<'PYTHON'
import logging
import os
import time
from pathlib import Path

import dask
from distributed import Client, LocalCluster, wait
from distributed.scheduler import KilledWorker


def task(number, log):
    with open(log, "a") as file:
        file.write(f"{number}\n")
    if number == 0:
        time.sleep(2)  # until the others were sent
        os._exit(1)
    return number


def ran(log):
    return sorted(int(line) for line in Path(log).read_text().split())


def cluster():
    return LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL)


def main():
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    for saturation, expected in ((1.1, ([0, 2, 3, 4, 5], [0, 1])), (1.0, ([0, 1, 2, 3, 4, 5], [0]))):
        log = f"{os.getcwd()}/{saturation}"
        dask.config.set({"distributed.scheduler.worker-saturation": saturation})
        with cluster() as made, Client(made) as client:
            futures = client.map(task, range(6), log=log, pure=False)
            wait(futures)
            errors = [future.exception() for future in futures]
        killed = [k for k, error in enumerate(errors) if isinstance(error, KilledWorker)]
        assert all("died while running it" in str(errors[k]) for k in killed)
        print(f"saturation {saturation}: ran {ran(log)}, KilledWorker {killed}")
        assert (ran(log), killed) == expected, (ran(log), killed)
    log = f"{os.getcwd()}/again"
    with cluster() as made, Client(made) as client:
        future = client.submit(task, 1, log, pure=False)
        wait(future)
        assert ran(log) == [1]
        seen = [future.done()]
        wait(client.submit(os._exit, 1, pure=False))
        end = time.monotonic() + 60
        while len(seen) < 3 and time.monotonic() < end:
            if future.done() != seen[-1]:
                seen.append(future.done())
            time.sleep(0.02)
        assert future.result() == 1
    print(f"done, then its worker died: ran {len(ran(log))} times, done() was {seen}")
    assert ran(log) == [1, 1] and seen == [True, False, True], (ran(log), seen)


if __name__ == "__main__":
    main()
PYTHON
venv/bin/python tasks.py
