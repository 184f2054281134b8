from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from jssr.cli.tables import check_tables
from jssr.cohorts.check import CheckReport, check
from jssr.core.grid import Grid
from jssr.core.volume import Points, Volume, volume_of
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_image, write_image
from jssr.io.points import write_points
from jssr.preprocessing.intensity import NO_DATA


@pytest.fixture
def cohort(raw_cohort: Cohort, tmp_path: Path) -> Cohort:
    """A copy that a test may spoil."""
    shutil.copytree(raw_cohort.root, tmp_path / "c")
    return raw_cohort.model_copy(update={"root": tmp_path / "c"}, deep=True)


def _said(report: CheckReport, level: str) -> str:
    return "\n".join(f"{f.case}: {f.what}" for f in report.findings if f.level == level)


def test_a_sound_cohort_passes_and_is_described(raw_cohort: Cohort) -> None:
    report = check(raw_cohort, spacing=(5.0, 5.0, 10.0))
    assert report.ok and not report.findings
    assert report.phases == {"venous": 2, "arterial": 2}
    facts = {(s.case, s.phase): s for s in report.scans}
    reference_phase, other = facts["a", "venous"], facts["a", "arterial"]
    assert (
        reference_phase.shape == (64, 48, 40)
        and reference_phase.spacing == (5.0, 5.0, 5.0)
        and reference_phase.axes == "LPH"
    )
    assert reference_phase.modality == "ct" and reference_phase.labels == (1, 2) and reference_phase.overlap == 1.0
    # 230 of 240 mm in y are 46 of 48 voxels, 180 of 200 mm in z are 36 of 40.
    assert other.overlap == pytest.approx(46 / 48 * 36 / 40)
    # 64 x 48 x 20 voxels; the other grid of 330 x 230 x 180 mm is 66 x 46 x 18.
    assert report.estimate is not None and report.estimate.voxels == 64 * 48 * 20
    assert report.estimate.cache_gb == pytest.approx(2 * (64 * 48 * 20 + 66 * 46 * 18) * 3 / 2**30)


def test_a_prepared_mr_scan_is_no_ct(cohort: Cohort) -> None:
    """It is scaled to -1000..1000, and what was not scanned is marked by a number far below."""
    path = cohort.image(cohort.cases[0], "arterial")
    volume = read_image(path)
    scaled = torch.linspace(-1000, 1000, volume.data.numel()).reshape(volume.data.shape).round()
    scaled[:, :4] = NO_DATA
    write_image(volume.with_data(scaled), path, "int16")
    phases = {"arterial": {"modality": "mr"}, "venous": {"modality": "ct"}}
    (cohort.root / "prepared.json").write_text(json.dumps({"cases": {"a": {"phases": phases}}}))
    facts = {(s.case, s.phase): s for s in check(cohort, spacing=5.0).scans}["a", "arterial"]
    assert facts.modality == "mr" and facts.low > -1000


def test_the_report_is_json_and_a_table(raw_cohort: Cohort) -> None:
    report = check(raw_cohort, spacing=5.0)
    told = json.loads(json.dumps(report.to_dict()))
    assert told["ok"] is True and len(told["scans"]) == 4
    out = io.StringIO()
    Console(width=160, file=out).print(*check_tables(report))
    text = out.getvalue()
    assert "arterial" in text and "0 errors, 0 warnings" in text


def test_files_that_cannot_be_read_are_errors(cohort: Cohort) -> None:
    case = cohort.case("a")
    image, label = cohort.image(case, "arterial"), cohort.path(cohort.case("b").labels["venous"])
    image.write_bytes(image.read_bytes()[:3000])
    label.unlink()
    report = check(cohort)
    assert not report.ok
    errors = _said(report, "error")
    assert str(image) in errors and str(label) in errors and len(report.errors) == 2


def test_labels_and_points_that_do_not_fit(cohort: Cohort) -> None:
    a, b = cohort.case("a"), cohort.case("b")
    shutil.copy(cohort.path(a.labels["arterial"]), cohort.path(a.labels["venous"]))
    labels = read_image(cohort.path(b.labels["venous"]), "labels")
    write_image(labels.with_data(torch.where(labels.data == 2, 77, labels.data)), cohort.path(b.labels["venous"]))
    write_points(Points(np.array([[0.0, 0, 5000]]), ("liver",)), cohort.path(b.landmarks["arterial"]))
    report = check(cohort)
    assert "venous_labels.nii.gz: lies on another grid" in _said(report, "error")
    assert "1 of 1 points lie outside" in _said(report, "error")
    assert "holds the labels [77]" in _said(report, "warning")
    assert "landmarks of different names" in _said(report, "warning")


def test_scans_that_do_not_meet_or_barely(cohort: Cohort) -> None:
    for name, shift in (("a", 5000.0), ("b", 150.0)):
        path = cohort.image(cohort.case(name), "arterial")
        volume = read_image(path)
        affine = volume.grid.affine.copy()
        affine[2, 3] += shift
        write_image(Volume(volume.data, Grid(volume.grid.shape, affine)), path)
    cohort = cohort.model_copy(
        update={"cases": [c.model_copy(update={"labels": {}, "landmarks": {}}) for c in cohort.cases]}
    )
    report = check(cohort)
    assert "does not overlap the reference phase's" in _said(report, "error") and len(report.errors) == 1
    # The z ranges -100..100 and 60..240 share 40 of 200 mm; in y 230 of 240 mm are covered.
    assert "covers only 19 %" in _said(report, "warning")


def test_copies_are_found(cohort: Cohort) -> None:
    a, b = cohort.case("a"), cohort.case("b")
    shutil.copy(cohort.image(a, "venous"), cohort.image(a, "arterial"))
    a = a.model_copy(update={"labels": {}, "landmarks": {}, "truth": {}})
    shutil.copy(cohort.image(a, "venous"), cohort.image(b, "venous"))
    report = check(cohort.model_copy(update={"cases": [a, b]}))
    assert "a: venous and arterial are the same image" in _said(report, "error")
    assert "a: shares an identical image with b" in _said(report, "warning")


def test_phases_and_splits_that_look_wrong(
    make_case: Callable[..., Case], make_cohort: Callable[[Path, list[Case]], Cohort], tmp_path: Path
) -> None:
    one = make_case(tmp_path, "a", split="test")
    image = one.images["arterial"]
    only = one.model_copy(update={"images": {"venous": one.images["venous"], "Arterial": image}, "truth": {}})
    only = only.model_copy(update={"labels": {}, "landmarks": {}})
    other = make_case(tmp_path, "b", split="", seed=9)
    warnings = _said(check(make_cohort(tmp_path, [only, other])), "warning")
    assert "phase Arterial is missing in 1 cases (b)" in warnings
    assert "arterial" in warnings and "are probably one" in warnings
    assert "no case is in the split train" in warnings
    assert "1 cases have no split" in warnings


def test_paired_ground_truth_is_opened_too(cohort: Cohort) -> None:
    case = cohort.case("a")
    scan = read_image(cohort.image(case, "venous"))
    case.paired = {"venous": "a_like.nii.gz", "arterial": "nowhere.nii.gz"}
    other = scan.grid.cropped((0, 0, 0), [n - 2 for n in scan.grid.shape])
    write_image(Volume(scan.data[:, :-2, :-2, :-2], other), cohort.root / "a_like.nii.gz", "int16")
    said = _said(check(cohort), "error")
    assert "another grid than the venous scan that it is paired with" in said
    assert "nowhere.nii.gz" in said


def test_paired_ground_truth_that_looks_like_its_own_scan_is_told(cohort: Cohort) -> None:
    """CT and MR with their paired ground truth exchanged."""
    case = cohort.case("a")
    for phase in ("venous", "arterial"):
        scan = read_image(cohort.image(case, phase))
        mr = scan.with_data((scan.data.clamp(-200, 200) + 200).round())
        write_image(mr if phase == "arterial" else scan, cohort.image(case, phase), "int16")
        for kind, like in (("ct", scan), ("mr", mr)):
            write_image(like, cohort.root / f"{phase}_as_{kind}.nii.gz", "int16")
    case.paired = {"venous": "venous_as_mr.nii.gz", "arterial": "arterial_as_ct.nii.gz"}
    assert "paired ground truth" not in _said(check(cohort), "warning")
    case.paired = {"venous": "venous_as_ct.nii.gz", "arterial": "arterial_as_mr.nii.gz"}
    said = _said(check(cohort), "warning")
    assert "the paired ground truth of venous looks like CT, as venous itself does" in said
    assert "the paired ground truth of arterial looks like MR" in said


def test_a_flat_scan_among_solids_and_points_of_another_dimension_are_said(tmp_path):
    rng = np.random.default_rng(0)
    cases = []
    for name, shape in (("a", (24, 24, 20)), ("b", (24, 24, 1))):
        data = volume_of(rng.normal(0, 100, shape).astype(np.float32), Grid.of(shape, 3.0))
        write_image(data, tmp_path / f"{name}.nii.gz")
        (tmp_path / f"{name}.csv").write_text("name,x,y\nm,1,2\n")
        cases.append({"id": name, "images": {"v": f"{name}.nii.gz"}, "landmarks": {"v": f"{name}.csv"}})
    cohort = Cohort.model_validate({"name": "x", "reference_phase": "v", "cases": cases, "root": tmp_path})
    said = [f.what for f in check(cohort, spacing=3.0).errors]
    assert any("no column z" in what for what in said) and any("is 2D, scans before it are 3D" in what for what in said)
    assert [row["scans"] for row in check(cohort, spacing=3.0).rows()] == ["1"]


def test_masks_that_an_alignment_would_refuse_are_named(cohort: Cohort) -> None:
    case = cohort.cases[0]
    case.masks |= {"venous": case.labels["venous"], "arterial": "empty.nii.gz"}
    labels = read_image(cohort.image(case, "arterial"), "labels")
    write_image(labels.with_data(torch.zeros_like(labels.data, dtype=torch.uint8)), cohort.path("empty.nii.gz"))
    said = _said(check(cohort), "error")
    assert "empty.nii.gz: the arterial mask is empty" in said and "venous" not in said
    case.masks["arterial"] = case.labels["venous"]
    assert "lies on another grid" in _said(check(cohort), "error")
