from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny_jssr import SHAPE, ball, ball_labels, tiny_weights

import jssr
from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.volume import Points, Volume
from jssr.errors import CheckpointError, GeometryError, ImageError, JssrError, OutputError, PointsError
from jssr.io.images import read_image, write_image
from jssr.io.transforms import read_transform
from jssr.metrics.entries import METRICS, Metric
from jssr.preprocessing.rigid import OverlapError
from jssr.registration.model import load_model
from jssr.registration.pipeline import prepare
from jssr.registration.reload import view_of


@pytest.fixture(scope="module")
def model(weights):
    return load_model(None, weights)


@pytest.fixture(scope="module")
def done(model):
    known = {
        "fixed_labels": ball_labels(),
        "moving_labels": ball_labels((6, 0, 0)),
        "fixed_landmarks": Points(np.array([[0.0, 0, 0], [10, 0, 0]]), ("a", "b")),
        "moving_landmarks": Points(np.array([[6.0, 0, 0], [16, 0, 0]]), ("a", "b")),
        "structures": {"liver": (1,)},
    }
    return jssr.register(ball(name="y"), ball((6, 0, 0), name="x"), checkpoint=model, rigid=False, **known)


def test_register_gives_everything_on_the_right_grids(done):
    y, x = ball(), ball((6, 0, 0))
    for volume in (done.moved, done.synthesised, done.fixed_segmentation, done.moved_segmentation):
        assert volume.grid.same_as(y.grid)
    assert done.displacement.grid.same_as(y.grid) and done.inverse.grid.same_as(x.grid)
    assert done.fixed_segmentation.kind == "labels" and int(done.fixed_segmentation.data.max()) <= 2
    assert float(done.synthesised.data.min()) >= -200 and float(done.synthesised.data.max()) <= 200


def test_result_says_what_happened(done, weights):
    result = done.result
    assert result["system"] == "jssr" and result["weights"]["file"] == str(weights)
    assert result["weights"]["checksum"] and result["provenance"]["versions"]["torch"] == torch.__version__
    assert {"read", "prepare", "network", "fullsize", "inverse", "measure", "total"} <= set(result["time_s"])
    assert result["covered_percent"] > 99 and result["rigid"] is None and result["folds_percent"] >= 0
    assert result["inverse_error_mm"]["mean"] < 0.4
    assert set(result["dice"]["segmentations"]) == {"initial", "network"}
    json.dumps(result, allow_nan=False)


def test_every_metric_of_a_field_is_computed(model, monkeypatch):
    mine = Metric(
        "longest", "Longest", "mm", "field", function=lambda f: float(abs(f.displacement.millimetres()).max())
    )
    monkeypatch.setitem(METRICS, "longest", mine)
    found = jssr.register(ball(), ball((6, 0, 0)), checkpoint=model, rigid=False, refine=1)
    longest = [found.states[state]["longest"] for state in ("network", "refined")]
    assert longest[1] == pytest.approx(abs(found.displacement.millimetres()).max()) and longest[0] > 0
    assert "longest" not in found.states["initial"]


def test_measures_of_the_initial_state_are_those_of_the_scans(done):
    # Landmarks lie 6 mm apart; the balls overlap as two balls of radius 18 mm at a distance of 6 mm do.
    assert done.states["initial"]["tre"] == pytest.approx(6.0)
    r, d = 18.0, 6.0
    lens = np.pi * (4 * r + d) * (2 * r - d) ** 2 / 12
    assert done.states["initial"]["dice/liver"] == pytest.approx(lens / (4 / 3 * np.pi * r**3), abs=0.03)
    assert done.result["tre_mm"]["initial"] == pytest.approx(6.0)
    assert "folds" in done.states["network"]


def test_saved_files_fit_together(done, tmp_path):
    out = done.save(tmp_path / "out")
    names = {p.name for p in out.iterdir()}
    assert names == {
        "moved.nii.gz", "displacement.nii.gz", "inverse.nii.gz", "synthesised.nii.gz", "fixed_segmentation.nii.gz",
        "moved_segmentation.nii.gz", "expected_error.nii.gz", "result.json", "report.html",
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    write_image(done.fixed, tmp_path / "y.nii.gz")
    write_image(done.moving, tmp_path / "x.nii.gz")
    field = sitk.ReadImage(str(out / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(field)
    y, x = (sitk.ReadImage(str(tmp_path / f"{n}.nii.gz"), sitk.sitkFloat32) for n in "yx")
    theirs = sitk.GetArrayFromImage(sitk.Resample(x, y, transform, sitk.sitkLinear, float(done.moving.data.min()))).T
    ours = read_image(out / "moved.nii.gz").array
    span = float(done.moving.data.max() - done.moving.data.min())
    inner = (slice(2, -2),) * 3
    assert np.abs(ours - theirs)[inner].max() < 1e-3 * span
    saved = json.loads((out / "result.json").read_text())
    assert saved["time_s"]["write"] > 0 and saved["peak_memory_mib"] > 0
    back = read_transform(out / "inverse.nii.gz")
    p = np.array([[4.0, -3, 2]])
    assert np.abs(back(read_transform(out / "displacement.nii.gz")(p)) - p).max() < 0.4


def test_the_report_outlines_the_label_maps_that_were_given(done, weights, tmp_path):
    view = done.view()
    torch.testing.assert_close(view.fixed_seg.data, ball_labels().data)
    torch.testing.assert_close(view.moving_seg.data, ball_labels((6, 0, 0)).data)
    expected = resample(ball_labels((6, 0, 0)), done.fixed.grid, done.displacement)
    torch.testing.assert_close(view.moved_seg.data, expected.data)
    # Read back from its folder it shows the same, and where the maps are gone the system's own segmentations.
    for name, volume in (("y", done.fixed), ("x", done.moving), ("py", ball_labels()), ("px", ball_labels((6, 0, 0)))):
        write_image(volume, tmp_path / f"{name}.nii.gz")
    given = {f"{side}_labels": tmp_path / f"p{k}.nii.gz" for side, k in (("fixed", "y"), ("moving", "x"))}
    paths = tmp_path / "y.nii.gz", tmp_path / "x.nii.gz"
    out = jssr.register(*paths, checkpoint=weights, rigid=False, **given).save(tmp_path / "out", report=False)
    told = json.loads((out / "result.json").read_text())
    assert told["fixed"]["labels_path"] == "../py.nii.gz" and told["moving"]["labels_path"] == "../px.nii.gz"
    again = view_of(out)
    torch.testing.assert_close(again.moving_seg.data, view.moving_seg.data)
    assert float((again.moved_seg.data != view.moved_seg.data).float().mean()) < 1e-3
    (tmp_path / "px.nii.gz").unlink()
    assert view_of(out).moving_seg is None
    np.testing.assert_array_equal(view_of(out).fixed_seg.array, read_image(out / "fixed_segmentation.nii.gz").array)


def test_mr_is_no_surprise_to_weights_that_learned_from_it(model):
    bright = ball().with_data(0.3 * (ball().data - ball().data.min()) + 1)
    learned = {**model.header, "data": {"pairs": {"modalities": {"venous": "ct", "t1": "mr"}}}}
    for known, warned in ((model, True), (replace(model, header=learned), False)):
        told = jssr.register(ball(), bright, checkpoint=known, rigid=False).result["warnings"]
        assert any("do not look like Hounsfield units" in w for w in told) is warned


def test_saving_again_removes_what_the_new_result_does_not_make(done, tmp_path):
    out = done.save(tmp_path / "out", report=False)
    (out / "notes.txt").write_text("mine")
    replace(done, synthesised=None).save(out, report=False)
    assert not (out / "synthesised.nii.gz").exists() and (out / "notes.txt").read_text() == "mine"


def test_a_full_disk_leaves_the_old_result(done, tmp_path, monkeypatch):
    out = done.save(tmp_path / "out", report=False)
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jssr.registration.result.write_displacement", full)
    with pytest.raises(OutputError, match="no space left"):
        done.save(out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_registering_twice_gives_the_same_bits(done, model):
    again = jssr.register(ball(name="y"), ball((6, 0, 0), name="x"), checkpoint=model, rigid=False)
    assert torch.equal(again.displacement.u, done.displacement.u) and torch.equal(again.moved.data, done.moved.data)


def test_other_storage_of_the_axes_gives_the_same_alignment(done, model):
    # The same scans stored with the first axis flipped and the last two swapped: as RAS files and sagittal stacks are.
    def stored(volume):
        grid = volume.grid
        affine = grid.affine.copy()
        affine[:3, 3] += affine[:3, 0] * (grid.shape[0] - 1)
        affine[:3, :3] = np.stack([-affine[:3, 0], affine[:3, 2], affine[:3, 1]], axis=1)
        shape = (grid.shape[0], grid.shape[2], grid.shape[1])
        data = volume.data.flip(1).transpose(2, 3).contiguous()
        return replace(volume, data=data, grid=Grid(shape, affine))

    other = jssr.register(stored(ball(name="y")), stored(ball((6, 0, 0), name="x")), checkpoint=model, rigid=False)
    p = np.array([[0.0, 0, 0], [12, -8, 5], [-20, 10, 14]])
    assert np.abs(other.displacement(p) - done.displacement(p)).max() < 0.02


def test_outside_the_moving_field_of_view_nothing_is_invented(model):
    half = Grid.of((32, 30, 12), 4.0, (-62.0, -58.0, -46.0))
    found = jssr.register(ball(name="y"), ball(grid=half, name="x"), checkpoint=model, rigid=False)
    empty = ~found.covered
    assert 40 < found.result["covered_percent"] < 60
    assert float(found.moved.data[empty].max()) == float(found.moving.data.min())
    assert float(found.synthesised.data[empty].max()) == -200.0 and int(found.moved_segmentation.data[empty].max()) == 0
    assert any("covers only" in w for w in found.result["warnings"])
    assert bool(torch.isfinite(found.displacement.u).all())


def test_rigid_part_is_in_the_field(model):
    from jssr.core.transform import Affine

    y = ball(name="y")
    away = np.eye(4)
    away[:3, 3] = (12.0, -8.0, 0.0)
    x = replace(y, grid=Grid(y.grid.shape, Affine(away).matrix @ y.grid.affine), name="x")
    found = jssr.register(y, x, checkpoint=model)
    # The network adds its own (random) part, of a few millimetres at most.
    moved = found.displacement(np.zeros((1, 3)))[0]
    assert np.linalg.norm(moved - (12, -8, 0)) < 6
    assert np.array(found.result["rigid"]["matrix_lps_mm"]).shape == (4, 4)
    assert set(found.states) == {"initial", "rigid", "network"}


def test_refining_brings_the_ball_home(model):
    fixed, moving = ball(name="y"), ball((6, 0, 0), name="x")
    known = {"fixed_labels": ball_labels(), "moving_labels": ball_labels((6, 0, 0)), "structures": {"liver": (1,)}}
    found = jssr.register(fixed, moving, checkpoint=model, rigid=False, refine=40, **known)
    assert list(found.states) == ["initial", "network", "refined"]
    initial, network, refined = (state["dice/liver"] for state in found.states.values())
    # This network's field is so bad that `discrete` took its place: the optimisation had little left to gain.
    assert refined > initial + 0.1 and refined > network + 0.01
    assert found.states["refined"]["folds"] < 0.5 and "refine" in found.result["time_s"]


def test_segment_and_synthesise(model):
    y = ball(name="y")
    found = jssr.segment(y, checkpoint=model)
    labels = found.labels
    assert found.label_names == {1: "liver", 2: "spleen"} and found.written is None
    assert labels.kind == "labels" and labels.grid.same_as(y.grid) and labels.data.dtype == torch.uint8
    made = jssr.synthesise(ball((6, 0, 0), name="x"), y, checkpoint=model, rigid=False)
    assert made.grid.same_as(y.grid) and -200 <= float(made.data.min()) <= float(made.data.max()) <= 200


def test_a_system_without_segmentor_says_so(tmp_path):
    networks = {"Phi": {"widths": [4, 4], "convs": [1, 1]}}
    stage = {"name": "a", "steps": 1, "train": {"main": ["Phi"]}, "weights": {"reg": 1.0}}
    path = tiny_weights(tmp_path, networks=networks, learning_rates={"Phi": 1e-3}, structures=(), stages=[stage])
    with pytest.raises(JssrError, match="no segmentor"):
        jssr.segment(ball(), checkpoint=path)
    with pytest.raises(JssrError, match="no generator"):
        jssr.synthesise(ball((6, 0, 0)), ball(), checkpoint=path, rigid=False)
    found = jssr.register(ball(), ball((6, 0, 0)), checkpoint=path, rigid=False)
    assert found.synthesised is None and found.fixed_segmentation is None and found.result["dice"] == {}


def test_align_a_study(model, tmp_path):
    images = {"venous": ball(name="v"), "arterial": ball((6, 0, 0), name="a"), "delay": ball((0, 5, 0), name="d")}
    done = jssr.align(images, checkpoint=model, rigid=False)
    assert list(done.registrations) == ["arterial", "delay"]
    done.save(tmp_path / "out")
    assert (tmp_path / "out" / "arterial" / "moved.nii.gz").is_file()
    assert {"results.csv", "result.json", "report.html"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert done.results[-1].phase == "delay" and done.results[-1].method == "network"


def test_bad_input_in_words(model, weights, tmp_path):
    y, x = ball(name="y"), ball((6, 0, 0), name="x")
    nan = replace(x, data=x.data.clone())
    nan.data[0, 3, 3, 3] = float("nan")
    with pytest.raises(ImageError, match="NaN"):
        jssr.register(y, nan, checkpoint=model)
    with pytest.raises(ImageError, match="every voxel is 7"):
        jssr.register(y, replace(x, data=torch.full_like(x.data, 7.0)), checkpoint=model)
    with pytest.raises(ImageError, match="label map"):
        jssr.register(y, ball_labels(), checkpoint=model)
    far = ball(grid=Grid.of(SHAPE, 4.0, (900.0, 0.0, 0.0)), name="far")
    with pytest.raises(OverlapError, match="does not overlap"):
        jssr.register(y, far, checkpoint=model)
    thin = replace(x, data=x.data[:, :2], grid=x.grid.cropped((0, 0, 0), (2, *x.grid.shape[1:])))
    with pytest.raises(ImageError, match="expected at least 3 voxels along each axis, got 2 x"):
        jssr.register(y, thin, checkpoint=model)
    with pytest.raises(GeometryError, match="another grid"):
        jssr.register(y, x, checkpoint=model, fixed_labels=ball_labels(grid=far.grid), moving_labels=ball_labels())
    with pytest.raises(GeometryError, match="one scan only"):
        jssr.register(y, x, checkpoint=model, fixed_labels=ball_labels())
    with pytest.raises(PointsError, match="one scan only"):
        jssr.register(y, x, checkpoint=model, fixed_landmarks=Points(np.zeros((1, 3))))
    with pytest.raises(CheckpointError, match="'jssr', not of 'macjnet'"):
        jssr.register(y, x, system="macjnet", checkpoint=weights)
    with pytest.raises(CheckpointError, match="no weights ship"):
        jssr.register(y, x, system="macjnet")
    with pytest.raises(JssrError, match="cannot be used on this machine"):
        load_model(None, weights, device="cuda:77")


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_scans_that_nobody_chose_a_system_for_are_aligned_without_training(modality):
    """The system that needs no weights finds the ball's way."""
    y = _as_mr(ball(name="y")) if modality == "mr" else ball(name="y")
    # The whole body lies 6 mm further, with the texture in it.
    grid = Grid.of(y.grid.shape, y.grid.spacing, y.grid.origin + np.array([6.0, 0, 0]), y.grid.direction)
    x = replace(y, grid=grid, name="x")
    marks = {"fixed_landmarks": Points([[0, 0, 0.0]]), "moving_landmarks": Points([[6.0, 0, 0]])}
    found = jssr.register(y, x, rigid=False, **marks)
    assert found.result["system"] == "discrete" and found.result["fixed"]["modality"] == modality
    assert list(found.states) == ["initial", "network", "refined"]
    assert found.states["initial"]["tre"] == pytest.approx(6.0)
    assert found.states["refined"]["tre"] < 2.0
    plain = jssr.register(y, x, rigid=False, refine=0, **marks)
    assert list(plain.states) == ["initial", "network"]
    study = jssr.align({"venous": y, "arterial": x}, rigid=False, refine=0)
    assert study.registrations["arterial"].result["system"] == "discrete"


def test_what_is_chosen_is_used_whatever_the_scans(model):
    y, x = _as_mr(ball(name="y")), _as_mr(ball((6, 0, 0), name="x"))
    assert jssr.register(y, x, checkpoint=model, rigid=False).result["system"] == "jssr"
    assert jssr.register(ball(), ball((6, 0, 0)), system="jssr", rigid=False).result["system"] == "jssr"
    with pytest.raises(CheckpointError, match="takes no weights"):
        jssr.register(y, x, system="discrete", checkpoint="some.safetensors", rigid=False)


def test_the_rigid_step_alone_is_a_system():
    """A scan against itself, its header elsewhere: the field is that shift, everywhere."""
    texture = ff.smooth(torch.randn(1, 1, 40, 36, 32, generator=torch.Generator().manual_seed(0)), 1.5)[0] * 2000
    outside = torch.ones(1, 40, 36, 32, dtype=torch.bool)
    outside[:, 6:34, 6:30, 6:26] = False
    grid = Grid.of((40, 36, 32), 4.0)
    y = Volume(texture.masked_fill(outside, -1000), grid, name="y")
    x = Volume(y.data, Grid.of((40, 36, 32), 4.0, (grid.origin + [5, -4, 3]).tolist()), name="x")
    found = jssr.register(y, x, system="rigid")
    assert found.result["system"] == "rigid"
    points = grid.world(np.array([[9.0, 9, 9], [30, 20, 12]]))
    assert np.abs(found.displacement(points) - points - [5, -4, 3]).max() < 0.5
    matrix = np.array(found.result["rigid"]["matrix_lps_mm"])
    by_matrix = points @ matrix[:3, :3].T + matrix[:3, 3]
    assert np.abs(found.displacement(points) - by_matrix).max() < 3e-3  # the field is rounded to 1/256 mm
    assert np.abs(jssr.register(y, x, system="rigid", rigid=False).displacement.u.numpy()).max() == 0
    flat = Volume(torch.rand(1, 32, 32), Grid.of((32, 32), 1.0))
    with pytest.raises(JssrError, match="3D"):
        jssr.register(flat, flat, system="rigid")


def test_a_large_grid_is_made_coarser(model):
    """A recipe's limit of voxels: the spacing grows until the working grid keeps it."""
    y, x = ball(name="y"), ball((6, 0, 0), name="x")
    whole = prepare(model, y, x, rigid=False)
    limit = whole.grid.voxels // 3
    small = replace(model, recipe=model.recipe.changed(preprocessing={"most_voxels": limit}))
    coarse = prepare(small, y, x, rigid=False)
    assert limit / 2 < coarse.grid.voxels <= 1.1 * limit  # whole voxels at the edges
    assert np.allclose(coarse.grid.spacing / whole.grid.spacing, coarse.grid.spacing[0] / whole.grid.spacing[0])


def _as_mr(volume):
    """Bright where the CT is dense, never negative."""
    return replace(volume, data=(volume.data + 1000).clamp(min=0) / 2)


def test_pictures_beside_volumes_are_no_scans(tmp_path):
    for name in ("venous", "arterial"):
        write_image(ball(name=name), tmp_path / f"{name}.nii.gz", "int16")
    (tmp_path / "preview.png").write_bytes(b"")
    assert list(jssr.read_study(tmp_path).images) == ["arterial", "venous"]
    (tmp_path / "films").mkdir()
    for name in ("day0", "day3"):
        (tmp_path / "films" / f"{name}.png").write_bytes(b"")
    assert list(jssr.read_study(tmp_path / "films").images) == ["day0", "day3"]


def test_a_generator_that_copies_is_told(weights, monkeypatch):
    model = load_model(checkpoint=weights)
    y, x = ball(name="y"), ball((6, 0, 0), name="x")
    told = "The generator copied the fixed image"
    assert not any(told in w for w in jssr.register(y, x, checkpoint=model, rigid=False).result["warnings"])
    monkeypatch.setattr(model.system.G, "forward", lambda moving, fixed: fixed)
    assert any(told in w for w in jssr.register(y, x, checkpoint=model, rigid=False).result["warnings"])


def test_scans_from_other_libraries_give_the_same_alignment(model, done):
    y, x = ball(), ball((6, 0, 0))
    labels = ball_labels(), ball_labels((6, 0, 0))
    marks = np.array([[0.0, 0, 0], [10, 0, 0]])
    given = {
        "sitk": (y.sitk(), x.sitk(), *(one.sitk() for one in labels)),
        "nibabel": (y.nibabel(), x.nibabel(), *(one.nibabel() for one in labels)),
        "numpy": tuple((one.numpy(), one.affine()) for one in (y, x, *labels)),
    }
    for fixed, moving, *known in given.values():
        found = jssr.register(
            fixed, moving, checkpoint=model, rigid=False, fixed_labels=known[0], moving_labels=known[1],
            fixed_landmarks=marks, moving_landmarks=marks + (6, 0, 0), structures={"liver": (1,)},
        )  # fmt: skip
        assert torch.equal(found.displacement.u, done.displacement.u)
        assert found.states["initial"]["tre"] == pytest.approx(done.states["initial"]["tre"])
        assert found.moved.nibabel().shape == y.grid.shape and found.displacement.sitk().GetDimension() == 3


def test_scans_too_small_for_the_networks_are_refused():
    scan = replace(ball(grid=Grid.of((8, 8, 8), 12.0, (-42.0, -42.0, -42.0))), grid=Grid.of((8, 8, 8), 3.0))
    words = (
        r"expected images of more than 16 voxels along an axis for its networks, got 8 x 8 x \d: use scans that share"
    )
    with pytest.raises(ImageError, match=words):
        jssr.register(scan, scan, system="jssr", rigid=False)
    with pytest.raises(ImageError, match=words):
        jssr.synthesise(scan, scan, system="jssr", rigid=False)
    with pytest.raises(ImageError, match=words):
        jssr.segment(scan, system="jssr")
