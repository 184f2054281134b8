"""The scans of a study know their phase and, where the cohort's file names it, their modality."""

from __future__ import annotations

import numpy as np

from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.volume import volume_of
from jssr.io.cohort import Case, Cohort
from jssr.io.images import write_image
from jssr.io.study import read_study, study_of


def test_the_cohort_names_the_modality_where_no_header_does(tmp_path):
    scan = volume_of(np.random.default_rng(0).uniform(0, 9, (4, 4, 4)).astype(np.float32), Grid.of((4, 4, 4)))
    write_image(scan, tmp_path / "t1.nii.gz")
    case = Case(id="a", images={"t1": "t1.nii.gz"})
    cohort = Cohort(name="c", reference_phase="t1", cases=[case], modalities={"t1": "mr"}, root=tmp_path)
    study = study_of(cohort, case)
    found = study.volume("t1")
    assert (found.modality, found.phase) == ("mr", "t1") and found.origins["modality"] == "cohort"
    study.images["t1"] = found.known_as("header", modality="ct")
    assert study.volume("t1").modality == "ct"


def test_a_folder_of_a_cohort_takes_the_modalities_of_its_file(tmp_path):
    scan = volume_of(np.random.default_rng(0).uniform(0, 9, (4, 4, 4)).astype(np.float32), Grid.of((4, 4, 4)))
    write_image(scan, tmp_path / "a" / "t1.nii.gz")
    assert read_study(tmp_path / "a").volume("t1").modality is None
    case = Case(id="a", images={"t1": "a/t1.nii.gz"})
    Cohort(name="c", reference_phase="t1", cases=[case], modalities={"t1": "mr"}, root=tmp_path).save()
    found = read_study(tmp_path / "a").volume("t1")
    assert (found.modality, found.origins["modality"]) == ("mr", "cohort")


def test_a_damaged_cohort_above_is_told(tmp_path):
    for phase in ("venous", "arterial"):
        volume = volume_of(np.arange(60, dtype=np.float32).reshape(3, 4, 5), Grid.of((3, 4, 5)))
        write_image(volume, tmp_path / "c0" / f"{phase}.nii.gz")
    with collected() as told:
        read_study(tmp_path / "c0")
    assert told == []
    (tmp_path / "cohort.json").write_text('{"name": "x", ')
    with collected() as told:
        assert set(read_study(tmp_path / "c0").images) == {"venous", "arterial"}
    assert len(told) == 1 and "cohort.json" in told[0] and "not used" in told[0]
