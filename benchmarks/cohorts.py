"""What the machinery of cohorts costs, how it scales, and patients per hour beside shell loops, on an idle machine.

    python benchmarks/cohorts.py machinery -o OUT      # overhead, memory of the parent to 5,000 patients
    python benchmarks/cohorts.py throughput -o OUT     # 1 and 2 workers, loops round `jssr align` and `elastix`
    python benchmarks/cohorts.py scaling -o OUT        # 1 to 64 simulated workers, task times drawn from measured ones

The work of `machinery` is one small file; that of `scaling` is waiting, a thirtieth of the seconds that `throughput`
measured (OUT/seconds.json).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

FASTER = 30
PARAMETERS = """(FixedInternalImagePixelType "float")
(MovingInternalImagePixelType "float")
(FixedImageDimension 3)
(MovingImageDimension 3)
(UseDirectionCosines "true")
(Registration "MultiResolutionRegistration")
(Interpolator "BSplineInterpolator")
(ResampleInterpolator "FinalBSplineInterpolator")
(Resampler "DefaultResampler")
(Optimizer "AdaptiveStochasticGradientDescent")
(Metric "AdvancedMattesMutualInformation")
(NumberOfHistogramBins 32)
(NumberOfResolutions 4)
(MaximumNumberOfIterations 500)
(NumberOfSpatialSamples 2048)
(NewSamplesEveryIteration "true")
(ImageSampler "RandomCoordinate")
(AutomaticScalesEstimation "true")
(HowToCombineTransforms "Compose")
(WriteResultImage "true")
(ResultImageFormat "nii.gz")
(ResultImagePixelType "short")
"""
"""The settings of elastix's manual, for a rigid and a B-spline step."""
STEPS = {
    "rigid": '(Transform "EulerTransform")\n(AutomaticTransformInitialization "true")\n',
    "bspline": '(Transform "BSplineTransform")\n(FinalGridSpacingInPhysicalUnits 16)\n',
}


def simulated(factor: float, patient: Any, home: Path) -> list[dict[str, Any]]:
    """Wait as long as the patient's note says, and write one file."""
    time.sleep(float(patient.notes.get("seconds", 0)) * factor)
    (home / "moved.txt").write_text(patient.id, encoding="utf-8")
    return [{"scan": "arterial", "verdict": "PASS", "expected_mm": 1.0, "folds_percent": 0.0, "warnings": []}]


def patients_of(out: Path, count: int, seconds: list[float] | None = None, seed: int = 0) -> list[Any]:
    from jssr.io.patients import Patient

    dice, made = random.Random(seed), []
    for k in range(count):
        file = out / "scans" / f"{k % 50}.txt"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"scan {k % 50}", encoding="utf-8")
        notes = {"seconds": str(dice.choice(seconds))} if seconds else {}
        made.append(Patient(f"p{k:05d}", f"line {k}", {"venous": str(file)}, notes=notes))
    return made


def machinery(out: Path) -> None:
    """Overhead for each patient, and the parent's memory, as the cohort grows."""
    import psutil

    from jssr.cohorts import overview
    from jssr.cohorts.batch import run
    from jssr.cohorts.cluster import Workers
    from jssr.cohorts.manifest import Results
    from jssr.report.cohort import write_index

    print("| patients | seconds | overhead of each (ms) | begun again, all done (s) | parent's memory (MiB) |")
    print("| --- | --- | --- | --- | --- |")
    for count in (10, 500, 1000, 2000, 5000):
        home = out / f"machinery-{count}"
        shutil.rmtree(home, ignore_errors=True)
        patients, results = patients_of(out, count), Results(home, {"task": "align", "options": {}})
        most = [0.0]

        def look(*_: object, most: list[float] = most) -> None:
            most[0] = max(most[0], psutil.Process().memory_info().rss / 2**20)

        start = time.monotonic()
        run(patients, partial(simulated, 0.0), results, Workers(2), on_patient=look)
        rows = overview.rows_of(patients, results, {})
        overview.write_tables(rows, home)
        write_index(home / "index.html", rows, {"cohort": "simulated", "task": "align"})
        look()
        took = time.monotonic() - start
        start = time.monotonic()
        run(patients, partial(simulated, 0.0), results, Workers(2))
        again = time.monotonic() - start
        print(f"| {count} | {took:.1f} | {1000 * took / count:.0f} | {again:.1f} | {most[0]:.0f} |", flush=True)


def scaling(out: Path) -> None:
    """Simulated workers: threads of one process that wait, so that what is measured is the scheduling."""
    from jssr.cohorts.batch import run
    from jssr.cohorts.cluster import Workers
    from jssr.cohorts.manifest import Results

    seconds = json.loads((out / "seconds.json").read_text(encoding="utf-8"))
    mean = statistics.fmean(seconds)
    print(
        f"task times: {len(seconds)} measured, mean {mean:.1f} s; simulated {FASTER} times faster, given back as real\n"
    )
    print("| workers | patients | patients per hour | of what the work alone allows |\n| --- | --- | --- | --- |")
    for count in (1, 2, 4, 8, 16, 32, 64):
        number = max(60, 12 * count)
        home = out / f"scaling-{count}"
        shutil.rmtree(home, ignore_errors=True)
        file = out / f"scheduler-{time.monotonic_ns()}.json"
        begin = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--scheduler-file", file, "--no-dashboard",
                 "--port", "0", "--host", "127.0.0.1"]  # fmt: skip
        with subprocess.Popen(list(map(str, begin)), stderr=subprocess.DEVNULL) as scheduler:
            while not file.exists():
                time.sleep(0.05)
            address = json.loads(file.read_text(encoding="utf-8"))["address"]
            worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", str(count),
                      "--no-nanny", "--no-dashboard", "--memory-limit", "0",
                      "--local-directory", str(out / "dask")]  # fmt: skip
            environment = {"PYTHONPATH": str(Path(__file__).parent)}
            with subprocess.Popen(worker, stderr=subprocess.DEVNULL, env={**os.environ, **environment}) as hands:
                patients = patients_of(out, number, seconds)
                work = sum(float(one.notes["seconds"]) for one in patients) / count / FASTER
                results = Results(home, {"task": "align", "options": {}})
                run(patients, partial(simulated, 1 / FASTER), results, Workers(scheduler=address))
                hands.kill()
                scheduler.kill()
        lines = (home / "log.jsonl").read_text(encoding="utf-8").splitlines()
        first, last = (datetime.fromisoformat(json.loads(line)["at"]) for line in (lines[0], lines[-1]))
        took = (last - first).total_seconds()  # so that the start of the processes does not count
        print(f"| {count} | {number} | {3600 * number / took / FASTER:.0f} | {100 * work / took:.0f} % |", flush=True)


def throughput(out: Path, count: int, shape: tuple[int, int, int]) -> None:
    """Patients per hour on this machine."""
    cohort = out / "phantoms"
    if not (cohort / "cohort.json").is_file():
        call("phantom", cohort, "--patients", count, "--seed", 3, "--shape", *shape,
             "--phases", "venous,arterial,delay", "-q")  # fmt: skip
    cases = sorted(p for p in cohort.iterdir() if p.is_dir())[:count]
    print(f"| {len(cases)} patients of 3 scans, {' x '.join(map(str, shape))} | seconds | patients per hour |")
    print("| --- | --- | --- |", flush=True)
    rates: dict[str, float] = {}
    for name in ("1 worker, 2 threads", "2 workers, 1 thread", "loop round jssr align", "loop round elastix"):
        place = out / name.replace(" ", "-").replace(",", "")
        shutil.rmtree(place, ignore_errors=True)
        start = time.monotonic()
        if "worker" in name:
            call("align", cohort, "-o", place, "--workers", name[0], "-q")
        else:
            for case in cases:
                one_by_one(name.split()[2], case, place / case.name)
        rates[name] = 3600 * len(cases) / (time.monotonic() - start)
        print(f"| {name} | {3600 * len(cases) / rates[name]:.0f} | {rates[name]:.0f} |", flush=True)
    manifests = (out / "2-workers-1-thread").glob("*/manifest.json")
    seconds = [json.loads(p.read_text(encoding="utf-8"))["seconds"] for p in manifests]
    (out / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")


def one_by_one(program: str, case: Path, out: Path) -> None:
    """What a shell loop does with one patient."""
    if program == "jssr":
        call("align", case, "-o", out, "-q")
        return
    for phase in ("arterial", "delay"):
        home = out / phase
        home.mkdir(parents=True)
        files = []
        for step, more in STEPS.items():
            files.append(home / f"{step}.txt")
            files[-1].write_text(PARAMETERS + more, encoding="utf-8")
        command = ["elastix", "-f", case / "venous.nii.gz", "-m", case / f"{phase}.nii.gz", "-out", home,
                   "-p", files[0], "-p", files[1]]  # fmt: skip
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)


def call(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "jssr", *map(str, words)], check=True, stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("machinery", "scaling", "throughput"))
    parser.add_argument("--patients", type=int, default=12)
    parser.add_argument("--shape", type=int, nargs=3, default=(96, 96, 48))
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    if options.what == "throughput":
        throughput(out, options.patients, tuple(options.shape))
    else:
        {"machinery": machinery, "scaling": scaling}[options.what](out)


if __name__ == "__main__":
    main()
