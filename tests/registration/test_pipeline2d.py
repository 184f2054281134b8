"""The tool on radiographs: directions, units and files in 2D."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import jssr
from jssr.core import field as ff
from jssr.core.full_size import FullTransform
from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.transform import Affine, Chain, Displacement
from jssr.core.volume import Points, Volume
from jssr.errors import GeometryError, ImageError, JssrError
from jssr.io.images import read_image
from jssr.preprocessing.start2d import start_2d
from jssr.recipes.config import Network, Preprocessing, Recipe
from jssr.registration.model import Model
from jssr.registration.pipeline import register
from jssr.systems.base import Alignment, System


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
    truth = Chain(Displacement(u, fixed.grid), start_2d(fixed.grid, grid))
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
        jssr.segment(fixed, system="jssr")
    solid = Volume(torch.rand(1, 8, 8, 8), Grid.of((8, 8, 8)), name="solid")
    with pytest.raises(ImageError, match="one dimension, got fixed .2D. and solid .3D."):
        register(fixed, solid)


def test_nobody_needs_to_name_a_system(bent):
    fixed, moving, _ = bent
    assert register(fixed, moving, refine=0).result["system"] == "discrete"


class Told(System):
    """Knows the way: a shift of ten rows, and what G of a JRS-Net would make of it."""

    outputs = {"displacement": "Phi", "segmentation": "Phi"}
    reads_structure = True

    def __init__(self):
        super().__init__()
        self.seen = None

    def losses(self, batch, player):
        return {}

    def segment(self, image):
        mask = (image > 0).float()
        return torch.cat([1 - mask, mask], dim=1)

    def align(self, moving, fixed, moving_mask, fixed_mask, fixed_structure=None):
        self.seen = fixed_structure
        tau = torch.zeros(1, 2, *fixed.shape[2:])
        tau[:, 1] = 10.0
        made = self.segment(moving), self.segment(fixed)
        return Alignment(tau, fixed, *made, registered=True)


def told(flat=64):
    recipe = Recipe(
        name="told",
        network=Network(system="jrsnet", structures=("lungs",)),
        preprocessing=Preprocessing(dims=(2,), pixels=flat),
    )
    return Model(Told().eval(), recipe, source="told")


def spot(row):
    """A spot on dark ground, 64 pixels along each side."""
    i, j = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    return Volume(
        (2000 * torch.exp(-((i - 32) ** 2 + (j - row) ** 2) / 18) + 1)[None], Grid.of((64, 64)), name=f"{row}"
    )


def row_of(volume):
    return int(volume.data[0].float().sum(dim=0).argmax())


def test_what_is_made_registered_is_not_moved_again():
    done = register(spot(40), spot(50), checkpoint=told(), refine=0)
    assert row_of(done.moved) == 40
    assert abs(row_of(done.synthesised) - 40) <= 1
    middle = [float((v.data[0] * torch.arange(64.0)).sum() / v.data.sum()) for v in
              (done.fixed_segmentation, done.moved_segmentation)]  # fmt: skip
    assert middle == pytest.approx([40, 40], abs=1)


def test_the_fixed_images_labels_may_be_given_alone_to_a_system_that_reads_them():
    y, x, model = spot(40), spot(50), told()
    mask = Volume((y.data > 500).to(torch.uint8), y.grid, "labels")
    done = register(y, x, checkpoint=model, refine=0, fixed_labels=mask)
    assert done.result["reads_fixed_labels"] and "labels" not in done.result["dice"]
    assert torch.equal(model.system.seen[0], mask.data.float())
    assert not register(y, x, checkpoint=model, refine=0).result["reads_fixed_labels"]
    with pytest.raises(GeometryError, match="one scan only"):
        register(y, x, system="discrete", fixed_labels=mask)


def test_a_turned_map_has_an_inverse():
    """By 20 to 150 degrees about the middle: within a tenth of a pixel where it lands inside."""
    grid = Grid.of((48, 48))
    for angle in (20, 60, 90, 150):
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        matrix = np.eye(3)
        matrix[:2, :2] = [[c, -s], [s, c]]
        matrix[:2, 2] = grid.centre - matrix[:2, :2] @ grid.centre + [2.0, -1.0]
        bend = torch.stack([torch.sin(torch.arange(48.0) / 9)[:, None].expand(48, 48)] * 2)
        whole = Chain(Displacement(bend, grid), Affine(matrix)).displacement(grid)
        back = FullTransform(whole, Affine.identity(2)).inverse(grid)
        q = grid.world(np.random.default_rng(0).uniform(16, 32, (50, 2)))
        assert np.linalg.norm(whole(back(q)) - q, axis=1).max() < 0.1, angle


def test_macmind_is_refused_in_words(bent):
    with pytest.raises(JssrError, match="macMIND describes 3D images"):
        register(*bent[:2], descriptor="macmind")


def test_the_report_shows_a_film_of_other_size_and_handedness_where_it_starts():
    noise = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    film = 1000 * ff.smooth(noise, 4.0) / ff.smooth(noise, 4.0).std() + 3000
    large = torch.nn.functional.interpolate(film, scale_factor=2, mode="bilinear")
    y = Volume(film[0], Grid.of((96, 96)), name="small")
    turned_over = Grid.of((192, 192), 1.0, (500.0, 0.0), np.array([[-1.0, 0.0], [0.0, 1.0]]))
    done = register(y, Volume(large[0], turned_over, name="large"), system="discrete", refine=0)
    assert done.result["folds_percent"] == 0
    view = done.view()
    before = resample(view.moving_before, y.grid).data[:, 2:-2, 2:-2]
    assert (before - y.data[:, 2:-2, 2:-2]).abs().max() < 60
    assert view.displacement is not None and view.displacement.u.abs().max() < 1


def test_a_line_is_no_image():
    line = Volume(torch.rand(1, 1, 200), Grid.of((1, 200)), name="line")
    with pytest.raises(ImageError, match="a line and no image"):
        register(line, line, system="discrete")
