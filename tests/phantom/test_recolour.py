from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion

from jssr.core.grid import Grid
from jssr.core.volume import Volume, volume_of
from jssr.errors import GeometryError, ImageError
from jssr.phantom.atlas import label_of, mobility_of, tissue_of
from jssr.phantom.motion import MotionRanges
from jssr.phantom.organs import upright
from jssr.phantom.recolour import make_recoloured_study
from jssr.phantom.regions import Tissue
from jssr.phantom.study import Study

NAMES = {5: "liver", 1: "spleen", 52: "aorta", 27: "vertebrae_L5", 86: "autochthon_left"}
OF_TOY = {1: 5, 2: 1, 8: 52, 12: 27}
PLAIN_HU = {5: 55.0, 1: 47.0, 52: 42.0, 27: 220.0}
NO_MOTION = MotionRanges(breath=0.0, smooth=(0.0, 0.0), shift=0.0, turn=0.0, moved_share=0.0)


@pytest.fixture(scope="module")
def scan(coarse_toy) -> tuple[Volume, Volume]:  # type: ignore[no-untyped-def]
    """The toy patient as a plain CT with TotalSegmentator's values, stored like most NIfTI: x and y run down."""
    toy = coarse_toy
    values = np.zeros(toy.labels.shape, np.uint8)
    hu = np.where(toy.tissue > 0, -100.0, -1000.0)
    hu[toy.labels == 15] = 50.0
    for own, value in OF_TOY.items():
        values[toy.labels == own] = value
        hu[toy.labels == own] = PLAIN_HU[value]
    hu += np.random.default_rng(0).normal(0, 8, hu.shape)
    grid = Grid.of(toy.grid.shape, toy.grid.spacing, toy.grid.corners().max(0) * [1, 1, -1], np.diag([-1.0, -1, 1]))
    ct = volume_of(hu[::-1, ::-1].astype(np.float32), grid)
    return ct, volume_of(np.ascontiguousarray(values[::-1, ::-1]), grid, "labels")


@pytest.fixture(scope="module")
def still_study(scan: tuple[Volume, Volume]) -> Study:
    return make_recoloured_study(*scan, NAMES, 7, phases=("non-contrast", "arterial", "venous"), motion=NO_MOTION)


def median(study: Study, phase: str, label: int) -> float:
    inside = binary_erosion(study.labels[phase].array == label)
    return float(np.median(study.images[phase].array[inside]))


def test_organs_take_the_colours_of_their_phase(still_study: Study) -> None:
    assert still_study.info["source_phase"] == "non-contrast"
    assert abs(median(still_study, "non-contrast", 8) - 42) < 12
    assert median(still_study, "arterial", 8) > 180
    assert 100 < median(still_study, "venous", 8) < median(still_study, "arterial", 8) - 40
    assert 75 < median(still_study, "venous", 1) < 150
    assert abs(median(still_study, "non-contrast", 1) - 55) < 5


def test_fat_and_air_keep_theirs(still_study: Study) -> None:
    for phase in ("non-contrast", "arterial", "venous"):
        image = still_study.images[phase]
        fat = image.grid.index((60.0, -60.0, -80.0)).round().astype(int)
        patch = image.array[fat[0] - 2 : fat[0] + 3, fat[1], fat[2] - 2 : fat[2] + 3]
        assert abs(np.median(patch) + 100) < 8
        assert np.median(image.array[:2, :2]) <= -990


def test_noise_is_of_the_same_size_and_fresh(still_study: Study) -> None:
    assert 6.5 < still_study.info["noise_hu"] < 10
    reference_phase, other = still_study.images["venous"], still_study.images["non-contrast"]
    inside = still_study.labels["venous"].array == 1
    assert 4 < reference_phase.array[inside].std() < 16
    at = torch.from_numpy(other.grid.index(reference_phase.grid.world(np.argwhere(inside)))).round().long()
    kept = ((at >= 0) & (at < torch.tensor(other.grid.shape))).all(1)
    read = other.array[tuple(at[kept].T.numpy())]
    assert abs(np.corrcoef(reference_phase.array[inside][kept.numpy()], read)[0, 1]) < 0.45


def test_moved_study_has_its_truth(scan: tuple[Volume, Volume]) -> None:
    study = make_recoloured_study(*scan, NAMES, 3, phases=("venous", "delay"))
    start, end = study.landmarks["venous"], study.landmarks["delay"]
    assert {"liver_middle", "liver_upper_pole", "spleen_lower_pole", "vertebrae_L5_middle"} <= set(start.names)
    assert np.abs(study.truth["delay"](start.xyz) - end.xyz).max() < 0.05
    again = make_recoloured_study(*scan, NAMES, 3, phases=("venous", "delay"))
    assert torch.equal(again.images["delay"].data, study.images["delay"].data)
    assert study.images["venous"].grid.same_as(upright(scan[0]).grid)


def test_source_phase_is_recognised(scan: tuple[Volume, Volume]) -> None:
    ct, labels = scan
    hu = ct.data.clone()
    for value, rise in {52: 265.0, 1: 72.0, 5: 14.0}.items():
        hu[labels.data == value] += rise
    study = make_recoloured_study(ct.with_data(hu), labels, NAMES, 0, phases=("venous",), motion=NO_MOTION)
    assert study.info["source_phase"] == "arterial"
    assert median(study, "venous", 8) < 307 - 60


def test_upright_keeps_each_voxel_in_its_place() -> None:
    direction = np.array([[0.0, -1, 0], [0, 0, 1], [1, 0, 0]])
    grid = Grid.of((3, 4, 5), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0), direction)
    volume = volume_of(np.arange(60, dtype=np.float32).reshape(3, 4, 5), grid)
    turned = upright(volume)
    assert np.allclose(turned.grid.direction, np.eye(3))
    for index in ((0, 0, 0), (2, 1, 4), (1, 3, 2)):
        there = turned.grid.index(grid.world(index)).round().astype(int)
        assert turned.array[tuple(there)] == volume.array[index]


def test_upright_resamples_oblique_scans() -> None:
    c, s = np.cos(0.3), np.sin(0.3)
    grid = Grid.of((20, 20, 10), 2.0, (0, 0, 0), np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]))
    turned = upright(volume_of(np.full((20, 20, 10), 7.0, np.float32), grid))
    assert np.allclose(turned.grid.direction, np.eye(3))
    middle = turned.grid.index(grid.centre).round().astype(int)
    assert turned.array[tuple(middle)] == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("name", "label", "tissue"),
    [
        ("liver", 1, Tissue.LIVER),
        ("kidney_left", 4, Tissue.KIDNEY_LEFT_CORTEX),
        ("portal_vein_and_splenic_vein", 10, Tissue.PORTAL_VEIN),
        ("duodenum", 11, Tissue.SMALL_BOWEL_CONTENT),
        ("vertebrae_T12", 12, Tissue.VERTEBRA_MARROW),
        ("rib_left_7", 13, Tissue.RIB_MARROW),
        ("lung_lower_lobe_right", 14, Tissue.LUNG),
        ("gluteus_maximus_left", 15, Tissue.MUSCLE),
        ("heart_myocardium", 18, Tissue.MYOCARDIUM),
        ("urinary_bladder", 0, Tissue.CYST),
        ("brain", 0, Tissue.AIR),
    ],
)
def test_names_are_understood(name: str, label: int, tissue: Tissue) -> None:
    assert label_of(name) == label
    assert tissue_of(name) == tissue


def test_unknown_structures_take_their_neighbours_motion() -> None:
    assert mobility_of("brain") is None
    assert mobility_of("liver") == 1.0


def test_labels_on_another_grid_are_refused(scan: tuple[Volume, Volume]) -> None:
    ct, labels = scan
    other = volume_of(np.zeros((4, 4, 4), np.uint8), Grid.of((4, 4, 4), 1.0), "labels")
    with pytest.raises(GeometryError, match="another grid"):
        make_recoloured_study(ct, other, NAMES, 0)
    with pytest.raises(ImageError, match="liver"):
        make_recoloured_study(ct, labels, {1: "spleen"}, 0)
    with pytest.raises(ValueError, match="t1"):
        make_recoloured_study(ct, labels, NAMES, 0, phases=("t1",))
