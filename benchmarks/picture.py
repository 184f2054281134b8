"""Makes docs/pictures/overview.jpg: a phantom pair before and after the alignment.

python benchmarks/picture.py docs/pictures/overview.jpg
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image, ImageDraw

import jssr

WIDTH = 280  # pixels of each panel
PLANE = 0.5  # which coronal plane, as a share from the front


def slices(path: Path) -> np.ndarray:
    """A coronal plane of a CT, head up, as grey values of -160 to 240 HU."""
    scan = sitk.ReadImage(str(path), sitk.sitkFloat32)
    plane = sitk.GetArrayFromImage(scan)[::-1, int(PLANE * scan.GetSize()[1])]
    grey = Image.fromarray((np.clip((plane + 160) / 400, 0, 1) * 255).astype(np.uint8))
    height = round(WIDTH * scan.GetSize()[2] * scan.GetSpacing()[2] / (scan.GetSize()[0] * scan.GetSpacing()[0]))
    return np.asarray(grey.resize((WIDTH, height), Image.Resampling.BICUBIC))


def checkerboard(a: np.ndarray, b: np.ndarray, square: int = 30) -> np.ndarray:
    """Squares of two pictures in turn."""
    i, j = np.indices(a.shape) // square
    return np.where((i + j) % 2, a, b)


def main(out: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phantom = [sys.executable, "-m", "jssr", "phantom", str(folder / "cohort"), "--patients", "4", "--seed", "3"]
        subprocess.run(phantom, check=True)
        case = folder / "cohort" / "p0004"
        fixed, moving = case / "venous.nii.gz", case / "non-contrast.nii.gz"
        result = jssr.register(fixed, moving)
        result.save(folder / "out", report=False)
        here = sitk.ReadImage(str(fixed))
        still = sitk.Resample(sitk.ReadImage(str(moving)), here, sitk.Transform(), sitk.sitkLinear, -1024)
        sitk.WriteImage(still, str(folder / "before.nii.gz"))
        a, before, after = slices(fixed), slices(folder / "before.nii.gz"), slices(folder / "out" / "moved.nii.gz")
    panels = {
        "fixed (venous)": a,
        "moving (non-contrast)": before,
        "moved": after,
        "fixed and moving": checkerboard(a, before),
        "fixed and moved": checkerboard(a, after),
    }
    height = a.shape[0]
    sheet = Image.new("L", (len(panels) * (WIDTH + 6) - 6, height + 22), 255)
    draw = ImageDraw.Draw(sheet)
    for n, (title, panel) in enumerate(panels.items()):
        draw.text((n * (WIDTH + 6) + 4, 1), title, fill=0, font_size=15)
        sheet.paste(Image.fromarray(panel), (n * (WIDTH + 6), 22))
    sheet.save(out, quality=85)


if __name__ == "__main__":
    main(sys.argv[1])
