import pytest
import torch

from jssr.core import kernels
from jssr.core.field import identity, warp
from jssr.systems import SYSTEMS
from jssr.systems.base import Batch
from jssr.systems.jssr import Forward

TINY = {
    "G": {"width": 4, "trunk_widths": [4, 4], "trunk_convs": [1, 1]},
    "Phi": {"widths": [4, 4], "convs": [1, 1]},
    "S": {"widths": [4, 4], "convs": [1, 1], "kernel": 3},
    "D": {"width": 4, "layers": 1},
}
ALL = {"gan", "reg", "ncc", "smooth", "cons", "cons_raw", "commute", "sup", "sup_ce"}


def make(parts="G Phi S D", **options):
    torch.manual_seed(0)
    return SYSTEMS["jssr"]({p: TINY[p] for p in parts.split()}, options, 3)


def batch(size=16, masks=False):
    x, y, s = torch.rand(3, 1, 1, size, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    labels = (s > 0).long() + (s > 0.5).long()
    ones = torch.ones_like(x) if masks else None
    return Batch(x, y, ones, ones, supervised=s, supervised_labels=labels)


def test_every_term_is_there_finite_and_reaches_its_networks():
    system = make(passes=2, squarings=3, coarse=2)
    terms = system.losses(batch(masks=True), "main")
    assert set(terms) == ALL
    reaches = {"gan": "G", "reg": "G Phi", "smooth": "G Phi", "cons": "G Phi S", "sup": "S", "sup_ce": "S"}
    for name, parts in reaches.items():
        system.zero_grad()
        value = system.losses(batch(), "main")[name]()
        value.backward()
        assert torch.isfinite(value)
        for part in ("G", "Phi", "S"):
            moved = any(p.grad is not None and p.grad.abs().sum() > 0 for p in getattr(system, part).parameters())
            assert moved == (part in parts.split()), f"{name} and {part}"


def test_the_critic_trains_no_generator():
    system = make()
    system.losses(batch(), "critic")["critic"]().backward()
    assert all(p.grad is None for p in system.G.parameters())
    assert any(p.grad is not None for p in system.D.parameters())


def test_a_stage_computes_only_what_it_weighs():
    system, calls = make(), []
    for name in ("G", "Phi", "S", "D"):
        getattr(system, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    terms = system.losses(batch(), "main")
    terms["sup"]()
    terms["sup_ce"]()
    assert calls == ["S"]  # once, shared, and nothing else ran


def test_the_players_of_one_step_share_g():
    system, calls = make(), []
    system.G.register_forward_hook(lambda *_: calls.append("G"))
    shared = batch()
    system.losses(shared, "critic")["critic"]()
    system.losses(shared, "main")["reg"]()
    assert calls == ["G"]


def test_the_second_pass_composes_fields():
    """A register that always answers one voxel along axis 0: twice is two voxels, in the pull convention."""
    system = make(passes=2)

    class Shift(torch.nn.Module):
        def forward(self, pair):
            u = torch.zeros(1, 3, *pair.shape[2:])
            u[:, 0] = 1
            return u

    system.Phi = Shift()
    x, y = batch().moving, batch().fixed
    tau = system.register(x, y)
    assert torch.allclose(tau[:, 0], torch.tensor(2.0)) and tau[:, 1:].abs().max() == 0
    assert torch.allclose(warp(x, tau)[..., :-2, :, :], x[..., 2:, :, :], atol=1e-4)


def test_the_velocity_is_integrated_in_full_resolution_voxels():
    system = make(squarings=6)

    class Half(torch.nn.Module):
        def forward(self, pair):
            return torch.full((1, 3, 9, 9, 9), 0.5)  # half resolution of 17^3: one full voxel there

    system.Phi = Half()
    tau = system.register(torch.zeros(1, 1, 17, 17, 17), torch.zeros(1, 1, 17, 17, 17))
    assert tau.shape == (1, 3, 17, 17, 17)
    assert torch.allclose(tau, torch.tensor(1.0), atol=1e-4)


def test_consistency_is_zero_for_equal_images_under_the_identity():
    """(8) with G(x, y) = x = y and tau = I: the soft Dice of a map with itself is 1 whatever S says."""
    system = make("Phi S")
    same = batch()
    same.moving = same.fixed
    same.memo["forward"] = Forward(system, same)
    same.memo["forward"].displacement = torch.zeros(1, 3, 16, 16, 16)
    assert system.losses(same, "main")["cons"]().item() == pytest.approx(0.0, abs=1e-5)


def test_without_a_generator_it_is_jsegr():
    system = make("Phi S")
    assert system.networks == ("Phi", "S")
    f = Forward(system, batch())
    assert f.g is f.x
    with pytest.raises(NotImplementedError, match="no generator"):
        system.synthesise(f.x, f.y)


def test_align_says_everything_on_the_inputs_grid():
    pair = batch()
    out = make(passes=2, squarings=2, coarse=2).align(pair.moving, pair.fixed, torch.ones(1), torch.ones(1))
    assert out.displacement.shape == (1, 3, 16, 16, 16)
    assert out.synthesised.shape == (1, 1, 16, 16, 16)
    assert out.moving_segmentation.shape == (1, 3, 16, 16, 16)
    assert torch.allclose(out.fixed_segmentation.sum(dim=1), torch.tensor(1.0), atol=1e-5)


def test_align_without_segmentor_or_generator():
    pair = batch()
    out = make("Phi").align(pair.moving, pair.fixed, torch.ones(1), torch.ones(1))
    assert out.synthesised is None and out.fixed_segmentation is None


def test_a_few_steps_align_a_shifted_blob():
    """The register alone learns a shift of two voxels from (4) and (5)."""
    torch.manual_seed(0)
    i = identity((16, 16, 16))
    y = torch.exp(-((i - 8) ** 2).sum(1, keepdim=True) / 18)
    shift = torch.tensor([2.0, 0, 0]).view(1, 3, 1, 1, 1)
    x = torch.exp(-((i - 8 - shift) ** 2).sum(1, keepdim=True) / 18)
    system = make("Phi")
    adam = torch.optim.Adam(system.parameters(), 1e-2)
    first = last = None
    for _ in range(30):
        terms = system.losses(Batch(x, y), "main")
        loss = terms["reg"]() + 0.01 * terms["smooth"]()
        adam.zero_grad()
        loss.backward()
        adam.step()
        first = loss.item() if first is None else first
        last = loss.item()
    tau = system.register(x, y)
    assert last < 0.4 * first
    assert tau[0, 0, 6:11, 6:11, 6:11].mean() > 1.0  # it pulls from +2: the sign is right


@pytest.mark.skipif(kernels.library() is None, reason="the loops are not compiled")
def test_a_step_by_the_compiled_loops_is_that_of_torch(monkeypatch):
    """Losses, and the gradients of every network. The fields are of some voxels: of one that is nearly 0 a warp's own
    gradient jumps from cell to cell, where torch's rounding of positions decides."""
    system, found = make(passes=2, squarings=2, coarse=2), []
    for side in system.Phi.sides:
        torch.nn.init.normal_(side.weight, 0.0, 0.3)
    labels = torch.randint(0, 3, (1, 1, 16, 16, 16), generator=torch.Generator().manual_seed(1))
    for loops in (True, False):
        if not loops:
            monkeypatch.setattr(kernels, "library", lambda: None)
        one, values = batch(masks=True), []
        one.supervised, one.supervised_labels = one.moving, labels
        for group in ("critic", "main"):
            terms = system.losses(one, group)
            names = [n for n in terms if n not in ("cons_raw", "commute")]
            values += [terms[n]() for n in names]
        torch.stack(values).sum().backward()
        found.append([torch.stack(values).detach(), *(p.grad for p in system.parameters())])
        system.zero_grad(set_to_none=True)
    assert float(found[0][0].abs().min()) > 1e-6
    for ours, theirs in zip(*found, strict=True):
        assert float((ours - theirs).norm()) <= 1e-4 * float(theirs.norm()) + 1e-6
