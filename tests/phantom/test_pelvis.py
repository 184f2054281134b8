from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jssr.core.resampling import resample
from jssr.io.cohort import Cohort
from jssr.phantom.filling import FillingRanges, make_filling
from jssr.phantom.motion import MotionRanges
from jssr.phantom.pelvic_study import VIEW_MM, make_pelvic_study
from jssr.phantom.pelvis import Pelvis, make_pelvis
from jssr.phantom.regions import PELVIS_LABELS
from jssr.phantom.study import Study, stream
from jssr.phantom.writer import write_cohort

SHAPE = (60, 54, 34)
STILL = MotionRanges(smooth=(0.0, 0.0), shift=0.0, turn=0.0)


@pytest.fixture(scope="module")
def pelvis() -> Pelvis:
    return make_pelvis(stream(1, "pelvis"), 3.0)


@pytest.fixture(scope="module")
def study() -> Study:
    return make_pelvic_study(3, 0, SHAPE, reference_mm=3.0, paired=True)


def volume(pelvis: Pelvis, name: str) -> float:
    """Millilitres."""
    return float((pelvis.labels == PELVIS_LABELS[name]).sum()) * float(np.prod(pelvis.grid.spacing)) / 1000


def dice(first: np.ndarray, second: np.ndarray) -> float:  # type: ignore[type-arg]
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def test_organs_have_plausible_sizes_and_places(pelvis: Pelvis) -> None:
    assert 40 < volume(pelvis, "bladder") < 300
    assert 12 < volume(pelvis, "prostate") < 90
    assert 40 < volume(pelvis, "rectum") < 200
    centre = {
        name: pelvis.grid.world(np.argwhere(pelvis.labels == value).mean(axis=0))
        for name, value in PELVIS_LABELS.items()
    }
    # The bladder lies on the prostate and the rectum behind it; bones are on both sides.
    assert centre["bladder"][2] > centre["prostate"][2] + 20
    assert centre["rectum"][1] > centre["prostate"][1] + 20
    heads = pelvis.labels == PELVIS_LABELS["femoral_heads"]
    half = heads.shape[0] // 2
    assert 0.7 < heads[:half].sum() / heads[half:].sum() < 1.4


def test_the_bladder_grows_by_its_factor_and_bones_stay(pelvis: Pelvis) -> None:
    ranges = FillingRanges(bladder=(0.2, 0.2), rectum=(0.0, 0.0), push=0.0, rest=STILL)
    motion, factor = make_filling(np.random.default_rng(0), pelvis, pelvis.grid, ranges)
    assert factor == pytest.approx(0.2)
    at = motion.pull(pelvis.grid, pelvis.grid)[0].numpy().round().astype(int)
    inside = np.all([(a >= 0) & (a < n) for a, n in zip(at, pelvis.grid.shape, strict=True)], axis=0)
    now = np.where(
        inside, pelvis.labels[tuple(np.clip(a, 0, n - 1) for a, n in zip(at, pelvis.grid.shape, strict=True))], 0
    )
    grown = (now == 1).sum() / (pelvis.labels == 1).sum()
    # Diameters by e^0.2 would make the volume e^0.6; what gives way only partly holds some of it back.
    assert 1.3 < grown < np.exp(0.6) * 1.05
    bones = [PELVIS_LABELS[name] for name in ("femoral_heads", "pelvis")]
    assert dice(np.isin(now, bones), np.isin(pelvis.labels, bones)) > 0.97


def test_the_rectum_widens_without_the_bladder_growing(pelvis: Pelvis) -> None:
    still = replace(FillingRanges(), bladder=(0.0, 0.0), rest=STILL, push=0.0)
    for rate, more in ((0.35, True), (-0.35, False)):
        motion, _ = make_filling(np.random.default_rng(0), pelvis, pelvis.grid, replace(still, rectum=(rate, rate)))
        line, radius = pelvis.rectum
        ring = line + np.stack([radius, 0 * radius, 0 * radius], axis=1)
        inner = np.abs(line[:, 2]) < 40
        wider = np.linalg.norm(motion(ring) - motion(line), axis=1)[inner] - radius[inner]
        assert (wider.max() > 1.5) if more else (wider.min() < -1.5)


def test_truth_brings_the_organs_back(study: Study) -> None:
    fixed, moving = study.labels["ct"], study.labels["t2"]
    before, after = resample(moving, fixed.grid), resample(moving, fixed.grid, study.truth["t2"])
    for name in ("bladder", "prostate", "rectum"):
        value = study_value(study, name)
        overlap = [dice(fixed.array == value, x.array == value) for x in (before, after)]
        assert overlap[1] > 0.9 and overlap[1] > overlap[0] + 0.02, (name, overlap)
    # A counterpart is the moved scan's look on the fixed one: they differ by noise alone.
    moved = resample(study.images["t2"], fixed.grid, study.truth["t2"]).array
    inside = resample(moving, fixed.grid, study.truth["t2"]).array > 0
    assert np.corrcoef(moved[inside], study.paired["ct"].array[inside])[0, 1] > 0.9


def study_value(study: Study, name: str) -> int:
    return next(value for value, label in study.label_names.items() if label == name)


def test_scans_are_those_of_the_paper_and_repeat(study: Study) -> None:
    again = make_pelvic_study(3, 0, SHAPE, reference_mm=3.0)
    for phase, image in study.images.items():
        np.testing.assert_allclose(np.array(image.grid.shape) * image.grid.spacing, VIEW_MM, rtol=1e-3)
        assert (again.images[phase].array == image.array).all()
    assert set(study.label_names.values()) == set(PELVIS_LABELS)
    # Urine is bright in T2 and near water in CT, where the bladder's inside is.
    inside = study.labels["t2"].array == 1
    muscle = study.labels["t2"].array == PELVIS_LABELS["muscle"]
    t2 = study.images["t2"].array
    assert np.median(t2[inside]) > 2 * np.median(t2[muscle])
    assert abs(float(np.median(study.images["ct"].array[study.labels["ct"].array == 1]))) < 30


def test_a_cohort_of_pelves_has_its_own_labels(tmp_path: Path) -> None:
    options = {"shape": SHAPE, "reference_mm": 4.0, "workers": 1, "anatomy": "pelvis"}
    write_cohort(tmp_path, 1, 4, paired=True, **options)  # type: ignore[arg-type]
    cohort = Cohort.load(tmp_path)
    assert cohort.reference_phase == "ct" and set(cohort.cases[0].images) == set(cohort.cases[0].paired) == {"ct", "t2"}
    assert set(cohort.structures()) == set(PELVIS_LABELS)
    for wrong, said in (
        ({"phases": ("ct", "venous")}, "different ones of ct, t2, t1"),
        ({"phases": ("ct",), "paired": True}, "two phases"),
    ):
        with pytest.raises(ValueError, match=said):
            make_pelvic_study(4, 0, SHAPE, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no supervised population"):
        write_cohort(tmp_path / "other", 1, 4, population="supervised", **options)  # type: ignore[arg-type]
    for wrong in ({"phases": ("ct",)}, {"anatomy": "abdomen"}):
        with pytest.raises(ValueError, match="two phases"):
            write_cohort(tmp_path / "other", 1, 4, paired=True, **{**options, **wrong})  # type: ignore[arg-type]
    assert not (tmp_path / "other").exists()  # refused before anything is made
