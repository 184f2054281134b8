"""macJNet: what each term is, whom it moves, and that the register learns across contrasts."""

import pytest
import torch
from torch.nn.functional import avg_pool3d

from jssr.core.field import identity, resize_field, warp
from jssr.losses.mind import described, mind_ssc
from jssr.losses.terms import one_hot, soft_dice
from jssr.nets.blocks import upsample_to
from jssr.nets.lapirn import Pyramid
from jssr.recipes import RECIPES
from jssr.systems import SYSTEMS
from jssr.systems.base import Batch

PHI = {part: {"width": 4, "blocks": 1} for part in ("Phi1", "Phi2", "Phi3")}
SEG = {part: {"widths": [4, 6, 8], "heads": 1} for part in ("M", "F")}
QUICK = {
    "similarity": "macmind",
    "settings": {"distance": 1, "patch": 3, "bins": {"support": 3, "angles": 1, "rings": 1, "slabs": 1}},
}


def make(parts=None, **options):
    torch.manual_seed(0)
    return SYSTEMS["macjnet"]({**PHI, **SEG} if parts is None else parts, options or QUICK, 3)


def batch(labelled=(True,), shape=(16, 16, 16)):
    count = len(labelled)
    x, y = torch.rand(2, count, 1, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    known = torch.tensor(labelled)
    labels = [((image > 0).long() + (image > 0.5).long()) * known.view(-1, 1, 1, 1, 1) for image in (x, y)]
    if not known.any():
        return Batch(x, y, torch.ones_like(x), torch.ones_like(x))
    return Batch(x, y, torch.ones_like(x), torch.ones_like(x), *labels, labelled=known)


def fixed_field(system, u):
    """Phi3 answers u, the others nothing."""

    class Says(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = torch.nn.Parameter(torch.tensor(value))

        def forward(self, *images, below=None):
            return self.value.expand(images[0].shape[0], 3, *images[0].shape[2:]), images[0]

    system.Phi1, system.Phi2, system.Phi3 = Says(0.0), Says(0.0), Says(u)
    return system


@pytest.mark.parametrize("carried", [False, True])
def test_the_label_term_is_the_dice_of_warped_label_maps_in_air_too(carried):
    system, pair = fixed_field(make(**QUICK, carried=carried), 1.0), batch()
    pair.fixed[..., :8] = -1.0  # what lies in air has a descriptor of nothing, but a label
    p_x, p_y = (one_hot(labels, 3) for labels in (pair.moving_labels, pair.fixed_labels))
    tau = torch.ones(1, 3, 16, 16, 16)
    mask = warp(pair.moving_mask, tau)
    expected = 1 - soft_dice(warp(p_x, tau)[:, 1:], p_y[:, 1:], mask).mean()
    torch.testing.assert_close(system.losses(pair, "register")["label"](), expected)


def test_without_label_maps_the_segmentors_stand_in_and_are_not_moved():
    system, pair = fixed_field(make(), 0.0), batch((False,))
    term = system.losses(pair, "register")["label"]()
    with torch.no_grad():
        s_x, s_y = system.M(pair.moving).softmax(1), system.F(pair.fixed).softmax(1)
    torch.testing.assert_close(term, 1 - soft_dice(s_x[:, 1:], s_y[:, 1:]).mean())
    term.backward()
    assert system.Phi3.value.grad is not None
    assert all(p.grad is None for part in (system.M, system.F) for p in part.parameters())


def test_a_mixed_batch_is_the_mean_of_its_pairs():
    system = fixed_field(make(), 1.0)
    both, one, other = batch((True, False)), batch((True, False)), batch((True, False))
    for single, k in ((one, 0), (other, 1)):
        for name in ("moving", "fixed", "moving_mask", "fixed_mask", "moving_labels", "fixed_labels", "labelled"):
            setattr(single, name, getattr(single, name)[k : k + 1])
    for group, name in (("register", "label"), ("segmentors", "sup"), ("segmentors", "cons")):
        whole = system.losses(both, group)[name]()
        parts = [system.losses(single, group)[name]() for single in (one, other)]
        torch.testing.assert_close(whole, sum(parts) / 2, rtol=1e-4, atol=1e-5)
    # (16): what has label maps is taught by them alone, what has none by agreement alone.
    assert system.losses(one, "segmentors")["cons"]() == 0
    assert system.losses(other, "segmentors")["sup"]() == 0


def test_the_segmentors_terms_move_the_segmentors_alone():
    system = make()
    for labelled, name in (((True,), "sup"), ((False,), "cons")):
        system.zero_grad(set_to_none=True)
        system.losses(batch(labelled), "segmentors")[name]().backward()
        for part in ("M", "F"):
            assert any(p.grad is not None and p.grad.any() for p in getattr(system, part).parameters()), (name, part)
        assert all(p.grad is None for part in PHI for p in getattr(system, part).parameters())


def test_sup_weighs_the_heads_by_halves():
    system, pair = make(), batch()
    total = 0.0
    for part, image, labels in ((system.M, pair.moving, pair.moving_labels), (system.F, pair.fixed, pair.fixed_labels)):
        fine, head = part.scales(image).softmax(2).unbind(1)
        losses = [1 - soft_dice(p[:, 1:], one_hot(labels, 3)[:, 1:]).mean() for p in (fine, head)]
        total += (losses[0] + losses[1] / 2) / 1.5
    torch.testing.assert_close(system.losses(pair, "segmentors")["sup"](), total)


def test_the_register_learns_across_inverted_contrast():
    system = make(PHI, similarity="mind")
    at = identity((32, 32, 32)) - 16
    blob = torch.exp(-(at**2).sum(1, keepdim=True) / 40)
    shifted = torch.exp(-((at - torch.tensor([3.0, 0, 0]).view(1, 3, 1, 1, 1)) ** 2).sum(1, keepdim=True) / 40)
    pair = Batch(1 - 2 * shifted, 2 * blob - 1)
    adam = torch.optim.Adam(system.Phi1.parameters(), 1e-2)
    for _ in range(30):
        pair.memo.clear()
        terms = system.losses(pair, "register")
        loss = 20 * terms["sim1"]() + 0.05 * terms["smooth1"]()
        adam.zero_grad()
        loss.backward()
        adam.step()
    u = resize_field(Pyramid(system.levels, pair.moving, pair.fixed).field(1), (32, 32, 32))
    assert u[0, 0, 13:19, 13:19, 13:19].mean() > 1.5


def test_what_the_register_compares_and_is_shown_are_options():
    with pytest.raises(ValueError, match="costs are of a descriptor, one of mind-ssc, mind, macmind, not 'ncc'"):
        make(PHI, similarity="mind", costs="ncc")
    with pytest.raises(ValueError, match="carried is true or false, not 'False'"):
        make(PHI, similarity="mind", carried="False")
    torch.manual_seed(3)
    shown, plain = make(PHI, similarity="mind", costs="macmind", carried=True), make(PHI, similarity="mind")
    assert [level.features[0].in_channels for level in shown.levels] == [29, 32, 32]
    assert [level.features[0].in_channels for level in plain.levels] == [2, 5, 5]
    image = torch.rand(1, 1, 13, 18, 11)
    assert shown.align(image, image, image, image).displacement.shape == (1, 3, 13, 18, 11)
    own = make(PHI, **QUICK, costs="macmind")
    descriptor = own.measure.describe(image)
    torch.testing.assert_close(own.compared(image), descriptor)  # of its own settings
    assert not torch.allclose(shown.compared(image), descriptor)
    # Carried, without a shift: MIND-SSC of both scans, read aside by the same, where the fixed scan is not air.
    pair = Batch(*(torch.rand(2, 1, 1, 16, 16, 16) * 2 - 1), *torch.ones(2, 1, 1, 16, 16, 16))
    pair.fixed[..., :8] = -1.0
    still = fixed_field(shown, 0.0)
    torch.manual_seed(7)
    found = still.losses(pair, "register")["sim1"]()
    torch.manual_seed(7)
    aside = (torch.rand(3) - 0.5).view(1, 3, 1, 1, 1).expand(1, 3, 4, 4, 4)
    x, y = (warp(mind_ssc(avg_pool3d(image, 4)), aside) for image in (pair.moving, pair.fixed))
    weight = upsample_to(described(pair.fixed), (4, 4, 4))
    assert 0 < weight.mean() < 1
    torch.testing.assert_close(found, ((x - y).square().mean(1, keepdim=True) * weight).sum() / weight.sum())


def test_align_gives_a_field_and_both_segmentations_of_any_size():
    system = make().eval()
    image = torch.rand(1, 1, 13, 18, 11)
    found = system.align(image, image, image, image)
    assert found.displacement.shape == (1, 3, 13, 18, 11)
    assert found.moving_segmentation.shape == found.fixed_segmentation.shape == (1, 3, 13, 18, 11)
    torch.testing.assert_close(found.fixed_segmentation.sum(1), torch.ones(1, 13, 18, 11))
    torch.testing.assert_close(system.segment(image), found.fixed_segmentation)
    torch.testing.assert_close(system.segment_moving(image), found.moving_segmentation)


def test_parts_can_be_left_out_together_only():
    register, segmentors = make(PHI), make(SEG)
    assert (register.networks, dict(register.outputs)) == (("Phi1", "Phi2", "Phi3"), {"displacement": "Phi3"})
    assert (segmentors.networks, dict(segmentors.outputs)) == (("M", "F"), {"segmentation": "F"})
    for wrong in ({"Phi1": PHI["Phi1"]}, {**PHI, "M": SEG["M"]}, {}):
        with pytest.raises(ValueError, match="all of Phi1"):
            make(wrong)
    with pytest.raises(ValueError, match="pairs without labels need segmentors"):
        register.losses(batch((False,)), "register")["label"]()


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name.startswith("macjnet")])
def test_a_recipes_stages_train_their_parts_and_nothing_else(recipe):
    plan = RECIPES[recipe]()
    system = make({part: {**PHI, **SEG}[part] for part in plan.network.networks}, **plan.network.options)
    for stage in plan.training.stages:
        for group, parts in stage.train.items():
            system.zero_grad(set_to_none=True)
            terms = system.losses(batch((True, False)), group)
            weighed = [weight * terms[name]() for name, weight in stage.weights.items() if name in terms]
            torch.stack(weighed).sum().backward()
            for part in system.networks:
                gradients = [p.grad for p in getattr(system, part).parameters() if p.grad is not None]
                assert all(g.isfinite().all() for g in gradients), (stage.name, part)
                assert any(g.any() for g in gradients) == (part in parts), (stage.name, part)


def test_a_register_that_sees_costs_takes_the_place_of_the_pyramid():
    phi = {"Phi": {"levels": [[2, 1, 1, 1], [1, 1, 2, 1]], "width": 4}}
    system, pair = make({**phi, **SEG}), batch()
    assert system.networks == ("Phi", "M", "F") and system.outputs["displacement"] == "Phi"
    terms = system.losses(pair, "register")
    total = terms["sim3"]() + terms["smooth3"]() + terms["label"]()
    total.backward()
    assert all(p.grad is not None for p in system.Phi.parameters())
    pyramid = system._pyramid(pair)
    assert torch.allclose(pyramid.field(2), avg_pool3d(pyramid.field(3), 2) / 2)
    found = system.align(pair.moving, pair.fixed, pair.moving_mask, pair.fixed_mask)
    assert torch.allclose(found.displacement, pyramid.finest, atol=1e-5)
    with pytest.raises(ValueError, match="or Phi"):
        make({**phi, **PHI})
