import math

import pytest
import torch

from jssr.losses.overlap import cross_entropy, one_hot, soft_dice, soft_dice_loss


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


def test_cross_entropy_of_equal_logits():
    assert cross_entropy(torch.zeros(1, 4, 5), torch.ones(1, 1, 5, dtype=torch.long)).item() == pytest.approx(
        math.log(4)
    )
