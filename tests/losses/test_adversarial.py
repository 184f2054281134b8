import math

import pytest
import torch

from jssr.losses.adversarial import critic_loss, generator_loss


def test_at_indifference_both_are_log_two():
    zero = torch.zeros(1, 1, 3, 3, 3)
    assert critic_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert generator_loss(zero).item() == pytest.approx(math.log(2))


def test_the_critic_wants_real_up_and_fake_down_and_the_generator_fake_up():
    up, down = torch.full((1, 1, 2), 4.0), torch.full((1, 1, 2), -4.0)
    assert critic_loss(up, down) < critic_loss(down, up)
    assert generator_loss(up) < generator_loss(down)
    assert critic_loss(up, down).item() == pytest.approx(2 * math.log1p(math.exp(-4)))
