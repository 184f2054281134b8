import numpy as np
import pytest
import torch
from tiny_jssr import tiny_weights

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.preprocessing.prepare import prepare_pair
from jssr.registration import instance_optimisation as optimisation
from jssr.registration.instance_optimisation import optimisation_grid
from jssr.registration.model import load_model
from jssr.registration.settings import OptimisationSettings
from jssr.systems.base import Alignment


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(None, tiny_weights(tmp_path_factory.mktemp("weights")))


def _pair(model, fixed, moving, spacing=4.0):
    grid = Grid.of(fixed.shape, spacing)
    scans = [Volume(image[None] * 400, grid) for image in (fixed, moving)]
    to = model.recipe.preprocessing
    return prepare_pair(*scans, to.spacing, to.window, rigid=False, finer=optimisation_grid)


def _texture(seed, shape=(32, 32, 24)):
    return ff.smooth(torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(seed)), 1.5)[0, 0]


@pytest.mark.parametrize(
    ("shape", "own", "expected"),
    [
        ((40, 40, 40), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),  # as fine as the scan
        ((80, 80, 80), (3.0, 3.0, 3.0), (2.0, 2.0, 2.0)),  # and no coarser than the working grid
        ((40, 40, 40), (1.0, 1.0, 5.0), (1.0, 1.0, 2.0)),  # a voxel is at most twice as long as wide
    ],
)
def test_the_grid_is_as_fine_as_the_finer_of_scan_and_working_grid(shape, own, expected):
    working, scan = Grid.of(shape, 2.0), Grid.of((100, 100, 100), own)
    assert np.allclose(optimisation_grid(working, scan).spacing, expected)


def test_the_grid_of_a_large_scan_is_coarser_and_that_of_a_turned_one_follows_its_axes():
    working = Grid.of((200, 200, 150), 2.0)
    large = optimisation_grid(working, Grid.of((512, 512, 300), (0.8, 0.8, 1.0)))
    assert 0.7 * optimisation.MOST_VOXELS < large.voxels <= 1.05 * optimisation.MOST_VOXELS
    turned = Grid.of((40, 10, 40), (1.0, 2.0, 1.0), direction=[[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert np.allclose(optimisation_grid(Grid.of((20, 20, 20), 2.0), turned).spacing, (1.0, 1.0, 2.0))


def test_a_field_that_makes_scans_less_alike_is_not_the_start(model):
    texture = _texture(1)
    pair = _pair(model, texture, texture)
    tau = torch.full((1, 3, *pair.grid.shape), 3.0)
    found = optimisation.refine_pair(model, pair, Alignment(tau), 1)
    assert found.warnings == (optimisation.LOST,)
    assert found.field.u.abs().max() < 1
    found = optimisation.refine_pair(model, pair, Alignment(tau * 0), 1)
    assert found.warnings == ()
    assert found.field.u.abs().max() < 1


@pytest.mark.parametrize("similarity", ["lncc", "mind", "mixture", "mi"])
def test_every_similarity_finds_a_known_shift(model, similarity):
    texture = _texture(2)
    pair = _pair(model, texture, torch.roll(texture, 1, dims=0))  # 4 mm
    nothing = Alignment(torch.zeros(1, 3, *pair.grid.shape))
    settings = OptimisationSettings(similarity=similarity)
    found = optimisation.refine_pair(model, pair, nothing, 30, settings=settings)
    assert found.similarity == similarity
    assert found.kept >= 1
    moved = found.field.millimetres()[8:-8, 8:-8, 6:-6]
    assert np.abs(np.median(moved.reshape(-1, 3), axis=0) - [4, 0, 0]).max() < 0.6


def test_a_level_that_does_not_help_unseen_points_is_not_kept(model, monkeypatch):
    texture = _texture(3)
    pair = _pair(model, texture, texture)
    monkeypatch.setattr(optimisation, "optimise", lambda control, *args, **kwargs: control + 5.0)
    found = optimisation.refine_pair(model, pair, Alignment(torch.zeros(1, 3, *pair.grid.shape)), 1)
    assert found.kept == 0
    assert found.field.u.abs().max() == 0


@pytest.mark.parametrize(("name", "channels"), [("mind-ssc", 12), ("mind", 6), ("macmind", 18)])
def test_a_named_descriptor_is_what_is_compared(model, name, channels):
    assert load_model(checkpoint=model, descriptor=name).recipe.inference.descriptor == name
    search = load_model("discrete", descriptor=name)
    assert search.recipe.inference.descriptor == name
    image = torch.rand(1, 1, 10, 11, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert search.system.describe(image).shape[1] == channels


def test_an_unknown_descriptor_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown descriptor 'mindful'; there are mind-ssc, mind, macmind"):
        load_model("discrete", descriptor="mindful")


def test_a_bone_stays_rigid_and_what_is_around_it_is_found_as_well_as_before(model):
    shape, spacing = (40, 36, 28), 4.0
    texture = _texture(5, shape)
    p = ff.identity(shape)
    # In truth the bone turns by 0.1 rad and shifts; around it everything bends.
    parts = torch.zeros(1, 1, *shape, dtype=torch.int32)
    parts[0, 0, 14:26, 12:24, 8:20] = 1
    angle, centre = torch.tensor(0.1), torch.tensor([19.5, 17.5, 13.5]).view(1, 3, 1, 1, 1)
    turn = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0], [0, 0, 1]])
    rigid = torch.einsum("ij,bjxyz->bixyz", turn - torch.eye(3), p - centre) + 0.5
    share = ff.smooth(torch.nn.functional.max_pool3d(parts.float(), 7, 1, 3), 1.0)  # 1 in the bone
    bend = ff.smooth(torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(6)), 6.0)
    truth = share * rigid + (1 - share) * bend / bend.abs().max()
    pair = _pair(model, texture, ff.warp(texture[None, None], ff.invert(truth))[0, 0])
    assert pair.finer is None and pair.grid.same_as(Grid.of(shape, spacing))
    nothing, found = Alignment(torch.zeros(1, 3, *shape)), {}
    for name, settings in {
        "free": OptimisationSettings(smoothness=0.3),
        "held": OptimisationSettings(smoothness=0.3, rigid_parts=parts),
    }.items():
        found[name] = optimisation.refine_pair(model, pair, nothing, 24, settings=settings)
    at = np.argwhere(parts[0, 0].numpy())[::23]
    length = {}
    for name, one in found.items():
        moved = at + one.field.u.numpy()[(slice(None), *at.T)].T
        now, before = (np.linalg.norm(x[:, None] - x, axis=-1) for x in (moved, at))
        length[name] = np.abs(now[before > 0] / before[before > 0] - 1).max()
    assert length["free"] > 0.01
    assert length["held"] < 0.001
    assert found["held"].warnings == ()
    assert int((ff.jacobian_determinant(found["held"].field.u[None]) <= 0).sum()) == 0
    inner = (slice(None), slice(None), *[slice(4, -4)] * 3)
    error = {name: (one.field.u[None] - truth).norm(dim=1, keepdim=True)[inner] for name, one in found.items()}
    outside = (parts == 0)[inner]
    assert error["held"][~outside].mean() < error["free"][~outside].mean()
    assert error["held"][outside].mean() < 1.05 * error["free"][outside].mean()


def test_what_slides_along_a_wall_is_smeared_less_with_sliding(model):
    shape = (40, 36, 28)
    texture = _texture(7, shape)
    truth = torch.zeros(1, 3, *shape)
    truth[:, 2, :, :18], truth[:, 2, :, 18:] = 1.0, -1.0  # voxels, along the wall between rows 17 and 18
    pair = _pair(model, texture, ff.warp(texture[None, None], -truth)[0, 0])
    error = {}
    for sliding in (False, True):
        settings = OptimisationSettings(sliding=sliding, spacing=10.0, smoothness=2.0)
        u = optimisation.refine_pair(model, pair, Alignment(torch.zeros_like(truth)), 24, settings=settings).field.u
        assert int((ff.jacobian_determinant(u[None]) <= 0).sum()) == 0
        near = (slice(None), slice(None), slice(5, -5), slice(12, 24), slice(5, -5))
        error[sliding] = float((u[None] - truth)[near].norm(dim=1).mean())
    assert error[True] < 0.9 * error[False]
