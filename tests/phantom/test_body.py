"""A body from neck to thighs: what lies where, and its scans."""

from dataclasses import replace

import numpy as np
import pytest

from jssr.core.volume import Points
from jssr.phantom.anatomy import Anatomy, make_anatomy
from jssr.phantom.body import BOTTOM, HIPS, TOP, _dome, make_body
from jssr.phantom.body_study import check_field, make_body_study
from jssr.phantom.ranges import TARGET_POPULATION
from jssr.phantom.regions import BODY_LABELS, LABELS, PELVIS_LABELS, Tissue, body_labels_of, labels_of

COARSE = replace(TARGET_POPULATION, spacing=5.0)


@pytest.fixture(scope="module")
def body() -> Anatomy:
    return make_body(np.random.default_rng(3), COARSE)


def middle(body: Anatomy, name: str) -> np.ndarray:
    """Centre of a structure, mm."""
    there = np.argwhere(body.labels == BODY_LABELS[name])
    assert len(there) > 5, name
    return body.grid.world(there).mean(axis=0)


def test_the_same_generator_gives_the_same_body_and_another_gives_another(body):
    assert np.array_equal(make_body(np.random.default_rng(3), COARSE).tissue, body.tissue)
    other = make_body(np.random.default_rng(4), COARSE)
    assert other.tissue.shape != body.tissue.shape or not np.array_equal(other.tissue, body.tissue)


def test_organs_lie_in_their_order_from_neck_to_thighs(body):
    heights = [middle(body, n)[2] for n in ("lung", "liver", "kidney_left", "pelvis", "bladder", "prostate")]
    assert heights == sorted(heights, reverse=True)
    assert middle(body, "heart")[2] > middle(body, "liver")[2]
    assert abs(middle(body, "bladder")[2] - HIPS) < 60


def test_right_is_right(body):
    assert middle(body, "liver")[0] < 0 < middle(body, "spleen")[0]
    assert middle(body, "kidney_right")[0] < 0 < middle(body, "kidney_left")[0]


def test_no_slice_is_empty_and_neighbours_have_nearly_one_outline(body):
    flesh = ~np.isin(body.tissue, [Tissue.AIR, Tissue.TABLE, Tissue.LUNG])
    area = flesh.sum(axis=(0, 1)) * 25.0
    assert area.min() > 8000  # two thighs, or a neck
    trunk = [k for k, z in enumerate(body.grid.world([[0, 0, k] for k in range(len(area))])[:, 2]) if -250 < z < 200]
    change = np.abs(np.diff(area[trunk])) / area[trunk][:-1]
    assert change.max() < 0.35  # no seam where half of the body begins or ends


def test_legs_are_two_and_have_a_femur_each(body):
    k = 2
    bones = np.argwhere(body.labels[:, :, k] == BODY_LABELS["femurs"])
    x = body.grid.origin[0] + 5.0 * bones[:, 0]
    assert (x < -30).any() and (x > 30).any() and not (np.abs(x) < 20).any()
    assert not np.isin(body.labels[:, :, k], [BODY_LABELS["liver"], BODY_LABELS["bladder"]]).any()


def test_the_grid_reaches_from_neck_to_thighs(body):
    low, high = body.grid.origin[2], body.grid.origin[2] + 5.0 * (body.grid.shape[2] - 1)
    assert BOTTOM <= low < BOTTOM + 5 and TOP - 5 <= high <= TOP


def test_landmarks_lie_in_what_they_name(body):
    named = dict(zip(body.landmarks.names, body.landmarks.xyz, strict=True))
    for name in ("vertebra_L1", "vertebra_T12"):
        around = body.labels[tuple(slice(i - 1, i + 2) for i in body.grid.index(named[name]).round().astype(int))]
        assert BODY_LABELS["vertebrae"] in around
    assert {"femoral_head_left", "thorax_carina"} <= set(named)


def test_labels_of_the_body_are_those_of_the_abdomen_and_more():
    codes = np.arange(72, dtype=np.uint8)
    mine, abdomen = body_labels_of(codes), labels_of(codes)
    assert np.array_equal(mine[abdomen > 0], abdomen[abdomen > 0])
    assert mine[Tissue.URINE] == BODY_LABELS["bladder"] and mine[Tissue.FEMUR_CORTEX] == BODY_LABELS["femurs"]
    assert set(LABELS.values()).isdisjoint(BODY_LABELS[n] for n in PELVIS_LABELS if n in BODY_LABELS and n != "muscle")


def test_a_study_scans_the_field_asked_for_and_its_truth_moves_its_landmarks():
    study = make_body_study(2, 0, (48, 48, 30), ("venous", "t1"), (-80.0, 120.0), reference_mm=5.0)
    for scan in study.images.values():
        ends = scan.grid.corners()[:, 2]
        assert abs(ends.min() - -80) < 20 and abs(ends.max() - 120) < 20
    points, moved = study.landmarks["venous"], study.landmarks["t1"]
    found = study.truth["t1"](points.xyz)
    assert len(points.names) > 10
    assert np.linalg.norm(found - moved.xyz, axis=1).mean() < 0.6
    assert study.label_names[BODY_LABELS["femurs"]] == "femurs"


@pytest.mark.parametrize("field", [(-600.0, 0.0), (0.0, 500.0), (0.0, 20.0), (50.0, -50.0)])
def test_an_impossible_field_is_refused(field):
    with pytest.raises(ValueError, match="field of view"):
        check_field(field)


def test_a_liver_without_its_landmark_still_has_a_top():
    abdomen = make_anatomy(np.random.default_rng(3), COARSE)
    named = dict(zip(abdomen.landmarks.names, abdomen.landmarks.xyz, strict=True))
    without = replace(abdomen, landmarks=Points(np.zeros((0, 3)), ()))
    assert _dome(abdomen) == named["liver_dome"][2]
    assert abs(_dome(without) - named["liver_dome"][2]) < 16
