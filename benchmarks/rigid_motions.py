"""The rigid step on known motions: how many are found, and what it costs.

    python benchmarks/rigid_motions.py DATA -o FOLDER                       # 200 motions, ours and elastix
    python benchmarks/rigid_motions.py DATA -o FOLDER --against CHECKOUT    # also the code of another checkout
    python benchmarks/rigid_motions.py DATA -o FOLDER --seeds 0 --subjects HCC_007   # a part

DATA is a folder of scans as `benchmarks/real_scans.py` reads it. `rigid_motion_sets.py` says which scans and motions
there are, and which are for tuning; the others are judged. A motion is found where body points of the fixed scan end
less than `FOUND_MM` from where they should, on average. Seconds are CPU seconds of the step on one thread, scans
already read. The other checkout runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rigid_motion_sets import CLASSES, SUBJECTS, cases
from scipy.spatial.transform import Rotation

from jssr.core.volume import Volume
from jssr.preprocessing.placement import shrink
from jssr.preprocessing.rigid import OverlapError, rigid_align

FOUND_MM = 2.0
HU = (-1024.0, 1000.0)
"""What elastix sees of a CT: metal, and what is no data, would cost it millimetres."""
ELASTIX = ("elastix-small", "elastix-full", "elastix-full-centred")
"""The first sees both scans averaged to `SMALL_MM`, with the settings `QUICK`; the others are elastix's defaults on
whole scans, from the headers or from centre of gravity on centre of gravity."""
SMALL_MM, SLOW_SEEDS = 4.0, 1
"""Of elastix on whole scans, which takes several seconds, only so many motions of each class are run."""
QUICK = {
    "FixedImagePyramid": ("FixedSmoothingImagePyramid",),
    "MovingImagePyramid": ("MovingSmoothingImagePyramid",),
    "NumberOfResolutions": ("2",),
    "ImagePyramidSchedule": ("2", "2", "2", "1", "1", "1"),
    "NumberOfHistogramBins": ("24",),
    "MaximumNumberOfIterations": ("150", "300"),
    "MaximumStepLength": ("8.0", "2.0"),
    "ImageSampler": ("RandomCoordinate",),
    "NewSamplesEveryIteration": ("true",),
    "NumberOfSpatialSamples": ("2000",),
    "RequiredRatioOfValidSamples": ("0.1",),
}
"""What the rigid step of this package had while it was elastix."""
CENTRED = {
    "AutomaticTransformInitialization": ("true",),
    "AutomaticTransformInitializationMethod": ("CenterOfGravity",),
}
Matrix = NDArray[np.float64]
Row = dict[str, Any]


def ours(fixed: Volume, moving: Volume) -> Matrix:
    """The step of the package that is imported; where fields of view do not meet, the headers."""
    try:
        return rigid_align(fixed, moving).transform.matrix
    except OverlapError:
        return np.eye(4)


def elastix(name: str, fixed: Volume, moving: Volume) -> Matrix:
    """elastix's rigid parameter map with mutual information (default: 4 resolutions of 256 iterations, 4096 samples).
    Where it gives up, the headers."""
    from jssr.io.itk_elastix import itk_image, modules
    from jssr.peers.elastix import COMMON, RESOLUTIONS

    small = name == "elastix-small"
    more = QUICK if small else CENTRED if name.endswith("centred") else {}
    parameters, method = modules()
    chosen = parameters.elastixParameterObject.New()
    chosen.AddParameterMap({**dict(chosen.GetDefaultParameterMap("rigid", RESOLUTIONS, 16.0)), **COMMON, **more})
    run = method.itkElastixRegistrationMethodIF3IF3.New()
    scans = [v.with_data(v.data.clamp(*HU)) if v.modality == "ct" else v for v in (fixed, moving)]
    scans = [shrink(v, SMALL_MM) if small else v for v in scans]
    run.SetFixedImage(itk_image(scans[0].array, scans[0].grid))
    run.SetMovingImage(itk_image(scans[1].array, scans[1].grid))
    run.SetParameterObject(chosen)
    run.SetLogToConsole(False)
    run.SetNumberOfThreads(1)
    try:
        run.UpdateLargestPossibleRegion()
    except RuntimeError:  # too few samples fall on the moving scan
        return np.eye(4)
    result = run.GetTransformParameterObject().GetParameterMap(0)
    x, y, z, *shift = (float(v) for v in result["TransformParameters"])
    centre = [float(v) for v in result["CenterOfRotationPoint"]]
    # ITK's Euler3DTransform: R = Rz Rx Ry, x -> R (x - c) + c + t.
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("ZXY", (z, x, y)).as_matrix()
    matrix[:3, 3] = np.add(centre, shift) - matrix[:3, :3] @ centre
    return matrix


def method_of(name: str) -> Callable[[Volume, Volume], Matrix]:
    """A method by its name; elastix's libraries are loaded before anything is timed."""
    if not name.startswith("elastix"):
        return ours
    from jssr.io.itk_elastix import load

    load()
    return partial(elastix, name)


def work(names: Sequence[str], chosen: argparse.Namespace, out: Path) -> None:
    """Some methods on every case: error and CPU seconds of each, written to `out` after every case."""
    torch.set_num_threads(1)
    methods = {name: method_of(name) for name in names}
    found: dict[str, list[Row]] = {name: [] for name in names}
    for case in cases(chosen.data, chosen.seeds, [s for s in SUBJECTS if s.name in chosen.subjects], chosen.kinds):
        before = float(np.linalg.norm(case.points - case.goals, axis=1).mean())
        for name, method in methods.items():
            if name.startswith("elastix-full") and case.seed not in chosen.seeds[:SLOW_SEEDS]:
                continue
            if not found[name]:
                method(case.fixed, case.moving)  # what is imported or set up once
            begin, wall = time.process_time(), time.perf_counter()
            matrix = method(case.fixed, case.moving)
            cpu, wall = time.process_time() - begin, time.perf_counter() - wall
            off = case.points @ matrix[:3, :3].T + matrix[:3, 3] - case.goals
            error = float(np.linalg.norm(off, axis=1).mean())
            found[name].append({"subject": case.subject, "kind": case.kind, "seed": case.seed,
                                "before_mm": round(before, 3), "error_mm": round(error, 4), "cpu_s": round(cpu, 4),
                                "wall_s": round(wall, 4)})  # fmt: skip
        out.write_text(json.dumps(found), encoding="utf-8")


def table(methods: dict[str, list[Row]], tuning: bool) -> list[str]:
    """One row a method: found in each class and in all, the median error of what is found, seconds."""
    names = {s.name for s in SUBJECTS if s.tuning == tuning}
    kinds = list(CLASSES)
    lines = [f"| {'tuning' if tuning else 'judged'} | {' | '.join(kinds)} | all | error of found, mm | CPU, s |",
             f"| --- |{' ---: |' * (len(kinds) + 3)}"]  # fmt: skip
    for method, rows in methods.items():
        own = [r for r in rows if r["subject"] in names]
        if not own:
            continue
        groups = [[r for r in own if r["kind"] == kind] for kind in kinds] + [own]
        found = [f"{sum(r['error_mm'] < FOUND_MM for r in g)} of {len(g)}" for g in groups]
        errors = [r["error_mm"] for r in own if r["error_mm"] < FOUND_MM]
        error = f"{np.median(errors):.3f}" if errors else "-"
        lines.append(f"| {method} | {' | '.join(found)} | {error} | {np.median([r['cpu_s'] for r in own]):.2f} |")
    return lines


def by_subject(methods: dict[str, list[Row]]) -> list[str]:
    """One row a subject: found by each method, of how many."""
    lines = [f"| subject | shows | {' | '.join(methods)} |", f"| --- | --- |{' ---: |' * len(methods)}"]
    for subject in SUBJECTS:
        cells = []
        for rows in methods.values():
            own = [r for r in rows if r["subject"] == subject.name]
            good = sum(r["error_mm"] < FOUND_MM for r in own)
            cells.append(f"{good} of {len(own)}, {np.median([r['cpu_s'] for r in own]):.2f} s" if own else "-")
        if set(cells) != {"-"}:
            lines.append(f"| {subject.name} | {subject.shows} | {' | '.join(cells)} |")
    return lines


def started(names: Sequence[str], chosen: argparse.Namespace, checkout: Path) -> dict[str, list[Row]]:
    """Methods in a process of their own, with the package of a checkout."""
    out = chosen.out / f"{'-'.join(names)}.json"
    command = [sys.executable, __file__, str(chosen.data), "-o", str(chosen.out), "--worker", str(out)]
    command += ["--methods", *names, "--seeds", *map(str, chosen.seeds)]
    command += ["--subjects", *chosen.subjects, "--kinds", *chosen.kinds]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment)
    return json.loads(out.read_text(encoding="utf-8"))


def main() -> None:
    """Run the methods, print the tables and write `rigid_motions.json`."""
    names = [s.name for s in SUBJECTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--against", type=Path, help="another checkout of the repository")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(4)), help="motions of each class")
    parser.add_argument("--subjects", nargs="+", default=names, choices=names)
    parser.add_argument("--kinds", nargs="+", default=list(CLASSES), choices=list(CLASSES))
    known = ["ours", *ELASTIX]
    parser.add_argument("--methods", nargs="+", default=known, choices=[*known, "against"])
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.worker:
        work(chosen.methods, chosen, chosen.worker)
        return
    methods = started(chosen.methods, chosen, Path(__file__).resolve().parents[1])
    if chosen.against:
        methods |= started(["against"], chosen, chosen.against)
    (chosen.out / "rigid_motions.json").write_text(json.dumps(methods, indent=0), encoding="utf-8")
    for lines in (table(methods, False), table(methods, True), by_subject(methods)):
        print("\n".join(lines), end="\n\n")


if __name__ == "__main__":
    main()
