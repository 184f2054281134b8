"""How much of the volume of a sphere and of a ring is kept by programs that fill the contours of an RT Structure Set.

    python benchmarks/contours.py OUT

Contours are exact circles, pixels 1 mm, slices 3 mm. plastimatch and rt-utils are called where they are installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from PIL import Image, ImageDraw
from skimage.draw import polygon2mask

from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.volume import volume_of
from jssr.io.dicom.shapes import FAR, contours_of, shape_of

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from dicom_objects import structure_set  # noqa: E402
from dicom_series import write_volume  # noqa: E402

GRID = Grid.of((90, 90, 40), (1.0, 1.0, 3.0), (-45.0, -44.0, -60.0))
HEIGHTS = GRID.origin[2] + 3.0 * np.arange(40)
ANGLES = np.linspace(0, 2 * np.pi, 181)[:-1]
ML = 3 / 1000
TRUE = {
    "sphere20": 4 / 3 * np.pi * 8,
    "sphere5": 4 / 3 * np.pi * 0.125,
    "ring": np.pi * 300 * 45 / 1000,
    "keyhole": np.pi * 300 * 45 / 1000,
}


def circle(radius, height):
    return np.c_[0.3 + radius * np.cos(ANGLES), 0.2 + radius * np.sin(ANGLES), np.full(180, height)]


def drawn():
    balls = {r: [circle(np.sqrt(r * r - z * z), z) for z in HEIGHTS if abs(z) < r] for r in (20, 5)}
    pairs = [(circle(20, z), circle(10, z)[::-1]) for z in HEIGHTS if abs(z) <= 21]
    inner = [(outer, np.roll(hole, 1, axis=0)) for outer, hole in pairs]
    keyholes = [np.concatenate([outer, outer[:1], hole, hole[:1]]) for outer, hole in inner]
    return {"sphere20": balls[20], "sphere5": balls[5], "ring": [c for p in pairs for c in p], "keyhole": keyholes}


def filled(contours, fill):
    """Millilitres of the voxels that `fill` takes, contours of one slice combined by exclusive or."""
    out = np.zeros(GRID.shape, bool)
    for contour in contours:
        at = GRID.index(contour)
        out[..., round(at[0, 2])] ^= fill(at[:, :2])
    return out.sum() * ML


def by_pillow(at):
    image = Image.new("1", GRID.shape[:2])
    ImageDraw.Draw(image).polygon([tuple(p) for p in at], fill=1, outline=1)
    return np.array(image).T.astype(bool)


def ours(contours):
    """Voxels within the shape, and the areas of the contours that are cut from it."""
    distance = resample(shape_of(contours, GRID).distance, GRID, fill=FAR)
    x = [(xyz[:, 0], xyz[:, 1]) for _, xyz in contours_of(distance)]
    return float((distance.array > 0).sum()) * ML, sum(
        abs(a @ np.roll(b, -1) - b @ np.roll(a, -1)) / 2 for a, b in x
    ) * ML


def main(out):
    write_volume(out / "ct", volume_of(np.indices(GRID.shape).sum(axis=0).astype(np.float32), GRID))
    series = [pydicom.dcmread(p) for p in sorted((out / "ct").iterdir())]
    found = drawn()
    named = {name: [("CLOSED_PLANAR", c) for c in contours] for name, contours in found.items()}
    structure_set(out / "rs.dcm", named, series)
    rows = {name: {} for name in found}
    for name, contours in found.items():
        mask, cut = ours(contours)
        fillers = {"scikit-image": lambda at: polygon2mask(GRID.shape[:2], at), "pillow": by_pillow}
        rows[name] = {"ours, voxels": mask, "ours, contours": cut}
        rows[name] |= {program: filled(contours, fill) for program, fill in fillers.items()}
    if shutil.which("plastimatch"):
        command = ["plastimatch", "convert", "--input", out / "rs.dcm", "--referenced-ct", out / "ct"]
        subprocess.run([*command, "--output-prefix", out / "pm", "--prefix-format", "nrrd"], check=True)
        for name in rows:
            image = sitk.ReadImage(str(out / "pm" / f"{name}.nrrd"))
            rows[name]["plastimatch"] = (sitk.GetArrayFromImage(image) > 0).sum() * np.prod(image.GetSpacing()) / 1000
    if find_spec("rt_utils"):
        from rt_utils import RTStructBuilder

        read = RTStructBuilder.create_from(dicom_series_path=str(out / "ct"), rt_struct_path=str(out / "rs.dcm"))
        for name in rows:
            rows[name]["rt-utils"] = read.get_roi_mask_by_name(name).sum() * ML
    for name, row in rows.items():
        print(name, ", ".join(f"{program} {value / TRUE[name]:.4f}" for program, value in row.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
