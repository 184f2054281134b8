from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.io.points import read_points
from jssr.io.transforms import read_transform
from jssr.phantom.protocol import TARGET_PROTOCOL, Extent, draw_views
from jssr.phantom.scanner import Scanner
from jssr.phantom.study import Study, Subject, assemble, make_study, stream
from jssr.phantom.writer import write_cohort

PHASES = ("venous", "arterial")
SMALL = (40, 40, 20)
CRUDE = 5.0
SPLITS = {"train": 0.5, "test": 0.5}


@pytest.fixture(scope="module")
def moved(toy) -> Study:  # type: ignore[no-untyped-def]
    """The toy patient, scanned twice on different grids."""
    values = np.select([toy.labels == 1, toy.tissue > 0], [110.0, 0.0], -1000.0).astype(np.float32)
    subject = Subject(
        toy.grid, toy.labels, toy.landmarks, toy.cavity_depth, toy.mobility, lambda phase, rng: values.copy()
    )
    grids = {
        "venous": Grid.of((100, 80, 60), (3.8, 3.6, 4.0), (-188.0, -142.0, -118.0)),
        "delay": Grid.of((96, 80, 58), (3.9, 3.7, 4.1), (-186.0, -147.0, -124.0)),
    }
    scanners = {p: Scanner(g, blur=0.0, thickness=0.0, noise=0.0) for p, g in grids.items()}
    return assemble("toy", subject, scanners, (2, "toy"))


@pytest.fixture(scope="module")
def study() -> Study:
    return make_study(4, 0, shape=SMALL, phases=PHASES, reference_mm=CRUDE)


def dice(first: np.ndarray, second: np.ndarray) -> float:  # type: ignore[type-arg]
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def test_truth_brings_the_labels_back(moved: Study) -> None:
    fixed = moved.labels["venous"].array == 1
    grid = moved.labels["venous"].grid
    before = resample(moved.labels["delay"], grid).array == 1
    after = resample(moved.labels["delay"], grid, moved.truth["delay"]).array == 1
    assert dice(fixed, after) >= 0.97
    assert dice(fixed, before) < dice(fixed, after) - 0.01


def test_truth_brings_the_image_back(moved: Study) -> None:
    grid = moved.images["venous"].grid
    liver = moved.labels["venous"].array == 1
    apart = [
        np.abs(resample(moved.images["delay"], grid, t).array - moved.images["venous"].array)[liver].mean()
        for t in (None, moved.truth["delay"])
    ]
    assert apart[1] < 0.35 * apart[0]


def test_truth_carries_the_landmarks(moved: Study, study: Study) -> None:
    for one, phase in ((moved, "delay"), (study, "arterial")):
        start, end = one.landmarks[one.reference_phase], one.landmarks[phase]
        assert start.names == end.names
        assert len(start) >= 3
        assert np.abs(one.truth[phase](start.xyz) - end.xyz).max() < 0.05


def test_no_folds(moved: Study, study: Study) -> None:
    for truth in (moved.truth["delay"], study.truth["arterial"]):
        assert float(ff.jacobian_determinant(truth.u[None]).min()) > 0


def test_what_a_study_holds(study: Study) -> None:
    assert study.reference_phase == "venous"
    assert set(study.truth) == {"arterial"}
    for phase in PHASES:
        image = study.images[phase]
        assert image.grid.shape == SMALL
        assert image.data.min() >= -1024 and image.data.max() <= 3071
        assert np.array_equal(image.array, np.round(image.array))
        labels = study.labels[phase].array
        assert labels.dtype == np.uint8
        assert {1, 2, 8, 12, 15} <= set(np.unique(labels).tolist()) <= {0, *study.label_names}
    aorta = {p: np.median(study.images[p].array[study.labels[p].array == 8]) for p in PHASES}
    assert aorta["arterial"] > aorta["venous"] + 40


def test_a_phase_does_not_depend_on_the_others(study: Study) -> None:
    alone = make_study(4, 0, shape=SMALL, phases=("venous",), reference_mm=CRUDE)
    assert np.array_equal(alone.images["venous"].array, study.images["venous"].array)
    assert not alone.truth


def test_streams_differ_by_every_part_of_the_key() -> None:
    draws = {float(stream(*key).random()) for key in ((1, "a"), (1, "b"), (2, "a"), (1, "a", "a"), (1, 2), (2, 1))}
    assert len(draws) == 6


@pytest.mark.parametrize(
    "wrong",
    [
        {"phases": ("portal",)},
        {"phases": ("venous", "venous")},
        {"population": "mice"},
        {"shape": (64, 64)},
        {"shape": (1, 64, 64)},
    ],
)
def test_wrong_arguments_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="got"):
        make_study(0, 0, **wrong)  # type: ignore[arg-type]


def test_fields_of_view_hold_the_liver_and_differ() -> None:
    body, liver = np.array([[-170.0, -110, -180], [170, 120, 180]]), np.array([[-120.0, -80, -60], [60, 70, 110]])
    whole = np.array([[-200.0, -150, -180], [200, 150, 180]])
    for seed in range(20):
        streams = {p: stream(seed, p) for p in ("arterial", "venous", "delay")}
        views = draw_views(stream(seed), streams, Extent(body, liver, whole), (128, 128, 64), TARGET_PROTOCOL)
        ends = np.array([grid.corners()[[0, -1], 2] for grid, _ in views.values()])
        assert (ends[:, 0] < -55).all() and (ends[:, 1] > 100).all()
        assert (np.ptp(ends, axis=0) < 34).all()
        assert ends.min() >= -180 and ends.max() <= 180
        assert np.ptp(ends, axis=0).max() > 0.5
    thick = draw_views(stream(0), {"venous": stream(1)}, Extent(body, liver, whole), (64, 64, 64), TARGET_PROTOCOL, 5.0)
    assert thick["venous"][0].spacing[2] == 5.0


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    out = tmp_path_factory.mktemp("two")
    return write_cohort(out, 2, 4, shape=SMALL, phases=PHASES, workers=2, splits=SPLITS, reference_mm=CRUDE)


def test_bytes_depend_on_seed_and_patient_alone(cohort: Cohort, tmp_path: Path) -> None:
    write_cohort(tmp_path, 1, 4, shape=SMALL, phases=PHASES, workers=1, reference_mm=CRUDE)
    one, two = digests(tmp_path / "p0001"), digests(cohort.root / "p0001")
    assert len(one) == 8
    assert one == two
    assert digests(cohort.root / "p0002") != two


def test_cohort_reads_back(cohort: Cohort, study: Study) -> None:
    again = Cohort.load(cohort.root)
    assert [(c.id, c.split) for c in again.cases] == [("p0001", "train"), ("p0002", "test")]
    assert again.structures()["liver"] == (1, 16)
    case = again.cases[0]
    image = read_image(again.path(case.images["arterial"]))
    assert np.array_equal(image.array, study.images["arterial"].array)
    assert image.grid.same_as(study.images["arterial"].grid)
    assert np.array_equal(read_image(again.path(case.labels["venous"]), "labels").array, study.labels["venous"].array)
    truth = read_transform(again.path(case.truth["arterial"]))
    points = {p: read_points(again.path(case.landmarks[p])) for p in PHASES}
    assert np.abs(truth(points["venous"].xyz) - points["arterial"].xyz).max() < 0.05


def test_supervised_population_has_labels_and_no_truth(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path, 1, 0, population="supervised", shape=SMALL, workers=1, reference_mm=CRUDE)
    case = cohort.cases[0]
    assert (case.id, case.split) == ("s0001", "train")
    assert set(case.images) == set(case.labels) == {"venous"}
    assert not case.truth and not case.landmarks


def test_no_patients_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        write_cohort(tmp_path, 0, 0)


def test_paired_scans_look_as_the_other_phase_and_lie_on_their_own(tmp_path: Path) -> None:
    options = {"shape": SMALL, "phases": ("venous", "t1"), "reference_mm": CRUDE}
    study = make_study(4, 0, **options, paired=True)  # type: ignore[arg-type]
    plain = make_study(4, 0, **options)  # type: ignore[arg-type]
    assert not plain.paired
    for phase, other in (("venous", "t1"), ("t1", "venous")):
        like = study.paired[phase]
        assert torch.equal(plain.images[phase].data, study.images[phase].data)  # asking for pairs changes nothing else
        assert like.grid.same_as(study.images[phase].grid)
        inside, theirs = study.labels[phase].array == 1, study.labels[other].array == 1
        assert np.median(like.array[inside]) == pytest.approx(np.median(study.images[other].array[theirs]), rel=0.25)
        # Where the body ends, it ends in both.
        body = [image.array > image.array.min() + 0.4 * np.ptp(image.array) for image in (like, study.images[phase])]
        assert dice(*(np.asarray(b) for b in body)) > 0.75
    with pytest.raises(ValueError, match="pairs are made of two phases, got venous, t1, arterial"):
        make_study(4, 0, shape=SMALL, phases=("venous", "t1", "arterial"), paired=True)
    cohort = write_cohort(tmp_path, 1, 4, **options, paired=True, workers=1)  # type: ignore[arg-type]
    assert cohort.cases[0].paired == {p: f"p0001/{p}_paired.nii.gz" for p in ("venous", "t1")}
    assert Cohort.load(tmp_path).cases[0].paired == cohort.cases[0].paired
