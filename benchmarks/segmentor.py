"""The segmentor alone, phase by phase: `python benchmarks/segmentor.py COHORT SPLIT WEIGHTS...`.

Segments every labelled scan of a cohort's split as it is (no synthesis, no registration), on its own grid, and prints
for each weights file the mean Dice of the structures it knows and that of the liver. For joint training against stage 1
give the shipped weights and a checkpoint of a run that was stopped before its joint stage.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from jssr.metrics.overlap import dice

from jssr.evaluation.runner import cases_of
from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.registration.model import load_model
from jssr.registration.pipeline import segment


def main(folder: Path, split: str, weights: list[str]) -> None:
    """Print one Markdown row for each phase: mean (liver) under each weights file."""
    cohort = Cohort.load(folder)
    known = cohort.structures()
    models = [load_model(None, path) for path in weights]
    scores: dict[str, list[list[list[float]]]] = defaultdict(lambda: [[] for _ in models])
    for case in cases_of(cohort, split):
        for phase, path in case.labels.items():
            scan = read_image(cohort.image(case, phase))
            truth = read_image(cohort.path(path), "labels").array
            for model, rows in zip(models, scores[phase], strict=True):
                found = segment(scan, checkpoint=model).array
                rows.append(
                    [
                        dice(found == k, np.isin(truth, known[s]))
                        for k, s in enumerate(model.structures, 1)
                        if s in known
                    ]
                )
    print("| phase | scans | " + " | ".join(weights) + " |")
    print("| --- " * (2 + len(models)) + "|")
    for phase, columns in scores.items():
        shown = [f"{np.nanmean(rows):.3f} ({np.nanmean([row[0] for row in rows]):.3f})" for rows in columns]
        print(f"| {phase} | {len(columns[0])} | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    if len(sys.argv) < 4 or "--help" in sys.argv:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
