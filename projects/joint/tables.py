"""JSSR of bodies and its parts, three seeds each, on phantom patients.

    python projects/joint/tables.py RUNS JUDGED BENCHMARK

RUNS holds the runs of `phantoms.sh` (SYSTEM-SEED), JUDGED is a cohort of one moving phase for each patient, BENCHMARK
what `jssr benchmark JUDGED --run ...` wrote. Prints landmark error and Dice of the warped labels of each system, and
the Dice of its segmentor on both scans; means over seeds, then patients, and JSSR against each part by paired tests
of patients (Wilcoxon, Holm).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jssr import segment
from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.metrics.results import CaseResult, value_of
from jssr.registration.model import load_model
from jssr.report.tables import read_csv

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from seeds import ALIGNED, over_seeds, printed  # noqa: E402

JOINT = "jssr"
SEGMENTED = [("dice", "mean")]
VNET = Path(__file__).with_name("vnet_body.py")
LEAST = 50
"""Voxels that a structure must have in the truth to be judged."""


def segmented(cohort: Cohort, run: Path, method: str) -> Iterator[CaseResult]:
    """Of each patient the mean Dice, in both scans, of the structures that a run's segmentor and the cohort know."""
    alone = run.name.startswith("vnet")
    model = load_model(checkpoint=f"{VNET}:{run}" if alone else run)
    values = {name: value for value, name in cohort.label_names.items()}
    for case in cohort.cases:
        found: list[float] = []
        for phase, path in case.labels.items():
            truth = read_image(cohort.path(path), "labels").array
            made = segment(cohort.image(case, phase), checkpoint=model)
            for value, name in made.label_names.items():
                there = truth == values.get(name, -1)
                if name == "liver":
                    there |= truth == values.get("liver_tumour", -1)
                if there.sum() >= LEAST:
                    mine = made.labels.array == value
                    found.append(2 * float((mine & there).sum()) / float(mine.sum() + there.sum()))
        yield CaseResult(case.id, "both", method, {"dice/mean": float(np.mean(found))})


def main() -> None:
    """Print both tables, and each seed's means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("judged", type=Path)
    parser.add_argument("benchmark", type=Path)
    chosen = parser.parse_args()
    cohort = Cohort.load(chosen.judged)
    aligned = read_csv(chosen.benchmark / "results.csv")
    found: list[CaseResult] = []
    for run in sorted(p for p in chosen.runs.iterdir() if p.is_dir() and not p.name.startswith("jsynr")):
        found += segmented(cohort, run, run.name)
    found += segmented(cohort, Path("body-compact"), "as it was")
    for name in dict.fromkeys(r.method for r in [*aligned, *found]):
        asked = (aligned, "tre", ""), (aligned, "dice", "mean"), (found, "dice", "mean")
        tre, warped, seen = (
            np.mean([value_of(r, *key) for r in rows if r.method == name] or [np.nan]) for rows, *key in asked
        )
        print(f"{name}: TRE {tre:.2f} mm, Dice {100 * warped:.1f} %, segmentor {100 * seen:.1f} %")
    printed("Registration", over_seeds(aligned), ALIGNED, JOINT)
    printed("Segmentation", over_seeds(found), SEGMENTED, JOINT)


if __name__ == "__main__":
    main()
