"""The tool on radiographs: directions, units and files in 2D."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Chain, Displacement, resample
from jssr.core.volume import Points, Volume
from jssr.data.flat import flat_start
from jssr.engine.infer import register, segment
from jssr.errors import ImageError
from jssr.io.images import read_image


def texture(shape, seed=0):
    noise = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(seed))
    out = sum(ff.smooth(noise, s) * s**2 for s in (2.0, 5.0, 12.0))
    return (out[0] - out.min()) / (out.max() - out.min()) * 4000


@pytest.fixture(scope="module")
def bent():
    """A picture of 200 x 160 pixels, and one of twice as many that shows it shifted and bent: moving(T(p)) = fixed(p)
    with T the bend, then the start."""
    fixed = Volume(texture((200, 160)), Grid.of((200, 160)), name="fixed")
    i = torch.linspace(0, 3.0, 200)[:, None].expand(200, 160)
    u = torch.stack([9 + 2 * torch.sin(i), -5 + 2 * torch.cos(i)])
    grid = Grid.of((400, 320))
    truth = Chain(Displacement(u, fixed.grid), flat_start(fixed.grid, grid))
    moving = resample(fixed, grid, truth.inverse(), fill=0.0)
    return fixed, Volume(moving.data, grid, name="moving"), truth


@pytest.fixture(scope="module")
def found(bent):
    fixed, moving, truth = bent
    labels = Volume((fixed.data > 2800).to(torch.uint8), fixed.grid, "labels")
    theirs = Volume((moving.data > 2800).to(torch.uint8), moving.grid, "labels")
    marks = Points(np.array([[60.0, 50.0], [100.0, 90.0], [150.0, 110.0]]))
    return register(fixed, moving, system="discrete", fixed_labels=labels, moving_labels=theirs,
                    fixed_landmarks=marks, moving_landmarks=Points(truth(marks.xyz)))  # fmt: skip


def test_the_field_leads_from_fixed_to_moving_pixels(bent, found):
    fixed, _, truth = bent
    at = fixed.grid.world(np.stack(np.meshgrid([60, 100, 140], [50, 80, 110], indexing="ij"), -1).reshape(-1, 2))
    off = np.linalg.norm(found.displacement(at) - truth(at), axis=1)
    assert off.mean() < 1.5  # of the moving picture's pixels; unregistered they are 20 off
    back = np.linalg.norm(found.inverse(truth(at)) - at, axis=1)
    assert back.mean() < 1.0


def test_what_is_measured_starts_from_the_fit_of_the_pictures(found):
    tre = {name: state["tre"] for name, state in found.states.items()}
    assert list(tre) == ["initial", "network", "refined"]
    assert 16 < tre["initial"] < 26 and tre["refined"] < 2
    assert found.states["refined"]["dice/1"] > found.states["initial"]["dice/1"] + 0.02
    assert any("without a spacing" in w for w in found.result["warnings"])
    assert not any("Hounsfield" in w for w in found.result["warnings"])


def test_itk_reads_what_is_written(bent, found, tmp_path):
    fixed, moving, _ = bent
    found.save(tmp_path / "out")
    field = sitk.ReadImage(str(tmp_path / "out/displacement.nii.gz"), sitk.sitkVectorFloat64)
    assert field.GetDimension() == 2 and field.GetSize() == (200, 160)
    theirs = sitk.Resample(
        sitk.GetImageFromArray(np.ascontiguousarray(moving.array.T)), sitk.GetImageFromArray(fixed.array.T),
        sitk.DisplacementFieldTransform(field), sitk.sitkLinear, 0.0,
    )  # fmt: skip
    ours = read_image(tmp_path / "out/moved.nii.gz", ndim=2).array
    inside = found.covered[0].numpy()
    assert np.abs(sitk.GetArrayFromImage(theirs).T - ours)[inside].mean() < 1.0
    assert json.loads((tmp_path / "out/result.json").read_text())["rigid"] is None
    assert (tmp_path / "out/report.html").stat().st_size > 10_000


def test_systems_of_solids_refuse_pictures(bent):
    fixed, moving, _ = bent
    with pytest.raises(ImageError, match="fixed: is 2D; jssr.* takes 3D"):
        register(fixed, moving, system="jssr")
    with pytest.raises(ImageError, match="takes 3D"):
        segment(fixed, system="jssr")
    solid = Volume(torch.rand(1, 8, 8, 8), Grid.of((8, 8, 8)), name="solid")
    with pytest.raises(ImageError, match="fixed is 2D and solid is 3D"):
        register(fixed, solid)


def test_nobody_needs_to_name_a_system(bent):
    fixed, moving, _ = bent
    assert register(fixed, moving, refine=0).result["system"] == "discrete"
    assert isinstance(Affine.identity(2).matrix, np.ndarray)
