"""Small valid files of every kind that jssr reads, for `benchmarks/fuzz.py` to damage."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.uid import generate_uid
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from jssr.cli import app
from jssr.core.bridges import to_sitk
from jssr.core.transform import Affine, Chain, Displacement
from jssr.core.volume import Points
from jssr.io.cohort import Case, Cohort
from jssr.io.dicom.results import write_segmentation
from jssr.io.images import write_image
from jssr.io.points import write_points
from jssr.io.transforms import write_any
from jssr.io.transforms.base import Images

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
import dicom_objects  # noqa: E402
import dicom_series  # noqa: E402
from tiny_jssr import ball, ball_labels, tiny_recipe, tiny_weights  # noqa: E402

GRID = ball().grid
RAS = np.array([-1.0, -1.0, 1.0])


def make(home: Path, whole: bool = True) -> None:
    """All of them, in the folder `home`; without `whole` not those that take a second each: a study, an evaluation and
    a run."""
    numbers, before = itertools.count(1), dicom_series.generate_uid
    dicom_series.generate_uid = dicom_objects.generate_uid = lambda: generate_uid(entropy_srcs=[str(next(numbers))])
    try:
        home.mkdir(parents=True)
        tiny_weights(home)
        for some in (_images, _pictures, _transforms, _points_and_names, _dicom, _cohorts):
            some(home)
        _results(home, whole)
    finally:
        dicom_series.generate_uid = dicom_objects.generate_uid = before


def _run(*words: object) -> None:
    found = CliRunner().invoke(app, [str(word) for word in words])
    if found.exit_code:
        raise SystemExit(f"{words}: {found.output}")


def _images(home: Path) -> None:
    for name, centre in (("fixed", (0, 0, 0)), ("moving", (6, 0, 0))):
        scan, labels = ball(centre), ball_labels(centre)
        for ending in (".nii.gz", ".nii", ".nrrd", ".mha"):
            write_image(scan, home / f"{name}{ending}", np.int16)
        write_image(scan, home / f"{name}_float.nii.gz", np.float32)
        image = to_sitk(scan.array[None].astype(np.int16), GRID)
        for target in (
            f"{name}.mnc",
            f"{name}.nhdr",
            f"{name}.hdr",
            f"{name}_pair.mhd",
            f"{name}_plain.mha",
            f"{name}_plain.nrrd",
        ):
            sitk.WriteImage(image, str(home / target), useCompression=False)
        write_image(labels, home / f"{name}_labels.nii.gz")
        write_image(labels, home / f"{name}_labels.nrrd")
    seg = to_sitk(ball_labels((6, 0, 0)).array[None], GRID)
    seg.SetMetaData("Segment0_Name", "liver")
    seg.SetMetaData("Segment0_LabelValue", "1")
    sitk.WriteImage(seg, str(home / "moving.seg.nrrd"), useCompression=True)
    for name, (low, high) in {"study/venous": ((0, 0, 0), (0, 0, 0)), "study/arterial": ((6, 0, 0), (6, 0, 0))}.items():
        write_image(ball(low), home / f"{name}.nii.gz", np.int16)
        write_image(ball_labels(high), home / f"{name}_labels.nii.gz")


def _pictures(home: Path) -> None:
    random = np.random.default_rng(0)
    for k, name in enumerate(("fixed", "moving")):
        noise = gaussian_filter(random.normal(size=(64, 60)), 3)
        values = np.clip(110 + 900 * noise + 3 * k, 0, 255).astype(np.uint8)
        for ending in (".png", ".jpg", ".tif"):
            sitk.WriteImage(sitk.GetImageFromArray(values), str(home / f"{name}{ending}"))
        for number in range(2):
            sitk.WriteImage(
                sitk.GetImageFromArray(values + np.uint8(number)), str(_in(home, f"chests/images/{number}.png"))
            )
            mask = (values > 110).astype(np.uint8)
            sitk.WriteImage(sitk.GetImageFromArray(mask), str(_in(home, f"chests/masks/{number}.png")))


def _in(home: Path, name: str) -> Path:
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    return home / name


def _waves() -> np.ndarray:
    at = GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1))
    return np.stack([3 * np.sin(at[..., 1] / 30), 2 * np.cos(at[..., 2] / 30), np.sin(at[..., 0] / 30)], axis=-1)


def _transforms(home: Path) -> None:
    matrix = np.eye(4)
    matrix[:3, 3], matrix[0, 1] = (6.0, 1.0, -2.0), 0.02
    linear, waves, images = Affine(matrix), _waves(), Images(GRID, GRID)
    bent = Displacement.from_millimetres(waves, GRID)
    for name in ("affine.tfm", "affine.mat", "affine.h5", "affine.xfm", "affine.x5"):
        write_any(linear, home / name, images=images)
    for name in ("field.nii.gz", "field.nrrd", "field.mha", "field.h5", "field.tfm", "field.x5"):
        write_any(bent, home / name, images=images)
    write_any(Chain(linear, bent), home / "chain.h5")
    for to in ("flirt", "niftyreg", "greedy", "afni"):
        write_any(linear, home / f"{to}.txt", to, images)
    write_any(linear, home / "elastix.txt", "elastix", images)
    spline = sitk.BSplineTransformInitializer(to_sitk(ball().array[None], GRID), [3, 3, 3])
    spline.SetParameters((np.sin(np.arange(spline.GetNumberOfParameters()))).tolist())
    sitk.WriteTransform(spline, str(home / "spline.tfm"))
    affine = GRID.affine.copy()
    affine[:2] *= -1
    at = GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1))
    for name, values, intent, label in (
        ("y_spm.nii", (at + waves) * RAS, 1007, "Mapping"), ("ras.nii.gz", waves * RAS, 1006, ""),
        ("fnirt.nii.gz", waves, 2006, ""), ("nreg.nii.gz", (at + waves) * RAS, 1007, "NREG_TRANS"),
    ):  # fmt: skip
        shaped = values if intent == 2006 else values[:, :, :, None]
        made = nib.Nifti1Image(shaped.astype(np.float32), affine)
        made.header["intent_code"], made.header["intent_name"] = intent, label
        made.header.set_xyzt_units("mm")
        nib.save(made, home / name)
    dicom_objects.spatial(home / "linear.dcm", [("1.2.3.99", [np.linalg.inv(matrix)])])
    dicom_objects.deformable(home / "bent.dcm", GRID, waves)


def _points_and_names(home: Path) -> None:
    points = Points(np.array([[0.0, 0, 0], [10, 8, 0], [-8, 5, 12]]), ("a", "b", "c"))
    for ending in (".csv", ".mrk.json", ".fcsv", ".pts"):
        write_points(points, home / f"points{ending}")
    (home / "names.json").write_text(json.dumps({"1": "liver", "2": "spleen"}))
    (home / "names.ctbl").write_text("# colours\n0 Background 0 0 0 0\n1 liver 200 100 50 255\n2 spleen 20 10 50 255\n")
    (home / "names.label").write_text('0 0 0 0 0 0 0 "Clear"\n1 255 0 0 1 1 1 "liver"\n2 0 255 0 1 1 1 "spleen"\n')
    (home / "names.csv").write_text("LabelValue,Name\n1,liver\n2,spleen\n")
    (home / "defaults.toml").write_text('[register]\nsystem = "rigid"\nreport = false\n\n[segment]\nthreads = 1\n')


def _dicom(home: Path) -> None:
    for name, centre, number, phase in (("ct_fixed", (0, 0, 0), 3, "venous"), ("ct", (6, 0, 0), 4, "arterial")):
        dicom_series.write_volume(home / name, ball(centre), SeriesNumber=number, SeriesDescription=phase,
                                  AcquisitionTime=f"10{number:02d}00")  # fmt: skip
        dicom_series.write_volume(home / "dicom_study", ball(centre), SeriesNumber=number, SeriesDescription=phase,
                                  AcquisitionTime=f"10{number:02d}00")  # fmt: skip
    headers = [pydicom.dcmread(p) for p in sorted((home / "ct").iterdir())]
    write_segmentation(ball_labels((6, 0, 0)), {1: "liver"}, headers, home / "seg.dcm", "jssr", 7)
    angles = np.linspace(0, 2 * np.pi, 25)[:-1]
    heights = [z for z in GRID.world(np.c_[np.zeros(24), np.zeros(24), np.arange(24)])[:, 2] if abs(z) < 17]
    circles = [
        ("CLOSED_PLANAR", np.c_[6 + np.sqrt(324 - z * z) * np.cos(angles), np.sqrt(324 - z * z) * np.sin(angles),
                                np.full(24, z)]) for z in heights
    ]  # fmt: skip
    dicom_objects.structure_set(home / "rs.dcm", {"liver": circles}, headers)
    at = GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1))
    dicom_objects.dose(home / "rd.dcm", 50 * np.exp(-(at**2).sum(-1) / 1600), GRID)
    dicom_objects.enhanced(home / "enhanced.dcm", ball().array.astype(int), GRID, range(GRID.shape[2]), signed=1)


def _cohorts(home: Path) -> None:
    cases = []
    for number, split in enumerate(("test", "train")):
        case = Case(id=f"c{number}", split=split, images={"venous": f"c{number}/venous.nii.gz"})
        for phase, x in (("venous", 0.0), ("arterial", 6.0 - number)):
            folder = home / "cohort" / case.id
            write_image(ball((x, number, 0)), folder / f"{phase}.nii.gz", np.int16)
            write_image(ball_labels((x, number, 0)), folder / f"{phase}_labels.nii.gz")
            write_points(Points(np.array([[x, 0, 0], [x, 8, 0]]), ("a", "b")), folder / f"{phase}_landmarks.csv")
            case.images[phase] = f"{case.id}/{phase}.nii.gz"
            case.labels[phase] = f"{case.id}/{phase}_labels.nii.gz"
            case.landmarks[phase] = f"{case.id}/{phase}_landmarks.csv"
        cases.append(case)
    Cohort(name="balls", reference_phase="venous", cases=cases, label_names={1: "liver", 2: "spleen"},
           root=home / "cohort").save()  # fmt: skip
    files = [{"image": f"./imagesTr/{k}.nii.gz", "label": f"./labelsTr/{k}.nii.gz"} for k in range(2)]
    for k in range(2):
        write_image(ball((k, 0, 0)), home / "decathlon" / "imagesTr" / f"{k}.nii.gz", np.int16)
        write_image(ball_labels((k, 0, 0)), home / "decathlon" / "labelsTr" / f"{k}.nii.gz")
    described = {"name": "Balls", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}}
    (home / "decathlon" / "dataset.json").write_text(json.dumps({**described, "training": files, "test": []}))


def _results(home: Path, whole: bool) -> None:
    recipe = tiny_recipe().model_dump(mode="json")
    recipe["training"] |= {"patch": [32, 32, 32], "batch": 1}
    (home / "recipe.json").write_text(json.dumps(recipe, indent=1))
    (home / "recipe.toml").write_text(
        'extends = "recipe.json"\nname = "mine"\n[training]\nbatch = 1\nseed = 3\n[training.stages.align]\nsteps = 1\n'
    )
    (home / "recipe.yaml").write_text("extends: recipe.json\nname: mine\ntraining:\n  batch: 1\n  seed: 3\n")
    cheap = ("--system", "rigid", "--threads", 1)
    _run("register", home / "fixed.nii.gz", home / "moving.nii.gz", "-o", home / "result", *cheap)
    _run("prepare", home / "cohort", "-o", home / "prepared", "--spacing", 4, 4, 4, "--no-rigid", "--workers", 1)
    if not whole:
        return
    _run("align", home / "study", "-o", home / "aligned", *cheap)
    _run("evaluate", home / "cohort", "-o", home / "evaluation", *cheap)
    _run("train", home / "recipe.json", "--data", home / "prepared", "-o", home / "run", "--threads", 1)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
