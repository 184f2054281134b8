"""What each of several processes does of a step, so that together they do what one alone does.

A step has `accumulate` batches of `batch` samples. Processes share the batches first, then the samples of each: with 4
processes, `accumulate` 2 and `batch` 6 each one sees 3 samples of one batch. Every process has as many, so that the
mean of the processes' means is that of all samples. What a sample is, and the random numbers that go with it, depends
on its number alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from jssr.errors import TrainingError
from jssr.recipes.config import Training
from jssr.systems.base import System


@dataclass(frozen=True)
class Share:
    """Batches `first` to `first + count - 1` of each step; of each batch the `part`-th of `parts` equal parts."""

    first: int = 0
    count: int = 1
    part: int = 0
    parts: int = 1


def share_of(training: Training, rank: int, world: int) -> Share:
    """What the process `rank` of `world` does.

    Raises:
        TrainingError: the samples of a step cannot be shared equally.
    """
    accumulate, batch = training.accumulate, training.batch
    if accumulate * batch % world:
        unit = world // math.gcd(accumulate, world)
        raise TrainingError(
            f"expected samples in a step that {world} processes can share equally, got {accumulate * batch} "
            f"(training.batch {batch} x training.accumulate {accumulate}): use another number of processes, or "
            f"--set training.batch={-(-batch // unit) * unit} (more samples in a step: another run than with {batch})"
        )
    groups = math.gcd(accumulate, world)
    parts = world // groups
    count = accumulate // groups
    return Share(rank // parts * count, count, rank % parts, parts)


def check_share(share: Share, system: System, networks: Collection[str]) -> None:
    """Make sure that a sample's result does not depend on what else is in its batch, where a batch is to be shared.

    Raises:
        TrainingError: a network normalises over the batch, or drops features at random.
    """
    if share.parts == 1:
        return
    for name in networks:
        for module in system.get_submodule(name).modules():
            drops = isinstance(module, _DropoutNd) and module.p > 0
            if drops or isinstance(module, _BatchNorm):
                raise TrainingError(
                    f"network {name} has {type(module).__name__}, which treats a batch as a whole, and {share.parts} "
                    f"processes would share one: set training.accumulate to a multiple of the processes"
                )


def averaging(networks: Collection[nn.Module]) -> list[_BatchNorm]:
    """The layers that keep running means and variances of what they have seen, each with a fixed momentum."""
    every = dict.fromkeys(module for network in networks for module in network.modules())
    return [m for m in every if isinstance(m, _BatchNorm) and m.running_mean is not None and m.momentum is not None]


class RunningStatistics:
    """Running means and variances as one process has them after the batches of all.

    Each update is r -> (1 - momentum) r + momentum x. What n of them make of r is (1 - momentum)^n r + s: the s of each
    process is read off, and all are applied in the order of the processes, which is that of the batches.
    """

    def __init__(self, layers: Collection[_BatchNorm]) -> None:
        self.layers = list(layers)
        self.before = self._now()

    @torch.no_grad()
    def merge(self, world: int) -> None:
        """Take in what every process has added since this object was made."""
        if not self.layers:
            return
        now = torch.cat(self._now())
        every = [torch.empty_like(now) for _ in range(world)]
        torch.distributed.all_gather(every, now)
        split = [torch.split(one, [len(values) for values in self.before]) for one in every]
        for layer, before, *theirs in zip(self.layers, self.before, *split, strict=True):
            total, keep = before.clone(), 1 - cast(float, layer.momentum)
            for one in theirs:
                made = one[-1] - before[-1]
                kept = keep**made
                total[:-1] = kept * total[:-1] + one[:-1] - kept * before[:-1]
                total[-1] += made
            for own, values in zip(_kept_by(layer), _split(total), strict=True):
                own.copy_(values.view_as(own))

    def _now(self) -> list[Tensor]:
        """Of each layer means, variances and the count of updates, in one vector."""
        return [torch.cat([values.double().flatten() for values in _kept_by(layer)]) for layer in self.layers]


def _kept_by(layer: _BatchNorm) -> tuple[Tensor, Tensor, Tensor]:
    mean, variance, count = layer.running_mean, layer.running_var, layer.num_batches_tracked
    assert mean is not None and variance is not None and count is not None
    return mean, variance, count


def _split(vector: Tensor) -> tuple[Tensor, ...]:
    return (*vector[:-1].chunk(2), vector[-1:])
