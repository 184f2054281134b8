from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from jssr.cohorts.prepare import PREPARED, PrepareOptions, prepare
from jssr.core.notes import collected
from jssr.core.volume import Volume, volume_of
from jssr.errors import CohortError
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_grid, read_image, write_image
from jssr.io.points import read_points
from jssr.io.transforms import read_transform


def _array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T


@pytest.fixture(scope="module")
def prepared(raw_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return prepare(raw_cohort, tmp_path_factory.mktemp("prepared"), PrepareOptions(5.0, workers=2))


def test_every_scan_of_a_case_lies_on_one_grid_as_int16(prepared: Cohort) -> None:
    assert Cohort.load(prepared.root).phases == ("venous", "arterial")
    for case in prepared.cases:
        grids = [read_grid(prepared.path(p)) for p in [*case.images.values(), *case.labels.values()]]
        assert all(grids[0].same_as(g) for g in grids)
        np.testing.assert_allclose(grids[0].spacing, 5.0, rtol=1e-5)
        for path in case.images.values():
            array = _array(prepared.path(path))
            assert array.dtype == np.int16
            assert set(np.unique(array[array < -400])) <= {-32768}
            assert array.max() <= 400


def test_the_other_scan_is_no_data_where_it_did_not_reach(prepared: Cohort) -> None:
    case = prepared.case("a")
    # Turned by 6 degrees, its corners leave a box around the body uncovered; the reference phase covers all of its own.
    assert (_array(prepared.image(case, "venous")) > -32768).all()
    share = (_array(prepared.image(case, "arterial")) == -32768).mean()
    assert 0 < share < 0.2


def test_labels_landmarks_and_truth_move_along(prepared: Cohort) -> None:
    case = prepared.case("a")
    labels = [_array(prepared.path(case.labels[p])) for p in ("venous", "arterial")]
    for value in (1, 2):
        a, b = (x == value for x in labels)
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.93
    points = [read_points(prepared.path(case.landmarks[p])) for p in ("venous", "arterial")]
    # All motion was rigid and is gone but for the aligner's error; the same holds for the truth.
    assert np.linalg.norm(points[0].xyz - points[1].xyz, axis=1).max() < 1.0
    truth = read_transform(prepared.path(case.truth["arterial"]))
    assert np.linalg.norm(truth(points[0].xyz) - points[1].xyz, axis=1).max() < 0.01
    np.testing.assert_allclose(points[0].xyz[0], [-50, -10, 30])


def test_prepared_json_keeps_the_rigid_matrix(prepared: Cohort, raw_cohort: Cohort) -> None:
    told = json.loads((prepared.root / PREPARED).read_text())
    assert told["no_data"] == -32768 and told["window"] == [-200.0, 200.0] and told["spacing"] == [5.0, 5.0, 5.0]
    phases = told["cases"]["a"]["phases"]
    np.testing.assert_array_equal(phases["venous"]["matrix"], np.eye(4))
    raw = [read_points(raw_cohort.path(raw_cohort.case("a").landmarks[p])).xyz for p in ("venous", "arterial")]
    moved = np.c_[raw[0], np.ones(3)] @ np.array(phases["arterial"]["matrix"]).T
    np.testing.assert_allclose(moved[:, :3], raw[1], atol=1.0)
    assert phases["arterial"]["modality"] == "ct" and phases["arterial"]["scale"] is None


def test_finished_cases_are_kept_and_changed_settings_redo_them(raw_cohort: Cohort, tmp_path: Path) -> None:
    only = raw_cohort.model_copy(update={"cases": [raw_cohort.case("b")]})

    def written(spacing: float) -> int:
        prepare(only, tmp_path, PrepareOptions(spacing, rigid=False, workers=1))
        return (tmp_path / "b/venous.nii.gz").stat().st_mtime_ns

    first = written(8.0)
    assert written(8.0) == first
    (tmp_path / "b/arterial.nii.gz").unlink()  # a marker alone is not enough
    second = written(8.0)
    assert second > first
    assert written(9.0) > second


def test_without_rigid_the_truth_keeps_its_length(raw_cohort: Cohort, tmp_path: Path) -> None:
    only = raw_cohort.model_copy(update={"cases": [raw_cohort.case("b")]})
    out = prepare(only, tmp_path, PrepareOptions((6.0, 6.0, 7.0), rigid=False, workers=1))
    case = out.case("b")
    np.testing.assert_allclose(read_grid(out.image(case, "venous")).spacing, [6, 6, 7], rtol=1e-5)
    before, after = (read_transform(c.path(c.case("b").truth["arterial"]))([[10.0, 20.0, 30.0]]) for c in (only, out))
    np.testing.assert_allclose(before, after, atol=0.02)


def test_a_broken_case_is_named_and_can_be_left_out(
    make_case: Callable[..., Case], make_cohort: Callable[[Path, list[Case]], Cohort], tmp_path: Path
) -> None:
    cohort = make_cohort(tmp_path / "raw", [make_case(tmp_path / "raw", n) for n in ("good", "bad")])
    file = cohort.path(cohort.case("bad").images["arterial"])
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(CohortError, match="1 of 2 cases could not be prepared; bad: .*arterial.nii.gz"):
        prepare(cohort, tmp_path / "out", PrepareOptions(9.0, rigid=False, workers=1))
    assert not (tmp_path / "out/cohort.json").exists()
    with collected() as told:
        out = prepare(cohort, tmp_path / "out", PrepareOptions(9.0, rigid=False, workers=1, keep_going=True))
    assert [c.id for c in out.cases] == ["good"]
    assert len(told) == 1 and told[0].startswith("bad was left out: ") and "arterial.nii.gz" in told[0]


def test_labels_on_another_grid_are_refused(
    make_case: Callable[..., Case], make_cohort: Callable[[Path, list[Case]], Cohort], tmp_path: Path
) -> None:
    cohort = make_cohort(tmp_path / "raw", [make_case(tmp_path / "raw", "a")])
    case = cohort.cases[0]
    write_image(read_image(cohort.path(case.labels["arterial"]), "labels"), cohort.path(case.labels["venous"]))
    with pytest.raises(CohortError, match="venous_labels.nii.gz: lies on another grid"):
        prepare(cohort, tmp_path / "out", PrepareOptions(9.0, rigid=False, workers=1))


def test_the_cohort_is_never_written_over(raw_cohort: Cohort) -> None:
    with pytest.raises(CohortError, match="choose another output folder"):
        prepare(raw_cohort, raw_cohort.root, PrepareOptions(5.0, workers=1))


def test_mr_is_stored_by_its_own_limits(tmp_path: Path, study: tuple[Volume, Volume]) -> None:
    grid = study[0].grid
    mr = (study[0].data[0].numpy() + 1100).clip(0, 1500) * 2.0
    write_image(volume_of(mr, grid), tmp_path / "raw/x.nii.gz")
    cohort = Cohort(
        name="mr", reference_phase="t1", cases=[Case(id="x", images={"t1": "x.nii.gz"})], root=tmp_path / "raw"
    )
    out = prepare(cohort, tmp_path / "out", PrepareOptions(6.0, window=None, workers=1))
    array = _array(out.image(out.cases[0], "t1"))
    assert array.min() == -1000 and array.max() == 1000
    assert json.loads((out.root / PREPARED).read_text())["cases"]["x"]["phases"]["t1"]["scale"] == 1000


def test_paired_ground_truth_moves_with_their_scans(raw_cohort: Cohort, tmp_path: Path) -> None:
    """Paired ground truth that is the scan itself, brighter, stays that after its rigid motion."""
    case = raw_cohort.case("a").model_copy(deep=True)
    for phase, path in case.images.items():
        volume = read_image(raw_cohort.path(path))
        write_image(volume.with_data(volume.data + 10), raw_cohort.root / f"a_{phase}_paired.nii.gz", "int16")
        case.paired[phase] = f"a_{phase}_paired.nii.gz"
    cohort = raw_cohort.model_copy(update={"cases": [case]})
    made = prepare(cohort, tmp_path / "ready", PrepareOptions(5.0, workers=1))
    (ready,) = made.cases
    for phase in ready.images:
        own, like = _array(made.image(ready, phase)), _array(made.path(ready.paired[phase]))
        inner = (own > -380) & (own < 380)  # what is clipped at the window's ends is as bright as it can be
        assert np.abs(like[inner].astype(int) - own[inner] - 10).max() <= 1
        assert ((like == -32768) == (own == -32768)).all()
    other = read_grid(raw_cohort.path(case.images["venous"])).respaced(9)
    write_image(
        volume_of(np.indices(other.shape).sum(0).astype(np.int16), other),
        raw_cohort.root / "a_venous_paired.nii.gz",
        "int16",
    )
    with pytest.raises(CohortError, match="another grid than the venous scan that it is paired with"):
        prepare(cohort, tmp_path / "again", PrepareOptions(5.0, workers=1))
