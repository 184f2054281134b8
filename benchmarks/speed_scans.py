"""The pairs of `speed.py`: real ones, and phantoms of any size. What is made is kept in OUT and used again."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from pathlib import Path

PAIRS = {
    "hcc": ("hcc_tace_ct/HCC_007_1997-12-27/venous.nii.gz", "hcc_tace_ct/HCC_007_1997-12-27/arterial.nii.gz"),
    "eth": ("eth_liver_mr/pair18a/fixed.nii.gz", "eth_liver_mr/pair18a/moving.nii.gz"),
    "phantom": ("phantom/p0001/venous.nii.gz", "phantom/p0001/arterial.nii.gz"),
}
SEED = 77
SHAPE = (192, 160, 96)
"""Of the pair `phantom`."""
PAINTED = 8_000_000
"""Voxels; a larger phantom is not painted but resampled: painting takes 7 seconds a million of voxels."""
SOURCE = (192, 192, 192)
"""Voxels of the phantom that larger ones are resampled from."""


def size_of(text: str) -> str:
    """Three numbers of voxels, as 96x96x96."""
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) >= 16 for part in parts):
        raise argparse.ArgumentTypeError(f"expected three numbers of 16 or more, got {text!r}: write 128x128x64")
    return text


def shape_of(name: str) -> tuple[int, ...] | None:
    """The voxels of each axis of a pair that is named by its size; None of other pairs."""
    parts = name.split("x")
    return tuple(map(int, parts)) if len(parts) == 3 and all(part.isdigit() for part in parts) else None


def painted(folder: Path, shape: tuple[int, ...]) -> tuple[Path, Path]:
    """A phantom in two phases, venous and arterial, painted where it is missing."""
    if not folder.is_dir():
        words = ["--patients", 1, "--seed", SEED, "--shape", *shape, "--phases", "venous,arterial"]
        subprocess.run([sys.executable, "-m", "jssr", "phantom", *map(str, [folder, *words])], check=True)
    return folder / "p0001" / "venous.nii.gz", folder / "p0001" / "arterial.nii.gz"


def resampled(source: Path, out: Path, shape: tuple[int, ...]) -> Path:
    """A scan on a grid of other voxels over the same field of view, linear, int16; made where it is missing."""
    if out.is_file():
        return out
    import numpy as np
    import SimpleITK as sitk

    scan = sitk.ReadImage(str(source), sitk.sitkFloat32)
    ratio = np.array(scan.GetSize()) / np.array(shape)
    spacing = np.array(scan.GetSpacing()) * ratio
    # Fields of view agree, not the centres of the first voxels.
    origin = scan.TransformContinuousIndexToPhysicalPoint(((ratio - 1) / 2).tolist())
    grid = (shape, sitk.Transform(), sitk.sitkLinear, origin, spacing.tolist(), scan.GetDirection())
    made = sitk.Cast(sitk.Round(sitk.Resample(scan, *grid, -1000.0, sitk.sitkFloat32)), sitk.sitkInt16)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"part-{out.name}")
    sitk.WriteImage(made, str(part), True, 1)
    part.rename(out)
    return out


def files_of(name: str, data: Path | None, out: Path) -> tuple[Path, Path]:
    """A pair's files; phantoms are made where they are missing."""
    shape = shape_of(name)
    if name == "phantom":
        return painted(out / "phantom", SHAPE)
    if shape is None:
        if data is None:
            raise SystemExit(
                f"expected the folder DATA for the pair {name}, got none: name it, or take --pairs phantom"
            )
        return data / PAIRS[name][0], data / PAIRS[name][1]
    if math.prod(shape) <= PAINTED:
        return painted(out / f"phantom-{name}", shape)
    sources = painted(out / f"phantom-{'x'.join(map(str, SOURCE))}", SOURCE)
    fixed, moving = (resampled(s, out / f"phantom-{name}" / s.name, shape) for s in sources)
    return fixed, moving
