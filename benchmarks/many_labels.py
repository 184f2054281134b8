"""How long a label map of many labels takes to be pulled through a field and measured: CPU seconds of one thread.

    python benchmarks/many_labels.py DATA

DATA/totalseg/ct_seg117_model.nii.gz (61 labels) is brought to half its spacing, some 11 million voxels, and pulled
through a smooth field (seed 0) of 2 voxels. For an older commit: PYTHONPATH=OLD/src.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.transform import Displacement
from jssr.io.images import read_image
from jssr.metrics.pair import evaluate_pair

T = TypeVar("T")
VOXELS, LENGTH = 2.0, 12.0
"""Standard deviation of the field and of the kernel that smooths it, in voxels."""


def timed(words: str, function: Callable[[], T]) -> T:
    """Call, and print the CPU seconds."""
    began = time.process_time()
    found = function()
    print(f"{words}: {time.process_time() - began:.1f} s")
    return found


def main() -> None:
    """Pull and measure once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    torch.set_num_threads(1)
    coarse = read_image(parser.parse_args().data / "totalseg" / "ct_seg117_model.nii.gz", "labels")
    old = coarse.grid
    grid = Grid.of([2 * s for s in old.shape], old.spacing / 2, tuple(old.origin), old.direction)
    labels = resample(coarse, grid, nearest=True)
    u = ff.smooth(torch.randn(1, 3, *grid.shape, generator=torch.Generator().manual_seed(0)), LENGTH)[0]
    field = Displacement(u / u.std() * VOXELS, grid)
    print(f"{grid.voxels} voxels, {len(labels.data.unique()) - 1} labels")
    moved = timed("pulled", lambda: resample(labels, grid, field))
    timed("measured", lambda: evaluate_pair(labels, moved))


if __name__ == "__main__":
    main()
