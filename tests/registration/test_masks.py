"""Masks, rigid labels, initial transforms and presets: what cannot be used is refused before the work."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_jssr import ball, ball_labels

import jssr
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Volume, volume_of
from jssr.errors import GeometryError, ImageError, JssrError, OptionError, TransformError
from jssr.io.images import write_image
from jssr.io.transforms import write_any, write_displacement
from jssr.io.transforms.base import Images
from jssr.io.transforms.itk import write_affine
from jssr.preprocessing.rigid import OverlapError
from jssr.registration.chosen import steps_of
from jssr.registration.masks import rigid_parts, rigid_values
from jssr.registration.model import load_model
from jssr.registration.options import RegistrationOptions
from jssr.registration.presets import PRESETS

GRID = ball().grid


@pytest.fixture(scope="module")
def model(weights):
    return load_model(None, weights)


def _shift(x: float, n: int = 3) -> Affine:
    matrix = np.eye(n + 1)
    matrix[0, n] = x
    return Affine(matrix)


def _field(x: float) -> Displacement:
    """A shift along x that fades towards the borders, so that it is no matrix."""
    p = GRID.world(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1))
    vectors = np.zeros((*GRID.shape, 3))
    vectors[..., 0] = x * np.exp(-((p / 60) ** 2).sum(-1))
    return Displacement.from_millimetres(vectors, GRID)


def _mask(*box: slice, grid: Grid = GRID) -> Volume:
    data = np.zeros(grid.shape, np.uint8)
    data[box] = 1
    return volume_of(data, grid, "labels", "mask.nii.gz")


BODY = _mask(slice(10, 22), slice(10, 20), slice(6, 18))
NOTHING = _mask(slice(0, 0))
AIR = _mask(slice(0, 3), slice(0, 3), slice(0, 3))
SHORT = Volume(BODY.data[..., 2:].contiguous(), GRID.cropped((0, 0, 2), (32, 30, 22)), "labels", "mask.nii.gz")


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"fixed_mask": NOTHING}, ImageError, "mask.nii.gz: the fixed mask is empty"),
        ({"moving_mask": NOTHING}, ImageError, "mask.nii.gz: the moving mask is empty"),
        ({"fixed_mask": SHORT}, GeometryError, "mask.nii.gz: lies on another grid than ball"),
        ({"fixed_mask": AIR}, ImageError, "mask.nii.gz: the fixed mask lies outside the body"),
        ({"fixed_mask": ball()}, GeometryError, "expected a label map, got an image"),
        ({"initial": _shift(0.0, 2)}, TransformError, "initial: expected a 3D transform, as ball is 3D, got a 2D one"),
        ({"initial": _shift(500.0)}, OverlapError, "initial: leads from ball out of ball"),
        ({"initial": "fixed"}, OptionError, "initial must be"),
        ({"initial": 7}, TransformError, "initial: expected"),
        ({"preset": "ct-mr"}, OptionError, "preset ct-mr: is for ct and mr, got ball .* for these there is ct-abdomen"),
        ({"preset": "xray"}, OptionError, "preset xray: is for radiograph and radiograph"),
        ({"smoothness": 0}, OptionError, "smoothness must be a number above 0"),
        ({"spacing": 1.0}, OptionError, "spacing: expected 4 .* to 128 mm"),
        ({"spacing": 500.0}, OptionError, "spacing: expected 4 .* to 128 mm"),
        ({"rigid_labels": [1]}, OptionError, "rigid labels are of the fixed label map"),
        ({"rigid_labels": [9], "fixed_labels": ball_labels()}, OptionError, "labels holds no 9; it holds 1"),
        ({"rigid_labels": "1", "fixed_labels": ball_labels()}, OptionError, "expected a list"),
        ({"rigid_labels": ["bone"], "fixed_labels": ball_labels()}, OptionError, "no structure 'bone'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_work(given, error, says):
    stages: list[str] = []
    with pytest.raises(error, match=says):
        jssr.register(ball(), ball((6, 0, 0)), on_progress=lambda done, total, stage: stages.append(stage), **given)
    assert stages in ([], ["read"]) and issubclass(error, JssrError)


def test_masks_that_cannot_overlap_are_refused_unless_the_start_brings_them_together():
    left, right = _mask(slice(6, 9), slice(12, 18), slice(8, 16)), _mask(slice(23, 26), slice(12, 18), slice(8, 16))
    with pytest.raises(GeometryError, match=r"lies \d+ mm from mask.nii.gz where the pair starts"):
        jssr.register(ball(), ball(), fixed_mask=left, moving_mask=right)
    far = GRID.cropped((20, 0, 0), (12, 30, 24))  # from x = 18 mm on
    for masks in ({"fixed_mask": left}, {"fixed_mask": left, "initial": _shift(-1.0)}):
        with pytest.raises(GeometryError, match="mm outside of the moving scan where the pair starts"):
            jssr.register(ball(), ball(grid=far), **masks)
    with pytest.raises(GeometryError, match="mm outside of the fixed scan where the pair starts"):
        jssr.register(ball(grid=far), ball(), moving_mask=left)
    together = {"rigid": False, "system": "rigid", "initial": _shift(68.0)}
    found = jssr.register(ball(), ball(), fixed_mask=left, moving_mask=right, **together)
    assert found.result["masks"] == {"fixed_percent": pytest.approx(0.625), "moving_percent": pytest.approx(0.625)}


def test_a_mask_says_what_counts_and_the_image_stays_whole(model):
    plain = jssr.register(ball(), ball((6, 0, 0)), checkpoint=model, rigid=False)
    found = jssr.register(ball(), ball((6, 0, 0)), checkpoint=model, rigid=False, fixed_mask=BODY)
    assert torch.equal(found.work.pair.fixed, plain.work.pair.fixed)
    assert float(found.work.pair.fixed_mask.sum()) < 0.5 * float(plain.work.pair.fixed_mask.sum())
    assert found.result["masks"]["fixed_percent"] == pytest.approx(100 * 12 * 10 * 12 / GRID.voxels)
    assert found.result["masks"]["moving_percent"] is None and found.known.fixed_mask is not None


@pytest.mark.parametrize("ending", [".tfm", ".nii.gz"])
def test_an_initial_transform_takes_the_place_of_the_headers(tmp_path, ending):
    known = _shift(6.0) if ending == ".tfm" else _field(6.0)
    file = tmp_path / f"start{ending}"
    if isinstance(known, Affine):
        write_affine(known, file)
    else:
        write_displacement(known, file)
    points = np.random.default_rng(0).uniform(-40, 40, (50, 3))
    labels = {"fixed_labels": ball_labels(), "moving_labels": ball_labels((6, 0, 0))}
    found = jssr.register(ball(), ball((6, 0, 0)), system="rigid", rigid=False, initial=file, **labels)
    # Nothing follows: the full transform is what was given, there and back.
    assert np.abs(found.displacement(points) - known(points)).max() < 0.02
    assert np.abs(found.inverse(known(points)) - points).max() < 0.1
    assert found.result["initial"]["start"] == ("linear" if ending == ".tfm" else "field")
    assert (found.result["initial"]["matrix_lps_mm"] is None) == (ending == ".nii.gz")
    before = jssr.register(ball(), ball((6, 0, 0)), system="rigid", rigid=False, **labels)
    assert found.states["initial"]["dice/1"] > before.states["initial"]["dice/1"]
    assert before.result["initial"] == {"start": "geometry", "matrix_lps_mm": None}


def test_the_format_of_a_transform_can_be_named(tmp_path):
    write_any(_shift(6.0), tmp_path / "start.mat", "flirt", Images(GRID, GRID))
    found = jssr.register(ball(), ball((6, 0, 0)), system="rigid", rigid=False, initial=f"flirt:{tmp_path}/start.mat")
    assert np.allclose(found.result["initial"]["matrix_lps_mm"], _shift(6.0).matrix, atol=1e-4)
    with pytest.raises(TransformError, match="start.mat"):
        jssr.register(ball(), ball((6, 0, 0)), system="rigid", rigid=False, initial=tmp_path / "start.mat")
    with pytest.raises(OptionError, match="initial must be"):
        jssr.register(ball(), ball((6, 0, 0)), initial="flirt:none.mat")


def test_a_network_sees_the_whole_scans_and_the_optimisation_the_mask(model, monkeypatch):
    seen = {}

    def align(moving, fixed, moving_mask, fixed_mask):
        seen["fixed"] = fixed_mask
        return real(moving, fixed, moving_mask, fixed_mask)

    real = model.system.align
    monkeypatch.setattr(model.system, "align", align)
    found = jssr.register(ball(), ball((6, 0, 0)), checkpoint=model, rigid=False, fixed_mask=BODY)
    assert bool((seen["fixed"] == 1).all()) and "refined" in found.states
    assert float(found.work.pair.fixed_mask.mean()) < 0.5
    alone = jssr.register(ball(), ball((6, 0, 0)), system="rigid", rigid=False, fixed_mask=BODY)
    assert alone.result["optimisation"] is None


def test_the_search_goes_on_from_a_field():
    known = _field(9.0)
    labels = {"fixed_labels": ball_labels(), "moving_labels": ball_labels((9, 0, 0))}
    found = jssr.register(ball(), ball((9, 0, 0)), system="discrete", refine=5, initial=known, **labels)
    assert found.result["rigid"] is None
    # The organ (radius 18 mm) is brought nearly on by what was given, and the optimisation goes on from there.
    assert found.states["initial"]["dice/1"] > 0.85
    assert found.states["refined"]["dice/1"] > 0.85
    centre = np.array([[0.0, 0, 0]])
    assert np.linalg.norm(found.displacement(centre) - [9, 0, 0]) < 3


def test_knobs_reach_the_result():
    how = {"similarity": "mind", "smoothness": 2.0, "spacing": 16.0, "sliding": True, "rigid_labels": ["core"]}
    known = {"fixed_labels": ball_labels(), "structures": {"core": (1,)}}
    assert steps_of(load_model("rigid"), RegistrationOptions(**how)) == 24  # where the user names none
    found = jssr.register(ball(), ball((4, 0, 0)), system="rigid", rigid=False, refine=2, **how, **known)
    assert found.result["optimisation"] == {
        "steps": 2, "similarity": "mind", "smoothness": 2.0, "spacing_mm": 16.0, "sliding": True, "rigid_parts": 1,
    }  # fmt: skip
    parts = found.work.settings.rigid_parts
    assert parts is not None and tuple(parts.shape[2:]) == found.work.transforms["refined"].field.grid.shape


def test_a_preset_gives_what_the_user_does_not_name():
    found = jssr.register(ball(), ball(), preset="ct-lung", similarity="mind", refine=1, rigid=False)
    assert found.result["preset"] == "ct-lung" and found.result["system"] == "discrete"
    assert found.result["optimisation"]["similarity"] == "mind" and found.result["optimisation"]["sliding"]
    alone = jssr.register(ball(), ball(), preset="ct-lung", system="rigid", refine=0, rigid=False)
    assert alone.result["system"] == "rigid" and alone.result["optimisation"] is None


def test_every_preset_says_why_and_sets_what_register_takes():
    fields = jssr.registration.options.RegistrationOptions.__dataclass_fields__
    for one in PRESETS.values():
        assert set(one.values) <= set(fields) and one.why.endswith(".") and one.pairs and one.takes


def test_radiographs_take_a_start_and_masks():
    grid = Grid.of((64, 64), 2.0)
    p = np.stack(np.meshgrid(np.arange(64), np.arange(64), indexing="ij"), axis=-1)

    def film(x: float) -> Volume:
        spots = sum(np.exp(-((p - np.array(at) - (x, 0)) ** 2).sum(-1) / 40) for at in ((20, 20), (40, 30), (30, 48)))
        return volume_of((1000 * spots).astype(np.float32), grid, name="film")

    inside, corner = np.zeros((2, 64, 64), np.uint8)
    inside[10:50, 10:50], corner[60:, 60:] = 1, 1
    masks = [volume_of(one, grid, "labels", "mask.png") for one in (inside, corner)]
    found = jssr.register(film(0), film(5), initial=_shift(10.0, 2), fixed_mask=masks[0], preset="xray", refine=2)
    assert found.result["initial"]["start"] == "linear" and found.result["masks"]["fixed_percent"] > 30
    where = np.array([[40.0, 40.0], [80.0, 60.0], [60.0, 96.0]])
    assert np.abs(found.displacement(where) - where - (10, 0)).max() < 2
    with pytest.raises(ImageError, match="outside the body"):
        jssr.register(film(0), film(5), fixed_mask=masks[1])
    with pytest.raises(TransformError, match="expected a 2D transform"):
        jssr.register(film(0), film(5), initial=_shift(10.0))
    with pytest.raises(OverlapError, match="leads from"):
        jssr.register(film(0), film(5), initial=_shift(900.0, 2))


def test_rigid_labels_are_named_by_the_json_beside_the_label_map(tmp_path):
    write_image(ball_labels(), tmp_path / "organs.nii.gz")
    how = {"system": "rigid", "rigid": False, "refine": 1,
           "fixed_labels": tmp_path / "organs.nii.gz", "rigid_labels": ["liver"]}  # fmt: skip
    with pytest.raises(OptionError, match="no structure 'liver'"):
        jssr.register(ball(), ball(), **how)
    (tmp_path / "organs.json").write_text('{"1": "liver"}')
    assert jssr.register(ball(), ball(), **how).result["optimisation"]["rigid_parts"] == 1


def test_each_connected_piece_of_a_rigid_label_is_a_part():
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[1:4, 1:4, 1:4], labels[7:10, 7:10, 7:10], labels[1:4, 7:10, 1:4] = 5, 5, 2
    labels[11, 11, 11] = 5  # a splinter
    volume = volume_of(labels, Grid.of((12, 12, 12), 2.0), "labels")
    values = rigid_values([5, "2"], volume, None)
    assert values == (5, 2)
    parts = rigid_parts(values, volume, volume.grid)
    assert parts is not None and parts.dtype == torch.int32
    assert sorted(parts.unique().tolist()) == [0, 1, 2, 3]
    assert int(parts[0, 0, 2, 2, 2]) != int(parts[0, 0, 8, 8, 8]) and int(parts[0, 0, 11, 11, 11]) == 0
    assert rigid_values(["both"], volume, {"both": (2, 5, 9)}) == (2, 5)
    assert rigid_parts((), volume, volume.grid) is None


def test_a_part_that_a_coarser_grid_cuts_stays_one_and_a_thin_one_stays():
    array = np.zeros((40, 40, 40), np.int16)
    array[5:12, 5:12, 5:12] = array[20:27, 5:12, 5:12] = 1
    array[12:20, 9, 9] = 1  # a bridge between the middles of the coarser voxels
    array[33, 30:40, 33] = 2
    labels = Volume(torch.from_numpy(array)[None], Grid.of((40, 40, 40), 1.0), "labels")
    parts = rigid_parts((1, 2), labels, Grid.of((10, 10, 10), 4.0))
    assert sorted(parts.unique().tolist()) == [0, 1, 2]
    assert int((parts == 2).sum()) == 2  # 7.5 to 9.75 coarse voxels, of which 8 and 9 are there
    assert parts[0, 0, 3, 2, 2] == parts[0, 0, 2, 2, 2] == 1  # the bridge
