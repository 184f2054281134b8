import pytest
import torch
from tiny_jssr import tiny_weights

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.preprocessing.prepare import prepare_pair
from jssr.registration import instance_optimisation as refinement
from jssr.registration.instance_optimisation import Features, optimisation_grid, unlikeness
from jssr.registration.model import load_model
from jssr.registration.pipeline import prepare
from jssr.systems.base import Alignment


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(None, tiny_weights(tmp_path_factory.mktemp("weights")))


def test_unlikeness_is_none_at_the_true_field_and_counts_the_body_alone():
    y = ff.smooth(torch.randn(1, 3, 16, 16, 16, generator=torch.Generator().manual_seed(0)), 1.5)
    x = torch.roll(y, 2, dims=2)
    u = torch.zeros(1, 3, 16, 16, 16)
    u[:, 0] = 2.0
    body = torch.zeros(1, 1, 16, 16, 16)
    body[:, :, 2:12] = 1
    ones = torch.ones_like(body)
    assert unlikeness([Features(x, y)], u, body, ones) < 1e-10
    wrong = unlikeness([Features(x, y)], torch.zeros_like(u), body, ones)
    thin = ((x - y) ** 2).sum(1)[0, 3:12:3, ::3, ::3].mean()  # every third voxel
    assert abs(wrong - float(thin)) < 1e-5


def test_the_grid_is_made_finer_but_not_endless():
    assert optimisation_grid(Grid.of((60, 50, 40), (3.0, 3.0, 4.0))).spacing.tolist() == [2.0, 2.0, 2.0]
    large = optimisation_grid(Grid.of((130, 130, 100), (3.0, 3.0, 4.0)))
    assert large.voxels <= 1.05 * refinement.MOST_VOXELS


def test_what_a_search_described_on_nearly_as_fine_a_grid_is_not_described_again():
    scan = Volume(torch.zeros(1, 200, 160, 120), Grid.of((200, 160, 120), 2.5))
    scan.data[:, 20:180, 20:140, 10:110] = 1
    searched = prepare(load_model("discrete"), scan, scan, rigid=False).grid
    assert searched.spacing.min() > 2  # the scan is too large for the recipe's 2 mm
    assert optimisation_grid(searched).same_as(searched)
    assert not optimisation_grid(searched.respaced(searched.spacing * 1.1)).same_as(searched)


def test_a_field_that_makes_scans_less_alike_is_not_the_start(model):
    generator = torch.Generator().manual_seed(1)
    texture = ff.smooth(torch.randn(1, 1, 32, 32, 24, generator=generator), 1.5)[0] * 400
    scan = Volume(texture, Grid.of((32, 32, 24), 4.0))
    pair = prepare_pair(
        scan,
        scan,
        model.recipe.preprocessing.spacing,
        model.recipe.preprocessing.window,
        rigid=False,
        finer=optimisation_grid,
    )
    tau = torch.full((1, 3, *pair.grid.shape), 3.0)
    found, warnings = refinement.refine_pair(model, pair, Alignment(tau), 1)
    assert warnings == (refinement.LOST,)
    assert found.u.abs().max() < 1
    found, warnings = refinement.refine_pair(model, pair, Alignment(tau * 0), 1)
    assert warnings == ()
    assert found.u.abs().max() < 1


def test_it_is_said_where_scans_are_not_alike_and_their_search_found_little(model):
    texture, other = (
        ff.smooth(torch.randn(1, 1, 32, 32, 24, generator=torch.Generator().manual_seed(s)), 1.5)[0] * 400
        for s in (1, 2)
    )
    grid = Grid.of((32, 32, 24), 4.0)
    scan, stranger = Volume(texture, grid), Volume(other, grid)
    pair = prepare_pair(
        scan,
        stranger,
        model.recipe.preprocessing.spacing,
        model.recipe.preprocessing.window,
        rigid=False,
        finer=optimisation_grid,
    )
    nothing = Alignment(torch.full((1, 3, *pair.grid.shape), 1e-3))
    _, (warning,) = refinement.refine_pair(model, pair, nothing, 1)
    assert "0 % only" in warning
    assert "--system rigid" in warning
    _, warnings = refinement.refine_pair(load_model(checkpoint=model, descriptor="mind"), pair, nothing, 1)
    assert warnings == ()  # how far apart is usual is known of MIND-SSC alone


def test_it_is_said_where_two_films_are_not_alike():
    film, other = (
        ff.smooth(torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(s)), 2.0)[0] for s in (1, 2)
    )
    grid, discrete = Grid.of((96, 96), 4.0), load_model("discrete")

    def warned(moving):
        pair = prepare(discrete, Volume(film, grid), Volume(moving, grid))
        tau = torch.full((1, 2, *pair.grid.shape), 1e-3)
        return refinement.refine_pair(discrete, pair, Alignment(tau), 1)[1]

    (warning,) = warned(other)
    assert "The films look unlike each other" in warning
    assert warned(-film) == ()


@pytest.mark.parametrize(("name", "channels"), [("mind-ssc", 12), ("mind", 6), ("macmind", 18)])
def test_a_named_descriptor_is_what_is_compared(model, name, channels):
    image = torch.rand(1, 1, 10, 11, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    (features,) = refinement.optimisation_features(image, -image, name)
    assert features.moving.shape == features.fixed.shape == (1, channels, 10, 11, 12)
    # Whatever its channels, a descriptor counts as twelve against the smoothness.
    assert features.weight * channels == pytest.approx(12)
    assert load_model(checkpoint=model, descriptor=name).recipe.inference.descriptor == name
    search = load_model("discrete", descriptor=name)
    assert search.recipe.inference.descriptor == name
    assert search.system.describe(image).shape[1] == channels


def test_an_unknown_descriptor_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown descriptor 'mindful'; there are mind-ssc, mind, macmind"):
        load_model("discrete", descriptor="mindful")
