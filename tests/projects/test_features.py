"""The pictures and the losses of projects/features."""

from __future__ import annotations

import math

import pytest
import torch
from project_files import project

from jssr.phantom.regions import Tissue

features = project("features_train", "features/train.py")


def test_an_example_is_one_place_in_two_contrasts():
    body = torch.full((60, 50, 200), int(Tissue.MUSCLE), dtype=torch.uint8)
    body[5:28, 10:40] = int(Tissue.LIVER)
    views, codes = features.example([body], 5, size=24)
    again = features.example([body], 5, size=24)
    assert torch.equal(views, again[0]) and torch.equal(codes, again[1])
    assert views.shape == (2, 1, 24, 24, 24) and codes.shape == (24, 24, 24) and codes.dtype == torch.int64
    assert views.abs().max() <= 1 and not torch.equal(views[0], views[1])


@pytest.mark.parametrize("loss", ["label", "voxel", "both"])
def test_features_of_the_right_place_cost_less(loss):
    labels = torch.arange(8).repeat_interleave(4)
    at = torch.stack([torch.arange(32) * 5, torch.zeros(32), torch.zeros(32)], dim=1)
    right = torch.nn.functional.one_hot(labels if loss == "label" else torch.arange(32), 32).float()
    wrong = right.roll(4, dims=0)
    cost = features.LOSSES[loss]
    assert float(cost(right, right, labels, at)) < 0.5 * float(cost(right, wrong, labels, at))


def test_neighbours_are_neither_alike_nor_different():
    labels, axes = torch.zeros(3, dtype=torch.long), torch.eye(3)
    at = torch.tensor([[0, 0, 0], [1, 0, 0], [9, 0, 0]])
    # The first two see only themselves and the third: exp(10) against exp(0), in both directions.
    expected = 2 * torch.log1p(torch.exp(torch.tensor(-10.0)))
    third = 2 * torch.log1p(2 * torch.exp(torch.tensor(-10.0)))
    found = float(features.by_voxel(axes, axes, labels, at))
    assert found == pytest.approx(float((2 * expected + third) / 3), rel=1e-3)


def test_points_lie_in_the_picture_and_half_of_them_in_one_block():
    at = features.places((32, 24, 40), torch.Generator().manual_seed(0))
    assert at.shape == (features.POINTS, 3) and int(at.min()) >= 0
    assert (at.amax(dim=0) == torch.tensor([31, 23, 39])).all()
    random = torch.Generator().manual_seed(0)
    assert int(max(features.places((40, 40, 40), random).max() for _ in range(200))) == 39
    near = at[features.POINTS // 2 :]
    assert int((near.amax(dim=0) - near.amin(dim=0)).max()) < features.BLOCK


def test_the_loss_reaches_the_network():
    net = features.network()
    assert sum(p.numel() for p in net.parameters()) == 664_024
    views, codes = torch.rand(2, 1, 56, 56, 56) * 2 - 1, torch.randint(0, 5, (56, 56, 56))
    loss = features.loss_of("both", torch.Generator().manual_seed(0), net, views, codes, torch.tensor(False))
    loss.backward()
    assert net(views).shape == (2, 16, 56, 56, 56)
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters() if p.ndim > 1)


def couples_of(*shape: int) -> list:
    """CT that rises along the first axis of a body, and its negative as MR; the last planes have no data."""
    ramp = torch.linspace(-0.8, 0.8, shape[0]).view(-1, 1, 1).expand(shape)[None, None].clone()
    ramp[..., 0] = -1.0
    mask = torch.ones_like(ramp)
    mask[..., -8:] = 0.0
    return [features.Couple(ramp, -ramp, mask)]


@pytest.mark.parametrize("shape", [(30, 28, 32), (12, 40, 20)])
def test_a_real_pair_shows_one_place_in_ct_and_mr(shape):
    seen = set()
    for step in range(12):
        views, codes = features.real_example(couples_of(*shape), step, size=16)
        assert views.shape == (2, 1, 16, 16, 16) and codes.shape == (16, 16, 16)
        assert views.abs().max() <= 1
        seen |= set(codes.unique().tolist())
        inside = codes == features.INSIDE
        if inside.sum() > 500:
            # One is the other turned round, whatever was done to their grey values.
            assert float(torch.corrcoef(views[:, 0, inside])[0, 1]) < -0.9
    assert seen == {0, features.INSIDE, features.NO_DATA}


def test_every_second_step_shows_a_real_pair():
    body = torch.full((60, 50, 200), int(Tissue.MUSCLE), dtype=torch.uint8)
    known = [*couples_of(60, 60, 60), body]
    assert [bool(features.either(1, known, step)[2]) for step in range(4)] == [True, False, True, False]
    assert not features.either(0, known[1:], 0)[2]


def test_where_a_real_scan_has_no_data_nothing_is_learned():
    at = torch.arange(40).view(-1, 1) * torch.tensor([5, 0, 0])
    a = torch.nn.functional.one_hot(torch.arange(40), 40).float()
    b = a.clone()
    b[20:] = a[20:].roll(1, dims=0)
    labels = torch.full((40,), features.INSIDE)
    assert float(features.by_voxel(a, b, labels, at)) > 1.0
    labels[20:] = features.NO_DATA
    assert float(features.by_voxel(a, b, labels, at)) < 0.1


def test_the_same_voxel_is_looked_at_in_views_that_are_cut_out_apart():
    """A network that gives back the place itself: what is said of one voxel agrees, wherever the cuts begin."""
    size = 56
    place = torch.stack(torch.meshgrid(*[torch.arange(float(size))] * 3, indexing="ij"))
    turned = torch.cat([torch.cos(place / 4), torch.sin(place / 4)])[None].expand(2, -1, -1, -1, -1)
    codes = torch.zeros(size, size, size, dtype=torch.long)
    random = torch.Generator().manual_seed(0)
    right = float(features.loss_of("voxel", random, lambda views: views, turned, codes, torch.tensor(True)))
    apart = torch.stack([turned[0], turned[0].roll(6, dims=1)])
    wrong = float(features.loss_of("voxel", random, lambda views: views, apart, codes, torch.tensor(True)))
    assert right < wrong - 1


def test_a_search_that_finds_no_displacement_costs_nothing_and_one_without_signs_the_logarithm_of_its_choices():
    seen = torch.ones(12, 12, 12)
    same = torch.ones(3, 12, 12, 12)
    chance = (torch.tensor(125.0).log() + torch.tensor(27.0).log()) / 2
    assert float(features.by_search(same, same, seen)) == pytest.approx(float(chance), abs=1e-4)
    marks = 4 * torch.randn(16, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    assert float(features.by_search(marks, marks, seen)) < 0.01
    # Two voxels aside every voxel is found aside, but for the border.
    assert float(features.by_search(marks, marks.roll(2, dims=1), seen)) > float(chance)


def test_the_search_loss_reaches_the_network():
    net = features.network()
    views, codes = torch.rand(2, 1, 56, 56, 56) * 2 - 1, torch.randint(0, 5, (56, 56, 56))
    features.loss_of("search", torch.Generator().manual_seed(0), net, views, codes, torch.tensor(True)).backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters() if p.ndim > 1)


def test_the_loss_of_labels_is_the_mean_over_pairs_of_points():
    """Written out pair by pair: each point to those of its label, and to its own in the other view."""
    random = torch.Generator().manual_seed(3)
    a, b = (torch.nn.functional.normalize(torch.randn(6, 4, generator=random), dim=1) for _ in "ab")
    labels = torch.tensor([0, 1, 1, 2, 2, 2])
    points, kinds = [*a.double(), *b.double()], [*labels.tolist()] * 2
    total = weights = 0.0
    for i, one in enumerate(points):
        score = {j: math.exp(float(one @ other) / features.TEMPERATURE) for j, other in enumerate(points) if j != i}
        mates, pair = [j for j in score if kinds[j] == kinds[i]], (i + 6) % 12
        others = sum(score[j] for j in score if j not in mates or j == pair)
        alike = -sum(math.log(score[j] / sum(score.values())) for j in mates) / len(mates)
        weight = 1 / kinds.count(kinds[i])
        total += weight * (alike - math.log(score[pair] / others))
        weights += weight
    found = float(features.by_label(a, b, labels, torch.zeros(6, 3)))
    assert found == pytest.approx(total / weights, rel=1e-5)
