from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from toy_system import Toy, recipe

from jssr.errors import TrainingError
from jssr.recipes.config import Training
from jssr.training import shares
from jssr.training.shares import RunningStatistics, Share, averaging, check_share, share_of


def training(batch: int, accumulate: int) -> Training:
    return recipe().training.model_copy(update={"batch": batch, "accumulate": accumulate})


@pytest.mark.parametrize(
    ("batch", "accumulate", "world"),
    [(1, 1, 1), (1, 4, 2), (4, 1, 4), (6, 2, 4), (2, 6, 4), (3, 2, 6), (2, 2, 2), (12, 5, 4)],
)
def test_every_sample_of_a_step_is_in_one_share_and_all_shares_are_of_one_size(
    batch: int, accumulate: int, world: int
) -> None:
    seen = []
    for rank in range(world):
        share = share_of(training(batch, accumulate), rank, world)
        size = batch // share.parts
        mine = [(share.first + k, share.part * size + i) for k in range(share.count) for i in range(size)]
        assert len(mine) == batch * accumulate // world
        seen += mine
    assert sorted(seen) == [(k, i) for k in range(accumulate) for i in range(batch)]


def test_batches_are_shared_before_their_samples() -> None:
    assert share_of(training(6, 2), 2, 4) == Share(first=1, count=1, part=0, parts=2)
    assert share_of(training(1, 4), 1, 2) == Share(first=2, count=2, part=0, parts=1)


@pytest.mark.parametrize(("batch", "accumulate", "world", "proposed"), [(1, 1, 2, 2), (4, 1, 3, 6), (1, 3, 2, 2)])
def test_what_cannot_be_shared_is_refused_with_a_batch_that_can(
    batch: int, accumulate: int, world: int, proposed: int
) -> None:
    with pytest.raises(TrainingError, match=f"--set training.batch={proposed} "):
        share_of(training(batch, accumulate), 0, world)
    assert share_of(training(proposed, accumulate), 0, world).first == 0


def test_networks_that_treat_a_batch_as_a_whole_are_not_given_parts_of_it() -> None:
    system, halves = Toy(), Share(parts=2)
    with pytest.raises(TrainingError, match=r"network S has Dropout.*training.accumulate to a multiple"):
        check_share(halves, system, ["G", "S"])
    check_share(halves, system, ["G", "Phi", "D"])
    check_share(Share(count=2), system, ["S"])
    system.G = nn.Sequential(nn.BatchNorm2d(2))
    with pytest.raises(TrainingError, match="network G has BatchNorm2d"):
        check_share(halves, system, ["G"])
    system.G = nn.Sequential(nn.InstanceNorm2d(2))
    check_share(halves, system, ["G"])


def test_running_statistics_are_merged_as_if_one_process_had_seen_all(monkeypatch: Any) -> None:
    """Three batches in one process, and the first two and the last one in two."""
    draw = torch.Generator().manual_seed(0)
    batches = [torch.randn(2, 3, 4, 4, generator=draw) * (k + 1) for k in range(3)]

    def layer() -> nn.BatchNorm2d:
        made = nn.BatchNorm2d(3, momentum=0.3)
        made.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))  # type: ignore[union-attr]
        return made

    alone, *two = layer(), layer(), layer()
    statistics = [RunningStatistics(averaging([nn.Sequential(one)])) for one in two]
    for one, seen in ((alone, batches), (two[0], batches[:2]), (two[1], batches[2:])):
        for batch in seen:
            one(batch)
    theirs = [torch.cat(each._now()) for each in statistics]

    def gather(every: list[torch.Tensor], _: torch.Tensor) -> None:
        for place, values in zip(every, theirs, strict=True):
            place.copy_(values)

    monkeypatch.setattr(shares.torch.distributed, "all_gather", gather)
    for each, one in zip(statistics, two, strict=True):
        each.merge(2)
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(one.state_dict()[name], value)
    assert int(two[0].num_batches_tracked or 0) == 3
