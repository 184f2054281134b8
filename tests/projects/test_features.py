"""The painter and the losses of projects/features."""

from __future__ import annotations

import pytest
import torch
from train import Painter, by_label, by_voxel, network


def test_a_label_map_and_its_pictures_repeat_and_differ():
    first, again = (Painter(24, [], seed=3) for _ in range(2))
    labels = first.labels()
    assert torch.equal(labels, again.labels()) and labels.shape == (24, 24, 24) and labels.unique().numel() > 2
    one, other = first.view(labels), first.view(labels)
    assert torch.equal(one, again.view(labels)) and not torch.equal(one, other)
    assert one.abs().max() <= 1 and torch.isfinite(one).all()


def test_a_crop_of_a_phantom_holds_its_labels():
    whole = torch.arange(30).view(-1, 1, 1).expand(30, 30, 30) // 10 + 40
    painter = Painter(24, [whole], seed=0)
    assert any(set(painter.labels().unique().tolist()) == {40, 41, 42} for _ in range(8))


@pytest.mark.parametrize("loss", ["label", "voxel"])
def test_features_of_the_right_place_cost_less(loss):
    labels = torch.arange(8).repeat_interleave(4)
    at = torch.stack([torch.arange(32.0) * 5, torch.zeros(32), torch.zeros(32)], dim=1)
    right = torch.nn.functional.one_hot(labels if loss == "label" else torch.arange(32), 32).float()
    wrong = right.roll(4, dims=0)

    def cost(a, b):
        return float(by_label(a, b, labels) if loss == "label" else by_voxel(a, b, labels, at))

    assert cost(right, right) < 0.5 * cost(right, wrong)


def test_neighbours_are_neither_alike_nor_different():
    labels, features = torch.zeros(3, dtype=torch.long), torch.eye(3)
    at = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [9.0, 0, 0]])
    # The first two see only themselves and the third: exp(10) against exp(0), in both directions.
    expected = 2 * torch.log1p(torch.exp(torch.tensor(-10.0)))
    third = 2 * torch.log1p(2 * torch.exp(torch.tensor(-10.0)))
    assert float(by_voxel(features, features, labels, at)) == pytest.approx(float((2 * expected + third) / 3), rel=1e-3)


def test_the_network_gives_sixteen_channels():
    net = network()
    assert net(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 16, 16, 16, 16)
    assert sum(p.numel() for p in net.parameters()) == 229_648
