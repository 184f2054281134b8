"""What joint training is given: `projects/joint`."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from project_files import PROJECTS, project

from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.phantom.regions import Tissue
from jssr.recipes.load import build_system, load_recipe

JOINT = PROJECTS / "joint"


def test_pictures_are_a_labelled_cohort(tmp_path, monkeypatch):
    pictures = project("joint_pictures", "joint/pictures.py")
    body = np.full((90, 80, 200), int(Tissue.MUSCLE), dtype=np.uint8)
    body[10:40, 20:60] = int(Tissue.LIVER)
    np.savez_compressed(tmp_path / "000.npz", tissue=body)
    monkeypatch.setattr(pictures.painted, "bodies", lambda out, count: [tmp_path / "000.npz"])
    monkeypatch.setattr(pictures, "MARGIN", -48)
    monkeypatch.setattr(sys, "argv", ["pictures.py", str(tmp_path / "out"), "--count", "6", "--seed", "3"])
    (tmp_path / "out").mkdir()
    pictures.main()
    cohort = Cohort.load(tmp_path / "out")
    assert cohort.reference_phase == "painted" and cohort.label_names[1] == "liver" and len(cohort.cases) == 6
    found = set()
    for case in cohort.cases:
        scan = read_image(cohort.image(case, "painted"))
        labels = read_image(cohort.root / case.labels["painted"], "labels")
        assert scan.grid.same_as(labels.grid) and np.allclose(scan.grid.spacing, 3.0)
        low, high = float(scan.array.min()), float(scan.array.max())
        assert (low >= -200 and high <= 200) if low < 0 else high <= 1000
        found |= set(np.unique(labels.array).tolist())
    assert found == {0, 1}  # what is no liver here is muscle, which is no structure


@pytest.mark.parametrize(("without", "left"), [(None, ["A_1", "A_2", "B_1"]), ("A", ["B_1"])])
def test_real_scans_are_a_cohort_without_labels(tmp_path, monkeypatch, without, left):
    target = project("joint_target", "joint/target.py")
    for study, names in {
        "A_1": ("pre", "arterial", "venous"),
        "A_2": ("venous",),
        "B_1": ("arterial", "venous"),
    }.items():
        folder = tmp_path / "data" / "hcc_tace_ct" / study
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.nii.gz").write_bytes(name.encode())
    more = [] if without is None else ["--without", without]
    monkeypatch.setattr(sys, "argv", ["target.py", str(tmp_path / "data"), str(tmp_path / "out"), *more])
    target.main()
    cohort = Cohort.load(tmp_path / "out")
    assert [case.id for case in cohort.cases] == left and not any(case.labels for case in cohort.cases)
    first = cohort.cases[0]
    phases = ["non-contrast", "arterial", "venous"] if without is None else ["arterial", "venous"]
    assert list(first.images) == phases
    assert cohort.image(first, "venous").read_bytes() == b"venous"  # a link to the scan itself


@pytest.mark.parametrize(
    ("name", "networks", "terms"),
    [
        ("jsegr", {"Phi", "S"}, {"smooth", "cons", "sup", "sup_ce"}),
        ("jsynr", {"G", "Phi", "D"}, {"critic", "reg", "ncc", "smooth", "gan"}),
        ("vnet", {"S"}, {"sup", "sup_ce"}),
    ],
)
def test_the_parts_are_taught_as_long_as_the_whole(name, networks, terms):
    part, full = load_recipe(str(JOINT / f"{name}_body.py")), load_recipe("jssr-body")
    assert set(build_system(part).networks) == networks
    last = part.training.stages[-1]
    assert set(last.weights) == terms and last.steps == full.training.stage("joint").steps
    assert part.training.patch == full.training.patch and part.training.clip_by == "network"
