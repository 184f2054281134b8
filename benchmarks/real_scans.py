"""Cohorts of real scans, one folder a set, for `python benchmarks/real.py` and `jssr benchmark`.

    python benchmarks/real_scans.py DATA OUT                        # every set
    python benchmarks/real_scans.py DATA OUT --sets hcc acdc        # some

`DATA` holds one folder for each source, `OUT/SET/cohort.json` describes the pairs. Files are linked, or written where
they change. Cases of split "validation" are for tuning, those of "test" are judged. A patient is in one split alone,
except where a set has one patient: there the seeds of the known motion differ.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from known_sets import recoloured, sts_ctmr, templates, totalseg_map
from real_case import TEST, VALIDATION, case, link, save

from jssr.core.grid import Grid
from jssr.core.volume import Points, Volume
from jssr.io.images import read_image, write_image
from jssr.io.points import write_points

PROSTATE_PATIENTS = ((0,), (1,), (2,), (3,), (4, 5), (6, 7, 8), (9, 10), (11,))
"""Pairs of one tuple share their MR."""
ONE_EXPOSURE = "51"
"""The two images of this patient are one exposure, cropped twice."""
HIPPOCAMPI, JSRT_PAIRS = 6, 6
"""Pairs in each split."""


def hcc(data: Path, out: Path) -> None:
    """Venous (fixed) and arterial CT of the liver, with landmarks of four groups."""
    _with_points(data / "hcc_tace_ct", out, ("venous", "arterial"), "HCC_015", "ct")


def eth_liver(data: Path, out: Path) -> None:
    """Liver MR in two states of breathing, with landmarks in the liver and outside it."""
    _with_points(data / "eth_liver_mr", out, ("fixed", "moving"), "pair23", "mr")


def _with_points(source: Path, out: Path, phases: tuple[str, str], tuning: str, modality: str) -> None:
    """A cohort of folders that each hold two scans and their landmarks, the fixed scan first.

    Args:
        tuning: what the names of the folders begin with that are for tuning; the others are judged.
    """
    cases = []
    for folder in sorted(p for p in source.iterdir() if p.is_dir()):
        for phase in phases:
            link(folder / f"{phase}.nii.gz", out / folder.name / f"{phase}.nii.gz")
            link(folder / f"{phase}_points.csv", out / folder.name / f"{phase}_landmarks.csv")
        cases.append(case(folder.name, VALIDATION if folder.name.startswith(tuning) else TEST, phases, landmarks=True))
    save(out, cases, phases[0], modalities=dict.fromkeys(phases, modality))


def acdc(data: Path, out: Path) -> None:
    """Hearts: end diastole (fixed) and end systole, with manual labels."""
    cases = []
    for patient in sorted(p for p in (data / "acdc").iterdir() if p.is_dir()):
        for time in ("ED", "ES"):
            link(patient / f"{time}_img.nii.gz", out / patient.name / f"{time}.nii.gz")
            link(patient / f"{time}_seg.nii.gz", out / patient.name / f"{time}_labels.nii.gz")
        split = VALIDATION if patient.name in ("patient001", "patient004") else TEST
        cases.append(case(patient.name, split, ("ED", "ES"), labels=True))
    names = {1: "right_ventricle", 2: "myocardium", 3: "left_ventricle"}
    save(out, cases, "ED", names, {"ED": "mr", "ES": "mr"})


def prostate(data: Path, out: Path) -> None:
    """Ultrasound (fixed) and MR of prostates: the gland, and point-like landmarks. Millimetres are nominal.

    The frames of the source are nominal, so the moving grid is scaled onto the fixed one.
    """
    cases = []
    for number, pairs in enumerate(PROSTATE_PATIENTS):
        for pair in pairs:
            name = f"pair{pair:02d}"
            grid = read_image(data / "mrus_prostate" / "fixed_images" / f"obs{pair:03d}.nii.gz").grid
            for phase, part in (("us", "fixed"), ("mr", "moving")):
                scan, labels, points = _prostate(data / "mrus_prostate", part, pair, grid)
                folder = out / name
                folder.mkdir(parents=True, exist_ok=True)
                write_image(scan, folder / f"{phase}.nii.gz", np.uint8)
                write_image(labels, folder / f"{phase}_labels.nii.gz")
                write_points(points, folder / f"{phase}_landmarks.csv")
            split = VALIDATION if number % 2 == 0 else TEST
            cases.append(case(name, split, ("us", "mr"), labels=True, landmarks=True))
    save(out, cases, "us", {1: "prostate"}, {"us": "us", "mr": "mr"})


def _prostate(data: Path, part: str, pair: int, fixed: Grid) -> tuple[Volume, Volume, Points]:
    """A scan of a pair with its gland and the centres of its landmarks, on its grid scaled onto the fixed one."""
    import nibabel as nib

    image = read_image(data / f"{part}_images" / f"obs{pair:03d}.nii.gz")
    channels = np.asarray(nib.load(data / f"{part}_labels" / f"obs{pair:03d}.nii.gz").dataobj) > 0.5
    scale = np.array(fixed.shape) * fixed.spacing / np.array(image.grid.shape)
    first = fixed.world(np.full(3, -0.5)) + fixed.direction @ (scale / 2)  # the same box of voxel edges
    grid = Grid.of(image.grid.shape, scale.tolist(), first.tolist(), fixed.direction)
    gland = torch.from_numpy(channels[..., 0].astype(np.uint8))[None]
    marks = [np.argwhere(channels[..., k]).mean(axis=0) for k in range(1, channels.shape[-1])]
    names = tuple(f"landmark{k}" for k in range(1, channels.shape[-1]))
    scan = Volume(image.data.float(), grid, name=image.name)
    return scan, Volume(gland, grid, "labels"), Points(grid.world(np.array(marks)), names)


def hippocampus(data: Path, out: Path) -> None:
    """Crops round the hippocampi of different people, with manual labels."""
    source = data / "msd_hippocampus"
    names = sorted(p.name.removesuffix(".nii.gz") for p in (source / "images").iterdir())
    drawn = np.random.default_rng(0).permutation(names)[: 4 * HIPPOCAMPI].reshape(-1, 2)
    cases = []
    for number, pair in enumerate(drawn):
        name = "_".join(str(one).removeprefix("hippocampus_") for one in pair)
        for phase, one in zip(("fixed", "moving"), pair, strict=True):
            link(source / "images" / f"{one}.nii.gz", out / name / f"{phase}.nii.gz")
            link(source / "labels" / f"{one}.nii.gz", out / name / f"{phase}_labels.nii.gz")
        split = VALIDATION if number < HIPPOCAMPI else TEST
        cases.append(case(name, split, ("fixed", "moving"), labels=True))
    save(out, cases, "fixed", {1: "anterior", 2: "posterior"}, {"fixed": "mr", "moving": "mr"})


def brain(data: Path, out: Path) -> None:
    """Two brains with FreeSurfer's labels; judged alone."""
    files = {"fixed": "oasisA_subject_1", "moving": "B_test_scan"}
    values: set[int] = set()
    for phase, stem in files.items():
        link(data / "vxm_brain_pair" / f"{stem}_t1.nii.gz", out / "pair" / f"{phase}.nii.gz")
        link(data / "vxm_brain_pair" / f"{stem}_seg.nii.gz", out / "pair" / f"{phase}_labels.nii.gz")
        values |= set(np.unique(read_image(out / "pair" / f"{phase}_labels.nii.gz", "labels").array).tolist())
    cases = [case("pair", TEST, ("fixed", "moving"), labels=True)]
    save(out, cases, "fixed", {v: f"freesurfer_{v}" for v in sorted(values - {0})}, {"fixed": "mr", "moving": "mr"})


def cxr_jsrt(data: Path, out: Path) -> None:
    """Radiographs of different people, with masks of the lungs and the heart."""
    source = data / "cxr_jsrt_mc_sz" / "JSRT"
    files = {p.stem: p for p in sorted((source / "images").iterdir())}
    drawn = np.random.default_rng(0).permutation(sorted(files))[: 4 * JSRT_PAIRS].reshape(-1, 2)
    cases = []
    for number, pair in enumerate(drawn):
        name = "_".join(pair)
        for phase, one in zip(("fixed", "moving"), pair, strict=True):
            ending = files[one].suffix
            link(files[one], out / name / f"{phase}{ending}")
            link(next((source / "labels").glob(f"{one}.*")), out / name / f"{phase}_labels{ending}")
        split = VALIDATION if number < JSRT_PAIRS else TEST
        cases.append(case(name, split, ("fixed", "moving"), labels=True, ending=ending))
    names = {1: "left_lung", 2: "right_lung", 3: "heart"}
    save(out, cases, "fixed", names, {"fixed": "radiograph", "moving": "radiograph"})


def cxr_gbc(data: Path, out: Path) -> None:
    """Radiographs of one patient each: the first visit (fixed) and every later one, with masks."""
    source = data / "cxr_gbc"
    visits: dict[str, list[str]] = {}
    with (source / "metadata.csv").open(newline="") as file:
        for row in sorted(csv.DictReader(file), key=lambda r: (int(r["patientid"]), float(r["offset"] or 0))):
            visits.setdefault(row["patientid"], []).append(row["filename"])
    several = [p for p, files in visits.items() if len(files) > 1 and p != ONE_EXPOSURE]
    cases = []
    for number, patient in enumerate(several):
        first, *later = visits[patient]
        for k, one in enumerate(later, start=2):
            name = f"patient{patient}_visit{k}"
            for phase, file_name in (("first", first), ("later", one)):
                link(source / "images" / file_name, out / name / f"{phase}.png")
                link(source / "labels" / file_name, out / name / f"{phase}_labels.png")
            split = VALIDATION if number % 2 == 0 else TEST
            cases.append(case(name, split, ("first", "later"), labels=True, ending=".png"))
    names = {1: "right_lung", 2: "left_lung", 3: "mediastinum"}
    save(out, cases, "first", names, {"first": "radiograph", "later": "radiograph"})


SETS: dict[str, Callable[[Path, Path], None]] = {
    "hcc": hcc,
    "eth_liver": eth_liver,
    "totalseg_map": totalseg_map,
    "sts_ctmr": sts_ctmr,
    "acdc": acdc,
    "prostate": prostate,
    "hippocampus": hippocampus,
    "mni": templates,
    "recoloured": recoloured,
    "brain": brain,
    "cxr_jsrt": cxr_jsrt,
    "cxr_gbc": cxr_gbc,
}


def main() -> None:
    """Make the sets that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    chosen = parser.parse_args()
    for name in chosen.sets:
        folder = chosen.out / name
        shutil.rmtree(folder, ignore_errors=True)
        SETS[name](chosen.data.resolve(), folder)
        print(f"{folder / 'cohort.json'}: made", flush=True)


if __name__ == "__main__":
    main()
