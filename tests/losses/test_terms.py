import math

import pytest
import torch

from jssr.core import kernels
from jssr.core.field import identity
from jssr.losses.terms import (
    Taught,
    critic_loss,
    cross_entropy,
    diffusion,
    generator_loss,
    one_hot,
    pooled_shares,
    soft_dice,
    soft_dice_loss,
)  # fmt: skip


def test_soft_dice_by_hand():
    p = torch.tensor([[[0.5, 1.0, 0.0, 0.0]]])
    q = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
    # 2 (0.5 + 1) / (0.25 + 1 + 3) = 3 / 4.25
    assert soft_dice(p, q, eps=0.0).item() == pytest.approx(3 / 4.25)
    mask = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    assert soft_dice(p, q, mask, eps=0.0).item() == pytest.approx(3 / 3.25)


def test_soft_dice_of_a_class_that_is_in_neither_is_one():
    assert soft_dice(torch.zeros(1, 2, 9), torch.zeros(1, 2, 9)).tolist() == [[1.0, 1.0]]


def test_loss_leaves_the_background_out():
    labels = torch.tensor([[[0, 0, 1, 2]]])
    truth = one_hot(labels, 3)
    assert truth.shape == (1, 3, 4)
    wrong = truth.clone()
    wrong[:, 0] = 0.3
    assert soft_dice_loss(wrong, truth).item() == pytest.approx(0.0, abs=1e-6)
    blank = one_hot(torch.zeros_like(labels), 3)
    assert soft_dice_loss(blank, truth).item() == pytest.approx(0.5, abs=1e-6)  # one voxel a class, eps 1: Dice 1/2


def test_loss_of_classes_that_are_there():
    truth = one_hot(torch.tensor([[[0, 0, 0, 1, 1, 2]]]), 4)
    found = torch.full((1, 4, 6), 0.5)
    # 2 p'q / (p'p + q'q) with one voxel added: class 1 (2 + 1) / (1.5 + 2 + 1), class 2 (1 + 1) / (1.5 + 1 + 1).
    assert soft_dice_loss(found, truth, least=2).item() == pytest.approx(1 - 3 / 4.5)
    assert soft_dice_loss(found, truth, least=1).item() == pytest.approx(1 - (3 / 4.5 + 2 / 3.5) / 2)
    mask = torch.tensor([[[1.0, 1, 1, 1, 0, 0]]])
    assert soft_dice_loss(found, truth, mask, least=1).item() == pytest.approx(1 - (1 + 1) / (1 + 1 + 1))
    assert soft_dice_loss(found, truth, least=9).item() == 0.0


def test_cross_entropy_of_equal_logits():
    assert cross_entropy(torch.zeros(1, 4, 5), torch.ones(1, 1, 5, dtype=torch.long)).item() == pytest.approx(
        math.log(4)
    )


def test_diffusion_of_a_linear_field():
    # u_0 = 0.5 i: along axis 0 its difference is 0.5, the other two components and axes have none.
    # VoxelMorph: mean over components and voxels (0.25 / 3), mean over the three axes (/ 3).
    u = torch.zeros(1, 3, 6, 6, 6)
    u[:, 0] = 0.5 * identity((6, 6, 6))[:, 0]
    assert diffusion(u).item() == pytest.approx(0.25 / 9)


def test_diffusion_of_a_shift_is_zero():
    assert diffusion(torch.full((1, 2, 5, 5), 3.0)).item() == 0.0


def test_at_indifference_both_are_log_two():
    zero = torch.zeros(1, 1, 3, 3, 3)
    assert critic_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert generator_loss(zero).item() == pytest.approx(math.log(2))


def test_the_critic_wants_real_up_and_fake_down_and_the_generator_fake_up():
    up, down = torch.full((1, 1, 2), 4.0), torch.full((1, 1, 2), -4.0)
    assert critic_loss(up, down) < critic_loss(down, up)
    assert generator_loss(up) < generator_loss(down)
    assert critic_loss(up, down).item() == pytest.approx(2 * math.log1p(math.exp(-4)))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("least", [0.0, 60.0])
def test_losses_of_what_is_taught_are_those_of_probabilities_and_labels(monkeypatch, least, compiled):
    if not compiled:
        monkeypatch.setattr(kernels, "library", lambda: None)
    torch.manual_seed(0)
    logits = (3 * torch.randn(2, 4, 5, 6, 9)).requires_grad_()
    labels = torch.randint(0, 4, (2, 1, 5, 6, 9))
    taught = Taught(logits, labels)
    found = taught.dice_loss(least), taught.cross_entropy()
    known = soft_dice_loss(logits.softmax(dim=1), one_hot(labels, 4), least=least), cross_entropy(logits, labels)
    for ours, theirs in zip(found, known, strict=True):
        torch.testing.assert_close(ours, theirs)
        gradients = [torch.autograd.grad(one, logits, retain_graph=True)[0] for one in (ours, theirs)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("gradient", [True, False])
def test_shares_are_pooled_with_the_blocks_that_the_border_cuts(gradient):
    logits = torch.zeros(1, 2, 2, 2, 3, requires_grad=gradient)
    with torch.no_grad():
        logits[0, 0] = torch.tensor([0.0, math.log(3.0), math.log(4.0)])
    assert pooled_shares(logits, 2)[0, 0].flatten().tolist() == pytest.approx([(0.5 + 0.75) / 2, 0.8])
    assert pooled_shares(logits, 1)[0, 0, 1, 1].tolist() == pytest.approx([0.5, 0.75, 0.8])
