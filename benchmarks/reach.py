"""How far the default reaches: one of two real scans is pulled aside by a smooth bump.

    python benchmarks/reach.py DATA

A pair is aligned as it is, T0. Then the moving scan is read through p + b(p), where b is a Gaussian of 20, 40 or 60 mm
with a standard deviation of at least 45 mm, and aligned anew, T. Where both are right, T + b(T) = T0: what is left is
the error, printed over the body within 1.2 standard deviations. Both pairs are of split "validation" (an arterial and a
venous CT of HCC_015, and the CT of `totalseg` with itself under noise of 20 HU, seed 1).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from jssr.core.resampling import resample
from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.io.images import read_image
from jssr.registration.pipeline import register

PAIRS = {
    "HCC_015": ("hcc_tace_ct/HCC_015_1998-11-01/venous.nii.gz", "hcc_tace_ct/HCC_015_1998-11-01/arterial.nii.gz"),
    "totalseg": ("totalseg/ct.nii.gz", "totalseg/ct.nii.gz"),
}
SIZES = (20.0, 40.0, 60.0)
ALONG = np.array([0.3, 0.2, 1.0]) / np.linalg.norm([0.3, 0.2, 1.0])
NOISE, SEED = 20.0, 1
EVERY = 6
"""Each so many voxels along an axis a point is judged."""


class Bump:
    """A Gaussian bump of `size` mm in the middle of a scan."""

    def __init__(self, scan: Volume, size: float) -> None:
        self.size, self.width = size, max(45.0, 1.3 * size)
        self.middle = scan.grid.world(np.array(scan.grid.shape) / 2)

    def __call__(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Millimetres at points (..., 3) in mm."""
        return self.size * np.exp(-(self.off(at) ** 2) / (2 * self.width**2))[..., None] * ALONG

    def off(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance from the middle."""
        return np.asarray(np.linalg.norm(at - self.middle, axis=-1))

    def moved(self, scan: Volume) -> Volume:
        """The scan read through the bump."""
        every = np.stack(np.meshgrid(*[np.arange(s) for s in scan.grid.shape], indexing="ij"), axis=-1)
        field = Displacement.from_millimetres(self(scan.grid.world(every)), scan.grid)
        return resample(scan, scan.grid, field)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    torch.set_num_threads(1)
    print("| pair | bump, mm | mean error, mm | median | 95th percentile | verdict |\n" + "| --- " * 6 + "|")
    for name, files in PAIRS.items():
        fixed, moving = (read_image(data / file) for file in files)
        if files[0] == files[1]:
            noise = torch.randn(moving.data.shape, generator=torch.Generator().manual_seed(SEED))
            moving = moving.with_data(moving.data + NOISE * noise)
        index = np.stack(np.meshgrid(*[np.arange(0, s, EVERY) for s in fixed.grid.shape], indexing="ij"), axis=-1)
        index = index.reshape(-1, 3)
        index = index[fixed.data[0].numpy()[tuple(index.T)] > -300]  # the body
        points = fixed.grid.world(index)
        goal = register(fixed, moving).displacement(points)
        for size in SIZES:
            bump = Bump(moving, size)
            found = register(fixed, replace(bump.moved(moving), modality="ct"))
            at = found.displacement(points)
            near = (bump.off(goal) < 1.2 * bump.width) & moving.grid.contains(goal)
            error = np.linalg.norm(at + bump(at) - goal, axis=1)[near]
            numbers = error.mean(), np.median(error), np.percentile(error, 95)
            told = " | ".join(f"{number:.2f}" for number in numbers)
            print(f"| {name} | {size:.0f} | {told} | {found.result['quality']['verdict']} |", flush=True)


if __name__ == "__main__":
    main()
