"""Structures and a dose carried along a known transform, against formulas, and read back by other programs.

    python benchmarks/carried.py OUT

The moving scan has voxels of 1 x 1 x 3 mm, the fixed one, turned by 7 degrees, 1.2 x 1.1 x 2.5 mm. The transform turns,
stretches by 4 % and shears by a wave that keeps volumes. `jssr.warp` carries an RT Structure Set and an RT Dose of 60
Gy. Prints Markdown tables. plastimatch, rt-utils and dciodvfy are called where they are installed.
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
from scipy.spatial.transform import Rotation
from skimage.draw import polygon2mask

import jssr
from jssr.core.grid import Grid
from jssr.core.transform import Displacement
from jssr.core.volume import volume_of
from jssr.io.dicom.contours import read_structures
from jssr.io.images import read_image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from dicom_objects import dose, structure_set  # noqa: E402
from dicom_series import write_volume  # noqa: E402

MOVING = Grid.of((84, 80, 34), (1.0, 1.0, 3.0), (-42.0, -41.0, -51.0))
FIXED = Grid.of(
    (72, 76, 44), (1.2, 1.1, 2.5), (-40.0, -45.0, -56.0), Rotation.from_euler("z", 7, degrees=True).as_matrix()
)
COARSE = Grid.of((40, 38, 40), 2.5, (-48.0, -47.0, -48.0))
TURN = Rotation.from_euler("xyz", (3, -4, 6), degrees=True).as_matrix() * 1.04
CENTRE, MOST = np.array([1.5, -0.5, 2.0]), 60.0
ANGLES = np.linspace(0, 2 * np.pi, 181)[:-1]
HEIGHTS = MOVING.origin[2] + 3.0 * np.arange(34)
BALLS = {
    "PTV": (21.0, CENTRE),
    "Gland": (12.0, np.array([-12.0, 9.0, -7.0])),
    "Cord": (6.0, np.array([18.0, 10.0, 2.0])),
    "Node": (5.0, np.array([-15.0, 8.0, -9.0])),
}
"""Spheres: radius and centre."""
RING, INNER, REACH = 19.0, 9.0, 25.5
"""Radii of a tube, and how far it reaches from slice 0: between the slices, as contours do."""


def known(p):
    """From the fixed to the moving space."""
    q = p @ TURN.T + [2.0, -3.0, 1.5]
    wave = 1.5 * np.sin(q[..., 1] / 18)
    return q + np.stack([wave, np.zeros_like(wave), np.zeros_like(wave)], axis=-1)


def places(grid):
    return grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))


def circle(radius, centre, z):
    return np.c_[centre[0] + radius * np.cos(ANGLES), centre[1] + radius * np.sin(ANGLES), np.full(180, z)]


def drawn():
    """Name to its contours."""
    made = {
        name: [circle(np.sqrt(r * r - (z - c[2]) ** 2), c, z) for z in HEIGHTS if abs(z - c[2]) < r]
        for name, (r, c) in BALLS.items()
    }
    made["Wall"] = [circle(r, CENTRE, z) for z in HEIGHTS if abs(z) < REACH for r in (RING, INNER)]
    return {name: [("CLOSED_PLANAR", xyz) for xyz in contours] for name, contours in made.items()}


def true_ml():
    """In the fixed space."""
    found = {name: 4 / 3 * np.pi * r**3 for name, (r, _) in BALLS.items()}
    found["Wall"] = np.pi * (RING**2 - INNER**2) * 2 * REACH
    return {name: ml / 1000 / 1.04**3 for name, ml in found.items()}


def off(name, xyz):
    """Distances of carried points from the true surface, in mm of the fixed space."""
    there = known(xyz)
    if name in BALLS:
        radius, centre = BALLS[name]
        return np.abs(np.linalg.norm(there - centre, axis=1) - radius) / 1.04
    there = there[np.abs(there[:, 2]) < REACH - 3]  # without the ends, which contours leave open
    radii = np.linalg.norm(there[:, :2] - CENTRE[:2], axis=1)
    return np.minimum(np.abs(radii - RING), np.abs(radii - INNER)) / 1.04


def gray(p):
    return MOST * np.exp(-((p - CENTRE) ** 2).sum(axis=-1) / (2 * 25.0**2))


def study(out):
    random = np.random.default_rng(0)
    for name, grid, more in (("moving", MOVING, {"FrameOfReferenceUID": "1.2.3.99"}), ("fixed", FIXED, {})):
        scan = volume_of(random.integers(-100, 100, grid.shape).astype(np.float32), grid)
        write_volume(out / name, scan, SeriesInstanceUID=f"1.2.3.{len(name)}", **more)
    headers = [pydicom.dcmread(p) for p in sorted((out / "moving").iterdir())]
    structure_set(out / "rs.dcm", drawn(), headers, frame="1.2.3.99")
    dose(out / "rd.dcm", gray(places(COARSE)), COARSE, 1e-5, FrameOfReferenceUID="1.2.3.99")
    return Displacement.from_millimetres(known(places(FIXED)) - places(FIXED), FIXED)


def by_scikit_image(path):
    """Millilitres by polygons, contours of one slice combined by exclusive or."""
    for one in read_structures(path).structures:
        inside = np.zeros(FIXED.shape, bool)
        for xyz in one.closed:
            at = FIXED.index(xyz)
            inside[..., round(at[0, 2])] ^= polygon2mask(FIXED.shape[:2], at[:, :2])
        yield one.name, inside.sum() * np.prod(FIXED.spacing) / 1000


def by_plastimatch(out):
    words = ["plastimatch", "convert", "--input", out / "carried.dcm", "--referenced-ct", out / "fixed"]
    subprocess.run([*words, "--output-prefix", out / "pm", "--prefix-format", "nrrd"], check=True, capture_output=True)
    for path in (out / "pm").iterdir():
        image = sitk.ReadImage(str(path))
        yield path.stem, (sitk.GetArrayFromImage(image) > 0).sum() * np.prod(image.GetSpacing()) / 1000


def by_rt_utils(out):
    from rt_utils import RTStructBuilder

    read = RTStructBuilder.create_from(dicom_series_path=str(out / "fixed"), rt_struct_path=str(out / "carried.dcm"))
    for name in read.get_roi_names():
        yield name, read.get_roi_mask_by_name(name).sum() * np.prod(FIXED.spacing) / 1000


def doses(out):
    """The carried dose as programs read it: gray, and where its voxels lie."""
    ours, made = read_image(out / "carried_dose.dcm"), pydicom.dcmread(out / "carried_dose.dcm")
    yield "jssr", ours.array, ours.grid
    yield "pydicom", made.pixel_array.T * float(made.DoseGridScaling), ours.grid
    image = sitk.ReadImage(str(out / "carried_dose.dcm"))
    axes = np.array(image.GetDirection()).reshape(3, 3)
    grid = Grid.of(image.GetSize(), image.GetSpacing(), image.GetOrigin(), axes)
    yield "SimpleITK (times Dose Grid Scaling)", sitk.GetArrayFromImage(image).T * float(made.DoseGridScaling), grid
    if shutil.which("plastimatch"):
        words = ["plastimatch", "convert", "--input", out / "carried_dose.dcm", "--output-dose-img", out / "dose.nrrd"]
        subprocess.run(words, check=True, capture_output=True)
        # plastimatch 1.9.4 turns the axes of an oblique dose the other way: its numbers are compared where ours lie.
        yield "plastimatch (numbers alone)", sitk.GetArrayFromImage(sitk.ReadImage(str(out / "dose.nrrd"))).T, ours.grid


def errors_of(path):
    if not shutil.which("dciodvfy"):
        return "not installed"
    said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True).stderr
    return said.count("Error")


def main(out):
    field = study(out)
    jssr.warp(out / "rs.dcm", field, reference=out / "fixed", out=out / "carried.dcm")
    jssr.warp(out / "rd.dcm", field, reference=out / "fixed", out=out / "carried_dose.dcm")
    read = {"scikit-image": dict(by_scikit_image(out / "carried.dcm"))}
    if shutil.which("plastimatch"):
        read["plastimatch"] = dict(by_plastimatch(out))
    if find_spec("rt_utils"):
        read["rt-utils"] = dict(by_rt_utils(out))
    label_map = jssr.warp(out / "rs.dcm", field, reference=out / "fixed")
    ours = {row["name"]: row["ml_after"] for row in label_map.structures}
    true = true_ml()
    head = "| structure | ml | slices | contour points off, mm: 95 of 100, largest | volume over the true one: jssr |"
    print(head, " | ".join(read), "|\n|" + " --- |" * (5 + len(read)))
    for one in read_structures(out / "carried.dcm").structures:
        away = off(one.name, one.every_point)
        slices = len({round(float(FIXED.index(xyz)[0, 2])) for xyz in one.closed})
        shown = f"| {one.name} | {true[one.name]:.2f} | {slices} | {np.percentile(away, 95):.2f}, {away.max():.2f} |"
        volumes = [ours[one.name], *(by[one.name] for by in read.values())]
        print(shown, " | ".join(f"{ml / true[one.name]:.3f}" for ml in volumes), "|")
    print("\n| dose read by | largest difference within 35 mm, % of 60 Gy | largest dose, Gy |\n| --- | --- | --- |")
    for name, values, grid in doses(out):
        at = known(places(grid))
        there = np.linalg.norm(at - CENTRE, axis=-1) < 35
        print(f"| {name} | {100 * np.abs(values - gray(at))[there].max() / MOST:.2f} | {values.max():.2f} |")
    for name in ("carried.dcm", "carried_dose.dcm"):
        print(f"\ndciodvfy, errors in {name}: {errors_of(out / name)}", end="")
    print()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
