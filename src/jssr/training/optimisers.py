"""The optimiser, the learning-rate schedule and the averaged weights.

One torch optimiser serves all networks, one parameter group each. Torch's optimisers pass over parameters without a
gradient, so the step of an optimiser group updates (and ages the moments of) exactly its own networks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from jssr.recipes.config import Stage, Training
from jssr.systems.base import System


def make_optimiser(training: Training, system: System) -> Optimizer:
    """One optimiser, one parameter group per network; the groups carry the network's name."""
    groups = [{"params": list(system.get_submodule(n).parameters()), "network": n} for n in system.networks]
    if training.optimiser == "sgd":
        return SGD(groups, lr=0.0, momentum=training.betas[0], weight_decay=training.weight_decay)
    kind = Adam if training.optimiser == "adam" else AdamW
    return kind(groups, lr=0.0, betas=training.betas, weight_decay=training.weight_decay)


def schedule_factor(training: Training, step: int, network: str | None = None) -> float:
    """What the learning rates are multiplied by at a step, counted from 0 over all stages.

    A function of the step alone, so that a resumed run has nothing to restore. With a network and `schedule_by`
    "network" it counts the steps of the stages that train that network.
    """
    steps, warmup = training.steps, training.warmup_steps
    if network is not None and training.schedule_by == "network":
        step, steps = _own_steps(training, step, network)
    if step < warmup:
        return (step + 1) / warmup
    if training.schedule == "halving":
        return float(0.5 ** ((step - warmup) // training.halve_every))
    done = (step - warmup) / max(steps - warmup, 1)
    if training.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if training.schedule == "poly":
        return float((1 - done) ** 0.9)
    return 1.0


def _own_steps(training: Training, step: int, network: str) -> tuple[int, int]:
    """Of the stages that train a network: their steps before `step`, and all of them."""
    own = [stage for stage in training.stages if network in stage.networks]
    before = sum(min(max(step - training.first_step(stage), 0), stage.steps) for stage in own)
    return before, sum(stage.steps for stage in own)


def set_rates(optimiser: Optimizer, training: Training, stage: Stage, step: int) -> None:
    """Give each network of the stage its learning rate at `step`."""
    for group in optimiser.param_groups:
        name = group["network"]
        if name in stage.networks:
            group["lr"] = training.learning_rate(stage, name) * schedule_factor(training, step, name)


class Average:
    """An exponential moving average of each network's weights and buffers, in float32: torch's `AveragedModel`, one a
    network, since a step updates some of them alone.

    The decay rises as (1 + n) / (10 + n) with the n updates a network has had, up to `decay`, so that the untrained
    weights a network began with are soon forgotten (as in TensorFlow's ExponentialMovingAverage).

    Attributes:
        networks: the averages. Torch's count begins at 1, as the weights at the start are the first of them.
    """

    def __init__(self, system: System, decay: float) -> None:
        def mix(averages: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
            keep = min(decay, (1 + int(count)) / (10 + int(count)))
            for average, value in zip(averages, values, strict=True):
                if average.is_floating_point():
                    average.lerp_(value, 1 - keep)
                else:
                    average.copy_(value)

        self.system = system
        self.networks = {
            name: AveragedModel(system.get_submodule(name), multi_avg_fn=torch.no_grad()(mix), use_buffers=True)
            for name in system.networks
        }
        for average in self.networks.values():
            average.n_averaged.fill_(1)

    def update(self, networks: Collection[str]) -> None:
        """Take in the present weights of the networks that have just changed."""
        for name in networks:
            self.networks[name].update_parameters(self.system.get_submodule(name))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The averages and their counts, by name ("G.module.conv.weight", "G.n_averaged"); the tensors themselves."""
        return {f"{n}.{key}": value for n, one in self.networks.items() for key, value in one.state_dict().items()}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the system has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def settle(self) -> None:
        """Give the system the averaged weights for good."""
        for value, average in self._pairs():
            value.copy_(average)

    @torch.no_grad()
    def _swap(self) -> None:
        for value, average in self._pairs():
            before = value.clone()
            value.copy_(average)
            average.copy_(before)

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        for name, average in self.networks.items():
            own = self.system.get_submodule(name).state_dict().values()
            yield from zip(own, average.module.state_dict().values(), strict=True)
