"""Real CT and MR of legs and arms as cohorts: `python projects/legs.py DATA REAL OUT --fold 1`.

OUT/taught has the patients of the other folds (`couples.py`): CT and T1 MR that lie on each other, tumour labels, and
of either scan the other on its grid, as paired ground truth. OUT/judged has those of the fold whose MR `benchmarks/
real_scans.py DATA REAL --sets sts_ctmr` moved by a known map.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from couples import FOLDS, patients, taught

from jssr.core.resampling import resample
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_image, write_image

MODALITIES = {"ct": "ct", "mr": "mr"}
FILES = {"ct": "ct", "mr": "mr_t1"}


def write_taught(data: Path, out: Path, names: list[str]) -> None:
    """The cohort that is learned from."""
    cases = []
    for name in names:
        source, folder = data / "sts_ctmr" / name, out / name
        folder.mkdir(parents=True, exist_ok=True)
        scans = {phase: read_image(source / f"{file}.nii.gz") for phase, file in FILES.items()}
        for phase, other in (("ct", "mr"), ("mr", "ct")):
            write_image(scans[phase], folder / f"{phase}.nii.gz", "int16" if phase == "ct" else None)
            write_image(resample(scans[other], scans[phase].grid), folder / f"{phase}_paired.nii.gz")
            write_image(read_image(source / f"{phase}_gtv.nii.gz", "labels"), folder / f"{phase}_labels.nii.gz")
        files = {
            kind: {phase: f"{name}/{phase}{end}.nii.gz" for phase in FILES}
            for kind, end in (("images", ""), ("labels", "_labels"), ("paired", "_paired"))
        }
        cases.append(Case(id=name, split="train", **files))
    about = {"label_names": {1: "tumour"}, "modalities": MODALITIES}
    Cohort(name="legs", reference_phase="ct", cases=cases, **about).save(out)  # type: ignore[arg-type]


def write_judged(real: Path, out: Path, names: list[str]) -> None:
    """The cohort that is judged: links to what `real_scans.py` made."""
    cohort = Cohort.load(real / "sts_ctmr")
    cases = [case.model_copy(update={"split": "test"}) for case in cohort.cases if case.id in names]
    out.mkdir(parents=True, exist_ok=True)
    for case in cases:
        (out / case.id).unlink(missing_ok=True)
        (out / case.id).symlink_to((cohort.root / case.id).resolve())
    cohort.model_copy(update={"cases": cases}).save(out)


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fold", type=int, choices=range(FOLDS), required=True)
    chosen = parser.parse_args()
    kept = taught(chosen.data, chosen.fold)
    write_taught(chosen.data, chosen.out / "taught", kept)
    write_judged(chosen.real, chosen.out / "judged", [name for name in patients(chosen.data) if name not in kept])


if __name__ == "__main__":
    main()
