"""The optimiser, the learning-rate schedule and the averaged weights.

One torch optimiser serves all parts, one parameter group each. Torch's optimisers pass over parameters without a
gradient, so a player's turn moves (and ages the moments of) exactly the parts it computed gradients for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from jssr.recipes.config import Recipe, Stage
from jssr.systems.base import System, named_tensors

__all__ = ["Average", "make_optimiser", "schedule_factor", "set_rates"]


def make_optimiser(recipe: Recipe, system: System) -> Optimizer:
    """One optimiser, one group per part; the groups carry the part's name."""
    groups = [{"params": list(system.get_submodule(part).parameters()), "part": part} for part in system.parts]
    if recipe.optimiser == "sgd":
        return SGD(groups, lr=0.0, momentum=recipe.betas[0], weight_decay=recipe.weight_decay)
    kind = Adam if recipe.optimiser == "adam" else AdamW
    return kind(groups, lr=0.0, betas=recipe.betas, weight_decay=recipe.weight_decay)


def schedule_factor(recipe: Recipe, step: int, part: str | None = None) -> float:
    """What the learning rates are multiplied by at a step, counted from 0 over all stages.

    A function of the step alone, so that a resumed run has nothing to restore. With a part and `schedule_by` "part" it
    counts the steps of the stages that train that part.
    """
    whole = recipe.steps
    if part is not None and recipe.schedule_by == "part":
        step, whole = _own_steps(recipe, step, part)
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    if recipe.schedule == "halving":
        return float(0.5 ** ((step - recipe.warmup_steps) // recipe.halve_every))
    done = (step - recipe.warmup_steps) / max(whole - recipe.warmup_steps, 1)
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if recipe.schedule == "poly":
        return float((1 - done) ** 0.9)
    return 1.0


def _own_steps(recipe: Recipe, step: int, part: str) -> tuple[int, int]:
    """Of the stages that train a part: their steps before `step`, and all of them."""
    before, whole = 0, 0
    for stage in recipe.stages:
        if part in stage.parts:
            before += min(max(step - recipe.first_step(stage), 0), stage.steps)
            whole += stage.steps
    return before, whole


def set_rates(optimiser: Optimizer, recipe: Recipe, stage: Stage, step: int) -> None:
    """Give each part of the stage its learning rate at `step`."""
    for group in optimiser.param_groups:
        if group["part"] in stage.parts:
            factor = schedule_factor(recipe, step, group["part"])
            group["lr"] = recipe.learning_rate(stage, group["part"]) * factor


class Average:
    """An exponential moving average of the weights of each part, in float32.

    The decay rises as (1 + n) / (10 + n) with the n updates a part has had, up to `decay`, so that the untrained
    weights a part began with are soon forgotten (as in TensorFlow's ExponentialMovingAverage). Buffers are copied.
    """

    def __init__(self, system: System, decay: float) -> None:
        self.system = system
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in named_tensors(system, system.parts).items()}
        self.updates = dict.fromkeys(system.parts, 0)

    @torch.no_grad()
    def update(self, parts: Collection[str]) -> None:
        """Take in the present weights of the parts that have just changed."""
        for part in parts:
            n = self.updates[part] = self.updates[part] + 1
            keep = min(self.decay, (1 + n) / (10 + n))
            for name, value in named_tensors(self.system, (part,)).items():
                if value.is_floating_point():
                    self.tensors[name].lerp_(value, 1 - keep)
                else:
                    self.tensors[name].copy_(value)

    def load(self, tensors: Mapping[str, Tensor], updates: Mapping[str, int]) -> None:
        """Continue from saved averages and their counts."""
        for name, value in self.tensors.items():
            value.copy_(tensors[name])
        self.updates = {part: int(updates[part]) for part in self.updates}

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
        for name, value in named_tensors(self.system, self.system.parts).items():
            value.copy_(self.tensors[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in named_tensors(self.system, self.system.parts).items():
            other = value.clone()
            value.copy_(self.tensors[name])
            self.tensors[name].copy_(other)
