"""What a perfect registration would score: `python benchmarks/ceiling.py COHORT [SPLIT]`.

Pulls every moving label map of a phantom cohort through its TRUE displacement and measures the liver's Dice with the
fixed labels. It is below 1 because both label maps are sampled on voxels; no method can be expected to beat it. Beside
it the Dice before any registration, and the part of that deficit that the truth leaves.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from jssr.metrics.overlap import dice

from jssr.core.resampling import resample
from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.io.transforms import read_transform


def main(folder: Path, split: str = "all") -> None:
    """Print mean and standard deviation over all pairs."""
    cohort = Cohort.load(folder)
    liver = cohort.structures()["liver"]
    before, after = [], []
    for case in cohort.cases if split == "all" else cohort.split(split):  # type: ignore[arg-type]
        fixed = read_image(cohort.path(case.labels[cohort.reference_phase]), "labels")
        goal = np.isin(fixed.array, liver)
        for phase, truth in case.truth.items():
            moving = read_image(cohort.path(case.labels[phase]), "labels")
            for scores, transform in ((before, None), (after, read_transform(cohort.path(truth)))):
                moved = resample(moving, fixed.grid, transform)
                scores.append(dice(goal, np.isin(moved.array, liver)))
    print(f"{len(after)} pairs; liver Dice before {np.mean(before):.3f} (sd {np.std(before, ddof=1):.3f}), ", end="")
    left = (1 - np.mean(after)) / (1 - np.mean(before))
    print(f"under the truth {np.mean(after):.3f} (sd {np.std(after, ddof=1):.3f}): {left:.2f} of the deficit is left")


if __name__ == "__main__":
    if len(sys.argv) < 2 or "--help" in sys.argv:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:3])
