from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from jssr.cli import app
from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.io.points import read_points
from jssr.phantom.radiograph import Exposure, Pose, expose, values_of
from jssr.phantom.regions import Tissue
from jssr.phantom.thorax import Thorax, make_thorax
from jssr.phantom.thorax_study import make_thorax_study
from jssr.phantom.writer import write_cohort

COARSE = 6.0
STRAIGHT = Pose(0, 0, 0, (0, 0, 0))


@pytest.fixture(scope="module")
def breaths() -> dict[float, Thorax]:
    return {breath: make_thorax(np.random.default_rng(3), breath, COARSE) for breath in (0.0, 1.0)}


def test_one_state_of_the_generator_is_one_patient(breaths: dict[float, Thorax]) -> None:
    again = make_thorax(np.random.default_rng(3), 1.0, COARSE)
    assert np.array_equal(again.tissue, breaths[1.0].tissue)
    other = make_thorax(np.random.default_rng(4), 1.0, COARSE)
    assert not np.array_equal(other.tissue, again.tissue)


def test_a_breath_moves_what_breath_moves(breaths: dict[float, Thorax]) -> None:
    """The diaphragm goes down by 32 to 52 mm, ribs up in front and outwards; the spine stays; the lungs grow."""
    out, inside = (dict(zip(t.landmarks.names, t.landmarks.xyz, strict=True)) for t in breaths.values())
    fall = out["dome_right"][2] - inside["dome_right"][2]
    assert 28 <= fall <= 56
    assert np.linalg.norm(out["vertebra_5"] - inside["vertebra_5"]) < 6
    assert inside["rib_6_right"][2] > out["rib_6_right"][2]
    assert inside["rib_6_left"][0] > out["rib_6_left"][0] > 0
    volumes = [np.isin(t.tissue, [Tissue.LUNG, Tissue.LUNG_VESSEL]).sum() * COARSE**3 / 1e6 for t in breaths.values()]
    assert 2.0 < volumes[0] < volumes[1] < 9.0 and volumes[1] > volumes[0] * 1.15  # litres


def test_right_is_right(breaths: dict[float, Thorax]) -> None:
    names = breaths[1.0].landmarks.names
    for name, at in zip(names, breaths[1.0].landmarks.xyz, strict=True):
        if name.endswith("_right"):
            assert at[0] < 0
        if name.endswith("_left"):
            assert at[0] > 0


def test_a_ray_adds_what_it_passes() -> None:
    """Through a block of water of 120 mm, in the middle of the picture, and past it."""
    from jssr.core.grid import Grid
    from jssr.core.volume import Points

    grid = Grid.of((61, 61, 61), 5.0, (-150, -150, -150))
    tissue = np.full(grid.shape, Tissue.AIR, np.uint8)
    tissue[:, 18:42, :] = Tissue.MUSCLE  # 24 voxels of 5 mm
    values = np.zeros(256, np.float32)
    values[Tissue.MUSCLE] = 0.01
    marks = Points(np.array([[0.0, 0, 12], [60.0, -160.0, 12]]), ("vertebra_6", "at_the_detector"))
    how = Exposure(photons=1e9, scatter=0.0, blur=0.0, gamma=1.0, window=(0, 100))
    taken = expose(Thorax(grid, tissue, marks), values, STRAIGHT, how, 64, np.random.default_rng(0))
    middle, corner = taken.image[32, 32], taken.image[0, 0]
    assert corner == 0 and middle > 4000  # 1.2 of log attenuation is the most there is, up to the slant of the rays
    assert taken.landmarks.xyz[0].tolist() == pytest.approx([31.5, 31.5], abs=0.2)  # on the middle ray
    pixel = 380 / 64
    assert taken.landmarks.xyz[1].tolist() == pytest.approx([31.5 + 60 / pixel, 31.5], abs=0.02)  # not magnified


def test_bones_are_brighter_than_lungs_and_labels_fit(breaths: dict[float, Thorax]) -> None:
    hu = np.full(256, 40.0, np.float32)
    hu[[Tissue.AIR, Tissue.LUNG, Tissue.STOMACH_GAS]] = -1000, -850, -1000
    hu[[Tissue.VERTEBRA_CORTEX, Tissue.VERTEBRA_MARROW, Tissue.RIB_CORTEX]] = 500
    how = Exposure(photons=1e5, scatter=0.1, blur=0.4, gamma=1.0, window=(1, 99))
    taken = expose(breaths[1.0], values_of(hu), STRAIGHT, how, 96, np.random.default_rng(0))
    means = [taken.image[taken.labels == k].mean() for k in (1, 2, 3)]
    assert max(means[:2]) < means[2]
    marks = dict(zip(taken.landmarks.names, taken.landmarks.xyz, strict=True))
    spine = np.rint(marks["vertebra_6"]).astype(int)
    assert taken.image[tuple(spine)] > means[0]
    right, left = (np.argwhere(taken.labels == k)[:, 0].mean() for k in (1, 2))
    assert right < spine[0] < left  # the patient's right is on the picture's left
    assert marks["apex_right"][1] < marks["dome_right"][1]  # rows run down
    share = np.isin(taken.labels, (1, 2)).mean()
    assert 0.1 < share < 0.5


def test_visits_differ_and_share_their_landmarks() -> None:
    study = make_thorax_study(1, 0, ("visit1", "visit2"), 64, COARSE)
    assert study.reference_phase == "visit1" and study.images["visit1"].grid.shape == (64, 64)
    assert study.landmarks["visit1"].names == study.landmarks["visit2"].names and len(study.landmarks["visit1"]) > 15
    apart = np.linalg.norm(study.landmarks["visit1"].xyz - study.landmarks["visit2"].xyz, axis=1)
    assert 0.3 < apart.mean() < 12
    assert study.info["breath"]["visit1"] >= 0.8
    with pytest.raises(ValueError, match="different ones of visit1"):
        make_thorax_study(1, 0, ("visit1", "visit1"))


def test_a_cohort_of_radiographs(tmp_path: Path) -> None:
    made = write_cohort(
        tmp_path / "a", 2, 5, phases=("visit1", "visit2"), anatomy="thorax", reference_mm=COARSE, workers=1,
        splits={"train": 1},
    )  # fmt: skip
    cohort = Cohort.load(tmp_path / "a")
    assert cohort.structures()["lungs"] == (1, 2) and made.reference_phase == "visit1"
    case = cohort.cases[0]
    image = read_image(cohort.image(case, "visit2"))
    assert case.images["visit2"].endswith(".png") and image.grid.shape == (256, 256)
    assert image.data.max() > 255  # 12 bits
    assert set(np.unique(read_image(cohort.path(case.labels["visit1"]), "labels").array)) == {0, 1, 2, 3}
    assert read_points(cohort.path(case.landmarks["visit1"])).xyz.shape[1] == 2
    with pytest.raises(ValueError, match="thorax has no supervised population"):
        write_cohort(tmp_path / "b", 1, 5, anatomy="thorax", population="supervised")
    for wrong in ({"paired": True}, {"shape": (64, 64, 64)}):
        with pytest.raises(ValueError, match="radiographs are of 256 x 256"):
            write_cohort(tmp_path / "b", 1, 5, anatomy="thorax", **wrong)  # type: ignore[arg-type]


def test_the_command_line_knows_visits(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["phantom", str(tmp_path / "c"), "--anatomy", "thorax", "--phases", "venous"])
    assert said.exit_code == 1 and "unknown phase 'venous'" in said.stderr
