"""The files that the commands of docs/how-to/jobs.md read: made from phantoms, or bound to real scans by name."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

import jssr
from jssr.core.volume import volume_of

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

FILES = (
    *("export", "scan", "moving_scan", "RS.dcm", "RD.dcm", "SEG.dcm", "patient", "cohort", "Dataset001_Liver"),
    *("fixed.nii.gz", "moving.nii.gz", "fixed_labels.nii.gz", "moving_labels.nii.gz", "names.ctbl", "4d.nii.gz"),
    *("fixed_mask.nii.gz", "moving_mask.nii.gz", "fixed.mrk.json", "moving.fcsv", "mine.toml"),
    *("baseline.nii.gz", "followup.nii.gz", "ct.nii.gz", "mr.nii.gz", "exhale.nii.gz", "inhale.nii.gz"),
    *("day0.png", "day5.png", "1Warp.nii.gz", "0GenericAffine.mat", "TransformParameters.0.txt", "y_subject.nii"),
    *("flirt.mat", "affine.mat"),
)
"""Files and folders that the jobs read and no job makes."""
SHAPE = (96, 96, 48)
LIVER = 1
PHASES = ("venous", "arterial")
"""Of the patient and the cohort: one pair a patient."""


def make_phantoms(folder: Path) -> None:
    """Make all of `FILES` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    cohort = jssr.make_phantom(folder / "cohort", patients=2, seed=1, shape=SHAPE)
    case = folder / "cohort" / "p0001"
    pairs = {"fixed": "venous", "moving": "arterial", "baseline": "venous", "followup": "delay"}
    for name, phase in pairs.items():
        shutil.copy(case / f"{phase}.nii.gz", folder / f"{name}.nii.gz")
    (folder / "patient").mkdir(exist_ok=True)
    for phase in PHASES:
        shutil.copy(case / f"{phase}.nii.gz", folder / "patient")
    _of_two_phases(folder / "cohort" / "cohort.json")
    _known(folder, case, cohort.label_names)
    _others(folder)
    _transforms(folder)
    _dicom(folder)
    _nnunet(folder)
    (folder / "mine.toml").write_text('[register]\nrefine = 10\nfixed-modality = "ct"\n', encoding="utf-8")
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise SystemExit(f"{folder}: {missing[0]} was not made")
    (folder / "made").touch()


def _of_two_phases(file: Path) -> None:
    """Take the other phases out of a cohort, so that its jobs last minutes."""
    content = json.loads(file.read_text(encoding="utf-8"))
    for case in content["cases"]:
        for part in ("images", "labels", "landmarks", "truth"):
            case[part] = {phase: path for phase, path in case.get(part, {}).items() if phase in PHASES}
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _known(folder: Path, case: Path, names: dict[int, str]) -> None:
    """Labels, masks, a colour table and landmarks of the first pair."""
    for name, phase in {"fixed": "venous", "moving": "arterial"}.items():
        shutil.copy(case / f"{phase}_labels.nii.gz", folder / f"{name}_labels.nii.gz")
        labels = sitk.ReadImage(str(folder / f"{name}_labels.nii.gz"))
        near = sitk.BinaryDilate(labels == LIVER, [3, 3, 2])
        sitk.WriteImage(near, str(folder / f"{name}_mask.nii.gz"))
        points = jssr.Points(*_table(case / f"{phase}_landmarks.csv"))
        jssr.warp(points, np.eye(4), out=folder / {"fixed": "fixed.mrk.json", "moving": "moving.fcsv"}[name])
    rows = ["0 background 0 0 0 0", *(f"{value} {name} 200 {value} 90 255" for value, name in sorted(names.items()))]
    (folder / "names.ctbl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _table(path: Path) -> tuple[list[list[float]], tuple[str, ...]]:
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return [[float(v) for v in row[1:4]] for row in rows], tuple(row[0] for row in rows)


def _others(folder: Path) -> None:
    """CT and MR, two MR scans, two radiographs, a scan of two frames."""
    jssr.make_phantom(folder / "modalities", patients=1, seed=3, shape=SHAPE, phases=("venous", "t1", "t2"))
    case = folder / "modalities" / "p0001"
    for name, phase in {"ct": "venous", "mr": "t1", "exhale": "t1", "inhale": "t2"}.items():
        shutil.copy(case / f"{phase}.nii.gz", folder / f"{name}.nii.gz")
    jssr.make_phantom(folder / "chests", patients=1, seed=4, anatomy="thorax", phases=("visit1", "visit2"))
    for name, visit in {"day0": "visit1", "day5": "visit2"}.items():
        film = jssr.read_image(next((folder / "chests").rglob(f"{visit}.*")))
        values = film.numpy()
        values = np.clip(255 * (values - values.min()) / (values.max() - values.min()), 0, 255)
        jssr.write_image(volume_of(np.rint(values).astype(np.float32), film.grid), folder / f"{name}.png", "uint8")
    scan = nib.load(folder / "moving.nii.gz")
    frames = np.repeat(scan.get_fdata(dtype=np.float32)[..., None], 2, axis=-1)
    nib.save(nib.Nifti1Image(frames, scan.affine), folder / "4d.nii.gz")


def _transforms(folder: Path) -> None:
    """A small shift in the formats of other programs."""
    shift = sitk.AffineTransform(3)
    shift.SetTranslation((1.0, -2.0, 3.0))
    sitk.WriteTransform(shift, str(folder / "0GenericAffine.mat"))
    scan = sitk.ReadImage(str(folder / "fixed.nii.gz"))
    field = sitk.TransformToDisplacementField(
        shift, sitk.sitkVectorFloat64, scan.GetSize(), scan.GetOrigin(), scan.GetSpacing(), scan.GetDirection()
    )
    sitk.WriteImage(field, str(folder / "1Warp.nii.gz"))
    fixed, moving = folder / "fixed.nii.gz", folder / "moving.nii.gz"
    jssr.convert(shift, to="elastix", fixed=fixed, out=folder / "TransformParameters.0.txt")
    jssr.convert(shift, to="flirt", fixed=fixed, moving=moving, out=folder / "flirt.mat")
    jssr.convert(shift, to="greedy", out=folder / "affine.mat")
    image = nib.load(fixed)
    index = np.moveaxis(np.indices(image.shape, dtype=np.float64), 0, -1)
    at = index @ image.affine[:3, :3].T + image.affine[:3, 3] + (-1.0, 2.0, 3.0)  # RAS
    header = nib.Nifti1Header()
    header.set_intent("vector", name="Mapping")  # as SPM's save_def does
    nib.save(nib.Nifti1Image(at[:, :, :, None, :].astype(np.float32), image.affine, header), folder / "y_subject.nii")


def _dicom(folder: Path) -> None:
    """A study of two series with a structure set and a dose of the moving one, and a Segmentation of the fixed one."""
    import pydicom
    from dicom_objects import dose, structure_set
    from dicom_series import write_volume

    from jssr.core.grid import Grid

    scans = {"scan": ("fixed", "venous", 1), "moving_scan": ("moving", "arterial", 2)}
    for place, (name, phase, number) in scans.items():
        volume = jssr.read_image(folder / f"{name}.nii.gz")
        about = {"SeriesNumber": number, "SeriesDescription": phase, "AcquisitionTime": f"10{15 + 10 // number}00"}
        write_volume(folder / place, volume, **about)
        shutil.copytree(folder / place, folder / "export", dirs_exist_ok=True)
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in sorted((folder / "moving_scan").iterdir())]
    liver = jssr.read_image(folder / "moving_labels.nii.gz", "labels")
    inside = liver.grid.world(np.argwhere(liver.numpy() == LIVER))
    middle, turn = inside.mean(axis=0), np.linspace(0, 2 * np.pi, 61)[:-1]
    heights = [z for z in (float(h.ImagePositionPatient[2]) for h in headers) if abs(z - middle[2]) < 25]
    circle = np.c_[25 * np.cos(turn), 25 * np.sin(turn)] + middle[:2]
    drawn = [("CLOSED_PLANAR", np.c_[circle, np.full(60, z)]) for z in heights]
    structure_set(folder / "RS.dcm", {"target": drawn}, headers)
    gray = np.random.default_rng(0).uniform(1, 2, (24, 24, 20))
    dose(folder / "RD.dcm", gray, Grid.of(gray.shape, 8.0, tuple(middle - (92.0, 92.0, 76.0))))
    seg = folder / "segmented"
    jssr.register(folder / "scan", folder / "moving_scan", system="jssr", dicom=True, report=False, out=seg)
    shutil.copy(seg / "jssr_dicom" / "fixed_segmentation.dcm", folder / "SEG.dcm")


def _nnunet(folder: Path) -> None:
    """Raw data of nnU-Net: the venous scans of the cohort and their labels."""
    data = folder / "Dataset001_Liver"
    for part in ("imagesTr", "labelsTr"):
        (data / part).mkdir(parents=True, exist_ok=True)
    cases = sorted((folder / "cohort").glob("p*"))
    for case in cases:
        shutil.copy(case / "venous.nii.gz", data / "imagesTr" / f"{case.name}_0000.nii.gz")
        shutil.copy(case / "venous_labels.nii.gz", data / "labelsTr" / f"{case.name}.nii.gz")
    names = json.loads((folder / "cohort" / "cohort.json").read_text(encoding="utf-8"))["label_names"]
    labels = {"background": 0} | {name: int(value) for value, name in names.items() if int(value)}
    about = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": len(cases), "file_ending": ".nii.gz"}
    (data / "dataset.json").write_text(json.dumps(about), encoding="utf-8")


def bind_real(folder: Path, data: Path) -> None:
    """Links of the names of the page to real scans, as far as they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    liver, films = data / "hcc_tace_ct", data / "cxr_hannover" / "png"
    names = {
        "export": data / "hcc_tace_dicom",
        "patient": liver / "HCC_007_1997-12-27",
        "fixed.nii.gz": liver / "HCC_015_1998-11-01" / "venous.nii.gz",
        "moving.nii.gz": liver / "HCC_015_1998-11-01" / "arterial.nii.gz",
        "baseline.nii.gz": liver / "HCC_007_1997-12-27" / "venous.nii.gz",
        "followup.nii.gz": liver / "HCC_007_1998-03-14" / "venous.nii.gz",
        "ct.nii.gz": data / "sts_ctmr" / "STS_015" / "ct.nii.gz",
        "mr.nii.gz": data / "sts_ctmr" / "STS_015" / "mr_t1.nii.gz",
        "exhale.nii.gz": data / "eth_liver_mr" / "pair23a" / "fixed.nii.gz",
        "inhale.nii.gz": data / "eth_liver_mr" / "pair23a" / "moving.nii.gz",
        "day0.png": films / "b343e657.png",
        "day5.png": films / "53c9be49.png",
    }
    for name, source in names.items():
        if source.exists() and not (folder / name).is_symlink():
            (folder / name).symlink_to(source)
