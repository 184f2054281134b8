"""A cohort's run killed again and again: is all there in the end, bit for bit, and nothing done twice?

    python benchmarks/kill.py --patients 200 --kills 100 --seed 0 -o kill

Makes small phantoms (three scans each), aligns them undisturbed, then again with SIGKILL at random moments to a worker,
the scheduler and the parent in turn, beginning again each time. Files are compared byte by byte, JSON without the
seconds and the memory that it tells. "Done twice" is a patient begun after it was finished, by the log.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import psutil
import SimpleITK as sitk

PHASES = ("venous", "arterial", "delay")
MOST = 18
"""Voxels of a scan along each axis."""
TARGETS = ("worker", "scheduler", "parent")
TIMED = ("results.csv", "report.html", "index.html", "cohort.csv", "cohort.json", "cohort.parquet", "log.jsonl")
"""Files that hold seconds: their content is compared through result.json."""
TELLS = re.compile(r'"(time_s|peak_memory_mib|seconds|finished|stamp|run|host|outlier|outlier_z)"')


def main() -> int:
    options = parsed()
    options.out.mkdir(parents=True, exist_ok=True)
    cohort = made(options)
    times, calm, out = {}, options.out / "calm", options.out / "killed"
    if command(options, cohort, calm).wait():
        raise SystemExit("the undisturbed run failed")
    times["undisturbed"] = worked(calm)
    shutil.rmtree(out, ignore_errors=True)
    start = time.monotonic()
    kills, begun = killed(options, cohort, out)
    times["killed"] = time.monotonic() - start
    faults = differences(calm, out) + twice(out)
    print(f"\n| | |\n| --- | --- |\n| patients | {options.patients} of 3 scans, {options.distinct} distinct |")
    print(f"| workers | {options.workers} |")
    print("| kills | " + ", ".join(f"{name} {kills[name]}" for name in TARGETS) + f" |\n| runs begun | {begun} |")
    print(f"| undisturbed | {times['undisturbed']:.0f} s |\n| with kills | {times['killed']:.0f} s |")
    print(f"| files that differ, are missing or half-written, patients done twice | {len(faults)} |")
    for fault in faults[:20]:
        print(f"FAULT: {fault}")
    return min(1, len(faults))


def made(options: argparse.Namespace) -> Path:
    """A table of the patients: the middles of `--distinct` phantoms, each under several names, so that aligning one
    takes a second: what is tested is what becomes of the files."""
    phantoms, scans = options.out / "phantoms", options.out / "scans"
    if not (phantoms / "cohort.json").is_file():
        shape = [str(s) for s in options.shape]
        jssr("phantom", phantoms, "--patients", options.distinct, "--seed", options.seed, "--shape", *shape,
             "--phases", ",".join(PHASES), "-q").wait()  # fmt: skip
    homes = sorted(p for p in phantoms.iterdir() if p.is_dir())
    for file in (home / f"{phase}.nii.gz" for home in homes for phase in PHASES):
        image = sitk.ReadImage(str(file))
        size = [min(side, MOST) for side in image.GetSize()]
        first = [(whole - part) // 2 for whole, part in zip(image.GetSize(), size, strict=True)]
        target = scans / file.relative_to(phantoms)
        target.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.RegionOfInterest(image, size, first), str(target))
    table = options.out / "cohort.csv"
    lines = ["patient,phase,image"]
    for k in range(options.patients):
        home = scans / homes[k % len(homes)].name
        lines += [f"q{k:04d},{phase},{(home / phase).relative_to(options.out)}.nii.gz" for phase in PHASES]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--distinct", type=int, default=40)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--between", type=float, default=1.0, help="mean seconds of work before a kill")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shape", type=int, nargs=3, default=(40, 40, 20))
    parser.add_argument("--system", default="rigid", help="of jssr align; discrete takes some 5 times as long")
    parser.add_argument("-o", "--out", type=Path, default=Path("kill"))
    return parser.parse_args()


def jssr(*words: object) -> subprocess.Popen[bytes]:
    """A jssr command in a process group of its own."""
    command = [sys.executable, "-m", "jssr", *map(str, words)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def command(options: argparse.Namespace, cohort: Path, out: Path, scheduler: str = "") -> subprocess.Popen[bytes]:
    where = ["--scheduler", scheduler] if scheduler else ["--workers", options.workers]
    return jssr("align", cohort, "-o", out, *where, "--threads", 1,
                "--system", options.system, "--no-report")  # fmt: skip


class Cluster:
    """A scheduler and workers of their own, as on a cluster: the scheduler can be killed by itself."""

    def __init__(self, workers: int, place: Path) -> None:
        self.file = place / f"scheduler-{time.monotonic_ns()}.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.begin("scheduler", "--scheduler-file", self.file, "--no-dashboard", "--port", 0, "--host", "127.0.0.1")
        while not self.file.exists():
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())["address"]
        self.begin("worker", self.address, "--nworkers", workers, "--nthreads", 1, "--no-dashboard",
                   "--local-directory", place / "dask")  # fmt: skip

    def begin(self, what: str, *words: object) -> None:
        line = [sys.executable, "-m", "distributed.cli.dask_" + what, *map(str, words)]
        self.processes.append(
            subprocess.Popen(line, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        )

    def end(self) -> None:
        for one in self.processes:
            end_all(one)
        self.file.unlink(missing_ok=True)


def end_all(process: subprocess.Popen[bytes]) -> None:
    """End a process with all that it began."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    for one in (process, *family):
        try:
            os.kill(one.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def worked(out: Path) -> float:
    """Seconds from the first patient that was begun to the last that was done."""
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    first, last = (datetime.fromisoformat(json.loads(line)["at"]) for line in (lines[0], lines[-1]))
    return (last - first).total_seconds()


def killed(options: argparse.Namespace, cohort: Path, out: Path) -> tuple[Counter[str], int]:
    """Begin again and again, each time with one kill at a random moment, until the kills are used up; then to the end.

    A run whose worker was killed must go on by itself; it is then ended by SIGTERM, so that the next can begin.
    """
    dice, kills, begun = random.Random(options.seed), Counter[str](), 0
    while True:
        target = TARGETS[kills.total() % 3] if kills.total() < options.kills else ""
        cluster = Cluster(options.workers, options.out) if target == "scheduler" else None
        run = command(options, cohort, out, cluster.address if cluster is not None else "")
        begun += 1
        if target:
            wait_for_work(run, out, progress(out))
            time.sleep(dice.uniform(0, 2 * options.between))
            if run.poll() is None and strike(target, run, cluster, dice):
                kills[target] += 1
                if target == "worker":
                    wait_for_work(run, out, progress(out))
                    run.send_signal(signal.SIGTERM)
        code = run.wait()
        if cluster is not None:
            cluster.end()
        if code == 0:
            return kills, begun
        if not target:
            raise SystemExit(f"the last run, which nobody disturbed, ended with {code}")


def progress(out: Path) -> int:
    log = out / "log.jsonl"
    return log.stat().st_size if log.exists() else 0


def wait_for_work(run: subprocess.Popen[bytes], out: Path, before: int) -> None:
    """Until the run has begun or finished a patient."""
    while run.poll() is None and progress(out) <= before:
        time.sleep(0.02)


def strike(target: str, run: subprocess.Popen[bytes], cluster: Cluster | None, dice: random.Random) -> bool:
    """Kill; False where there was nobody to kill."""
    try:
        if target == "parent":
            run.kill()
        elif target == "scheduler":
            if cluster is None:
                return False
            cluster.processes[0].kill()
        else:
            above = run.pid if cluster is None else cluster.processes[1].pid
            workers = [
                p for p in psutil.Process(above).children(recursive=True) if "spawn_main" in " ".join(p.cmdline())
            ]
            if not workers:
                return False
            dice.choice(workers).kill()
    except psutil.Error:
        return False
    return True


def differences(calm: Path, out: Path) -> list[str]:
    """Files that are not the same in both folders."""
    names = [{str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and p.name != ".lock"}
             for root in (calm, out)]  # fmt: skip
    faults = [f"{name}: only in one" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        if Path(name).name not in TIMED and content(calm / name) != content(out / name):
            faults.append(f"{name}: differs")
    return faults


def content(path: Path) -> object:
    if path.suffix != ".json":
        return path.read_bytes()
    return timeless(json.loads(path.read_text(encoding="utf-8")))


def timeless(data: object) -> object:
    """Data without what tells of time and memory."""
    if isinstance(data, dict):
        return {k: timeless(v) for k, v in data.items() if not TELLS.fullmatch(f'"{k}"')}
    return [timeless(one) for one in data] if isinstance(data, list) else data


def twice(out: Path) -> list[str]:
    """Patients that were begun after they were finished."""
    finished: set[str] = set()
    faults = []
    for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines():
        note = json.loads(line)
        if note["event"] == "begun" and note["patient"] in finished:
            faults.append(f"{note['patient']}: begun at {note['at']}, after it was done")
        if note["event"] == "done":
            finished.add(note["patient"])
    return faults


if __name__ == "__main__":
    shutil.rmtree("dask-scratch-space", ignore_errors=True)
    sys.exit(main())
