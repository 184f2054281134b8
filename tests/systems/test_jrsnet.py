import pytest
import torch

from jssr.errors import TrainingError
from jssr.nets.residual import Generated
from jssr.systems.base import Batch
from jssr.systems.jrsnet import build, field_error

SMALL = {"width": 6, "blocks": 2, "dilations": [1, 2], "reach": 4.0}
JUDGE = {"width": 4}


def batch(size=24, pairs=2):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randint(0, 32, (2, pairs, 1, size, size), generator=generator) / 15.5 - 1  # as NMI's 32 bins
    masks = (torch.rand(2, pairs, 1, size, size, generator=generator) > 0.5).long()
    truth = torch.randn(pairs, 2, size, size, generator=generator)
    ones = torch.ones_like(x)
    return Batch(x, y, ones, ones, moving_labels=masks[0], fixed_labels=masks[1], truth=truth)


def system(**options):
    torch.manual_seed(0)
    return build({"G": SMALL, "F": SMALL, "DY": JUDGE, "DX": JUDGE}, options, 2)


def test_every_term_is_finite_and_teaches_what_it_should():
    """(4) and (2) teach G, the cycle G and F, the critics' terms the critics alone."""
    net, data = system(unmasked=0.0), batch()
    taught = {"nmi": "G", "ssim": "G", "features": "G", "gan": "G", "gan_back": "F", "seg": "G", "field": "G",
              "cycle": "GF", "tied": "G", "critic_y": "D", "critic_x": "D"}  # fmt: skip
    for name, parts in taught.items():
        group = "critic" if parts == "D" else "main"
        data.memo.clear()
        net.zero_grad(set_to_none=True)
        value = net.losses(data, group)[name]()
        assert value.ndim == 0 and torch.isfinite(value)
        value.backward()
        moved = "".join(p for p in "GF" if any(q.grad is not None for q in getattr(net, p).parameters()))
        assert moved == ("" if parts == "D" else parts), name


def test_the_signs_are_those_that_can_be_minimised():
    """A perfect generator scores best: NMI of 2, SSIM, Dice and 1 - MSE of 1 (printed, two of them rise with it)."""
    net, data = system(), batch()
    y, p = data.fixed, data.fixed_labels.float()
    found = net.G(y, data.moving, p)
    good = type(found)(y, data.truth, [p])
    net.G = torch.nn.Identity()
    data.memo["g"] = good
    names = ("nmi", "ssim", "features", "seg", "field")
    best = [net.losses(data, "main")[name]().item() for name in names]
    assert best == pytest.approx([-2, 0, 0, 0, 0], abs=1e-3)
    data.memo["g"] = type(found)(y.roll(5, dims=2), -data.truth, [1 - p])
    worse = [net.losses(data, "main")[name]().item() for name in names]
    assert all(w > b + 0.05 for w, b in zip(worse, best, strict=True)), worse


def test_a_second_pass_sees_what_the_first_has_moved():
    """A generator that pulls by 3 pixels, then by 1: 4 in all, and where the image has ended it is black."""
    net, seen = system(passes=2), []
    y = x = torch.linspace(0, 1, 24).view(1, 1, 24, 1).expand(1, 1, 24, 24)

    class Pull(torch.nn.Module):
        def forward(self, reference, floating, mask):
            seen.append(floating)
            field = torch.zeros(1, 2, 24, 24)
            field[:, 0] = 3.0 if len(seen) == 1 else 1.0
            return Generated(floating, field, [floating])

    net.G = Pull()
    found = net.register(y, x, torch.zeros_like(x))
    assert len(seen) == 2 and (found.field[:, 0] == 4).all() and not found.field[:, 1].any()
    torch.testing.assert_close(seen[1][:, :, :21], x[:, :, 3:])
    assert (seen[1][:, :, 21:] == -1).all()
    net.passes = 1
    assert (net.register(y, x, torch.zeros_like(x)).field[:, 0] == 1).all() and len(seen) == 3


def test_the_fields_error_is_bounded():
    a = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert field_error(a, a).tolist() == [0, 0, 0]
    assert field_error(torch.zeros_like(a), 99 * a).tolist() == pytest.approx([0.5] * 3, abs=1e-3)
    assert field_error(-99 * a, 99 * a).tolist() == pytest.approx([1] * 3, abs=1e-3)
    assert field_error(torch.zeros_like(a), torch.zeros_like(a)).tolist() == [0, 0, 0]
    # By hand: 3 against 1 everywhere in one of two components, and half a pixel in both of either: 4 / (2 (9 + 1) + 2).
    one, three = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    one[:, 0], three[:, 0] = 1, 3
    assert field_error(three, one).item() == pytest.approx(4 / 22)
    still = torch.full((1, 2, 4, 4), 0.3, requires_grad=True)
    field_error(still, torch.zeros(1, 2, 4, 4)).sum().backward()
    assert (still.grad > 0).all()  # no motion is taught too


def test_masks_are_hidden_from_a_share_of_the_pairs():
    mask = torch.ones(1000, 1, 2, 2)
    torch.manual_seed(0)
    assert system(unmasked=0.25).shown(mask).mean().item() == pytest.approx(0.75, abs=0.05)
    assert system(masked=False).shown(mask).sum() == 0


def test_align_says_what_the_tool_needs():
    net, data = system().eval(), batch()
    ones = torch.ones_like(data.fixed)
    said = net.align(data.moving, data.fixed, ones, ones)
    known = net.align(data.moving, data.fixed, ones, ones, data.fixed_labels.float())
    assert said.displacement.shape == (2, 2, 24, 24) and said.synthesised.shape == (2, 1, 24, 24)
    assert not torch.equal(said.displacement, known.displacement)  # the mask is looked at
    assert torch.equal(said.fixed_segmentation, known.fixed_segmentation)  # but not by what is called segmentation
    torch.testing.assert_close(said.fixed_segmentation.sum(dim=1), torch.ones(2, 24, 24))
    assert said.registered and said.moving_segmentation.shape == (2, 2, 24, 24)
    hidden = system(masked=False).eval()
    alone = hidden.align(data.moving, data.fixed, ones, ones)
    assert torch.equal(
        alone.displacement, hidden.align(data.moving, data.fixed, ones, ones, data.fixed_labels.float()).displacement
    )
    assert alone.fixed_segmentation is None and hidden.outputs == {"displacement": "G"} and not hidden.reads_structure
    with pytest.raises(NotImplementedError, match="no segmentor"):
        hidden.segment(data.fixed)


def test_weights_that_are_not_there_are_missed_before_training():
    with pytest.raises(TrainingError, match="VGG16"):
        system(vgg16="none.pth").begin({"features", "nmi"})
    system(vgg16="none.pth").begin({"nmi"})


def test_the_mask_can_be_learned():
    """No head makes it: feature maps alone come to agree on a bright disc."""
    torch.manual_seed(0)
    net = build({"G": {"width": 8, "blocks": 2}}, {"unmasked": 1.0}, 2)
    i, j = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    disc = ((i - 9) ** 2 + (j - 13) ** 2 < 36)[None, None]
    noise = torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    image = (disc.float() * 0.6 - 0.3 + 0.3 * noise).clamp(-1, 1)
    data = Batch(image, image, fixed_labels=disc.long(), moving_labels=disc.long())
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(60):
        data.memo.clear()
        loss = net.losses(data, "main")["seg"]()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    said = net.segment(image)[:, 1:] > 0.5
    dice = 2 * (said & disc).sum() / (said.sum() + disc.sum())
    assert dice > 0.95


def test_one_structure_only():
    with pytest.raises(ValueError, match="one structure"):
        build({"G": SMALL}, {}, 3)
