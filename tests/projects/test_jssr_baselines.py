"""VoxelMorph, LapIRN, Pix2Pix and V-Net alone: what each term is, what it reaches, and that it learns."""

import importlib

import pytest
import torch

from jssr.core.field import identity, resize_field, warp
from jssr.losses.similarity import l1, lncc
from jssr.nets.lapirn import LEVELS, LapIRNLevel, Pyramid, make_levels
from jssr.recipes import MOVED
from jssr.recipes.load import load_recipe
from jssr.systems.base import Batch

UNET = {"encoder": [4, 4], "decoder": [4, 4], "head": [4]}
TINY = {
    "voxelmorph": {"Phi": UNET},
    "lapirn": {part: {"width": 4, "blocks": 1} for part in ("Phi1", "Phi2", "Phi3")},
    "pix2pix": {"G": UNET, "D": {"width": 4, "layers": 1}},
    "vnet": {"S": {"widths": [4, 4], "convs": [1, 1], "kernel": 3}},
}


def make(name, **options):
    torch.manual_seed(0)
    return importlib.import_module(name).build(TINY[name], options, 3)


def batch(shape=(16, 16, 16)):
    x, y, s = torch.rand(3, 1, 1, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Batch(x, y, torch.ones_like(x), torch.ones_like(x), supervised=s, supervised_labels=(s > 0).long())


def blob(shift=0.0, size=16):
    at = identity((size, size, size)) - size / 2 - torch.tensor([shift, 0, 0]).view(1, 3, 1, 1, 1)
    return torch.exp(-(at**2).sum(1, keepdim=True) / 18)


def learn(system, pair, weights, networks, steps, rate=1e-2):
    """Adam on weighted terms; the total of the first and of the last step."""
    adam = torch.optim.Adam([p for name in networks for p in getattr(system, name).parameters()], rate)
    totals = []
    for _ in range(steps):
        pair.memo.clear()
        terms = system.losses(pair, "main")
        loss = sum(weight * terms[name]() for name, weight in weights.items())
        adam.zero_grad()
        loss.backward()
        adam.step()
        totals.append(loss.item())
    return totals[0], totals[-1]


@pytest.mark.parametrize("file", [file for name, file in MOVED.items() if name.split("-")[0] in TINY])
def test_the_terms_of_a_recipe_are_finite_and_train_their_networks(file, projects):
    """Every recipe's stages, on the tiny networks of its system."""
    plan = load_recipe(projects / file)
    system = make(plan.network.system)
    for stage in plan.training.stages:
        for group, networks in stage.train.items():
            system.zero_grad(set_to_none=True)
            terms = system.losses(batch(), group)
            weighted = [terms[name] for name in stage.weights if name in terms]
            total = torch.stack([term() for term in weighted]).sum()
            assert torch.isfinite(total)
            total.backward()
            for name in networks:
                gradients = [p.grad for p in getattr(system, name).parameters() if p.grad is not None]
                assert gradients and all(g.isfinite().all() for g in gradients), (stage.name, name)


@pytest.mark.parametrize("name", TINY)
def test_align_answers_on_the_inputs_grid_whatever_its_size(name):
    pair = batch((19, 17, 13))
    out = make(name).align(pair.moving, pair.fixed, pair.moving_mask, pair.fixed_mask)
    assert out.displacement.shape == (1, 3, 19, 17, 13) and out.displacement.isfinite().all()
    assert (out.synthesised is not None) == (name == "pix2pix")
    assert (out.fixed_segmentation is not None) == (name == "vnet")


@pytest.mark.parametrize("name", ["vnet", "pix2pix"])
def test_systems_without_a_register_move_nothing_and_say_so(name):
    pair, system = batch(), make(name)
    assert "displacement" not in system.outputs
    assert system.align(pair.moving, pair.fixed, pair.moving_mask, pair.fixed_mask).displacement.abs().max() == 0


@pytest.mark.parametrize("squarings", [0, 4])
@pytest.mark.parametrize("term", ["ncc", "mind"])
def test_voxelmorph_learns_which_way_a_blob_lies(term, squarings):
    """The moving blob lies 2 voxels up axis 0: the field must pull from there, in voxels of full size."""
    system = make("voxelmorph", squarings=squarings)
    noise = 0.1 * torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(2))
    texture = warp(noise, torch.tensor([-2.0, 0, 0]).view(1, 3, 1, 1, 1).expand(1, 3, 16, 16, 16))
    pair = Batch(blob(2.0) + texture, blob() + noise)
    first, last = learn(system, pair, {term: 1.0, "smooth": 0.1}, ("Phi",), 25)
    assert last < 0.7 * first
    assert system.register(pair.moving, pair.fixed)[0, 0, 5:11, 5:11, 5:11].mean() > 1.0


def test_voxelmorphs_terms_are_those_of_its_own_warp():
    system, pair = make("voxelmorph", halved=False, squarings=0), batch()
    torch.nn.init.normal_(system.Phi.last.weight, 0, 0.05)
    tau = system.register(pair.moving, pair.fixed)
    assert tau.abs().max() > 0.01
    assert torch.allclose(system.losses(pair, "main")["ncc"](), lncc(warp(pair.moving, tau), pair.fixed), atol=1e-4)


def test_pix2pix_sees_the_source_only_and_its_critic_sees_both():
    system, pair = make("pix2pix"), batch()
    assert torch.equal(system.synthesise(pair.moving, pair.fixed), system.synthesise(pair.moving, -pair.fixed))
    value = system.losses(pair, "main")["l1"]()
    assert torch.allclose(value, l1(system.synthesise(pair.moving, pair.fixed), pair.fixed))
    system.zero_grad(set_to_none=True)
    system.losses(pair, "critic")["critic"]().backward()
    assert all(p.grad is None for p in system.G.parameters())
    assert system.D.net[0].weight.shape[1] == 2


def test_lapirn_adds_the_levels_in_voxels_of_each():
    """Networks that answer 1, 2 and 3 voxels of their own levels: 1 * 4 + 2 * 2 + 3 of the finest."""
    system = make("lapirn")

    class Says(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, *images, below=None):
            return torch.full((1, 3, *images[0].shape[2:]), self.value), images[0]

    system.Phi1, system.Phi2, system.Phi3 = Says(1.0), Says(2.0), Says(3.0)
    pair = batch()
    pyramid = system._pyramid(pair)
    assert [pyramid.field(level).shape[-1] for level in (1, 2, 3)] == [4, 8, 16]
    assert torch.allclose(pyramid.field(3), torch.tensor(11.0))
    assert pair.memo["pyramid"] is system._pyramid(pair)


def test_levels_of_lapirn_reach_the_same_distance_whatever_the_size():
    """Bounded by voxels: what is learned on patches must hold on whole scans."""
    levels = make_levels({part: {"width": 4, "blocks": 1} for part in LEVELS})
    for k, level in enumerate(levels):
        torch.nn.init.constant_(level.field[2].weight, 1e4)
        for shape in ((8, 16, 24), (32, 16, 8)):
            images = [torch.rand(1, 1, *shape), torch.rand(1, 1, *shape), *([torch.rand(1, 3, *shape)] if k else [])]
            below = torch.rand(1, 4, *[s // 2 for s in shape]) if k else None
            with torch.no_grad():
                u, _ = level(*images, below=below)
            assert u.abs().amax() * 2 ** (2 - k) == pytest.approx(16, rel=0.05)  # in voxels of the finest
    assert LapIRNLevel(2, width=4, blocks=1, reach=3.0).reach == 3.0


def test_levels_of_lapirn_begin_by_adding_next_to_nothing():
    system, pair = make("lapirn"), batch()
    with torch.no_grad():
        assert Pyramid(system.levels, pair.moving, pair.fixed).field(3).abs().amax() < 1e-2


def test_lapirns_finer_terms_leave_frozen_levels_alone():
    system, pair = make("lapirn"), batch()
    system.Phi1.requires_grad_(False)
    system.losses(pair, "main")["ncc2"]().backward()
    assert all(p.grad is None for p in system.Phi1.parameters())
    assert any(p.grad is not None for p in system.Phi2.parameters())
    assert all(p.grad is None for p in system.Phi3.parameters())


def test_lapirn_learns_which_way_a_blob_lies():
    system = make("lapirn")
    pair = Batch(blob(4.0, 32), blob(0.0, 32))
    weights = {"ncc1": 1.0, "smooth1": 0.05}
    first, last = learn(system, pair, weights, ("Phi1",), 25)
    assert last < first
    u = resize_field(Pyramid(system.levels, pair.moving, pair.fixed).field(1), (32, 32, 32))
    assert u[0, 0, 12:20, 12:20, 12:20].mean() > 1.5


def test_vnet_trains_by_the_supervised_scans():
    system, pair = make("vnet"), batch()
    first, last = learn(system, pair, {"sup": 1.0, "sup_ce": 0.5}, ("S",), 30)
    assert last < 0.7 * first
    assert torch.allclose(system.segment(pair.fixed).sum(dim=1), torch.tensor(1.0), atol=1e-5)
