"""One step of training: every optimiser group is updated once.

The weighted terms of a group are summed; their gradient by the group's networks is computed, clipped and stepped. Other
networks do not move. A network asks for gradients until its last group of the step is done, so that what one group's
forward pass made (`Batch.memo`) serves the next one too.

Several processes share the batches of a step (`shares`), and the gradients are averaged by hand after each group. A
wrapper such as DistributedDataParallel expects one forward and one backward pass of one module, which alternating
groups do not have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NoReturn, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from jssr.errors import TrainingError, nearest
from jssr.recipes.config import Recipe, Stage, Training
from jssr.systems.base import Batch, System
from jssr.training.optimisers import Average, set_rates
from jssr.training.shares import RunningStatistics, averaging, share_of

SKIPS_ALLOWED = 20
"""Updates in a row without finite gradients while the fp16 loss scale is found."""


class NotFinite(TrainingError):
    """A loss or gradient is NaN or infinite."""


class Stepper:
    """Makes the steps of a run.

    Args:
        fabric: launched.
        optimiser: of `make_optimiser`; `average`: kept up to date after each update, if given.
    """

    def __init__(
        self, fabric: Fabric, training: Training, system: System, optimiser: Optimizer, average: Average | None
    ) -> None:
        self.fabric, self.training, self.system = fabric, training, system
        self.optimiser, self.average = optimiser, average
        self.wrapped = cast(_FabricOptimizer, fabric.setup_optimizers(optimiser))
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)
        """The fp16 loss scaler, None in other precisions."""
        self.skips = 0
        self.first = share_of(training, fabric.global_rank, fabric.world_size).first
        self.averaging = averaging([system.get_submodule(name) for name in system.networks])

    def step(self, step: int, stage: Stage, batches: list[Batch]) -> dict[str, float]:
        """Update every optimiser group of the stage once."""
        if stage.fresh_optimisers and step == self.training.first_step(stage):
            for parameter in self._parameters(stage.networks):
                self.optimiser.state.pop(parameter, None)
        set_rates(self.optimiser, self.training, stage, step)
        for name in self.system.networks:
            self.system.get_submodule(name).train(name in stage.networks)
        figures: dict[str, float] = {}
        groups = list(stage.train.items())
        for index, (group, networks) in enumerate(groups):
            pending = {name for _, names in groups[index:] for name in names}
            for name in self.system.networks:
                self.system.get_submodule(name).requires_grad_(name in pending)
            found = self.update(step, stage, group, batches)
            figures |= {f"{group}/{name}": value for name, value in found.items()}
            for batch in batches:
                self.system.forget(batch, networks)
        if self.fabric.world_size > 1:
            broadcast(self.system.buffers())
        return figures

    def update(self, step: int, stage: Stage, group: str, batches: list[Batch]) -> dict[str, float]:
        """Sum a group's terms over the batches, and step its networks. Returns mean terms and the gradient's norm."""
        parameters = self._parameters(stage.train[group])
        where = f"step {step + 1}, stage {stage.name}, optimiser group {group}"
        totals: dict[str, float] = {}
        has_gradient = False
        seen = None if self.fabric.world_size == 1 else RunningStatistics(self.averaging)
        for k, batch in enumerate(batches):
            # What is drawn within the networks depends on the batch, not on the process that has it.
            _seed(self.training.seed, step, self.first + k, list(stage.train).index(group))
            with self.fabric.autocast():
                terms = self.system.losses(batch, group)
                values = {name: terms[name]().float() for name in terms if stage.weights.get(name)}
            numbers = self._mean(torch.stack([value.detach() for value in values.values()]))
            for name, number in zip(values, numbers.tolist(), strict=True):
                totals[name] = totals.get(name, 0.0) + number / len(batches)
            # While the fp16 scale is sought, an overflow is expected and costs one update; see _stepped.
            bad = [] if self.scaler is not None else [name for name in values if not math.isfinite(totals[name])]
            if bad:
                _stop(f"{where}: the loss term {' and '.join(bad)} is not finite")
            loss = torch.stack([stage.weights[name] * value for name, value in values.items()]).sum()
            if loss.requires_grad:  # a batch can teach a group nothing: no labels for one that needs them
                self.fabric.backward(loss / len(batches), inputs=parameters)
                has_gradient = True
        if seen is not None:
            seen.merge(self.fabric.world_size)
        if has_gradient and all(p.grad is None for p in parameters):
            raise TrainingError(f"{where}: the weighted terms do not depend on the networks that it trains")
        if self.fabric.world_size > 1:
            self._average(parameters)
        if all(p.grad is None for p in parameters):
            return totals | {"grad_norm": 0.0}
        norm = self._stepped(where, stage.train[group])
        if math.isfinite(norm) and self.average is not None:
            self.average.update(stage.train[group])
        return totals | {"grad_norm": norm}

    def _average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every process the mean gradient. One may have none where another has; where none has one, none gets one,
        as the optimiser would age the moments of such a parameter."""
        have = torch.tensor([float(p.grad is not None) for p in parameters], device=self.fabric.device)
        taught = [p for p, share in zip(parameters, self._mean(have).tolist(), strict=True) if share > 0]
        if not taught:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in taught]
        mean = self._mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for p, gradient, part in zip(taught, gradients, torch.split(mean, [p.numel() for p in taught]), strict=True):
            gradient.copy_(part.view(gradient.shape))
            p.grad = gradient

    def _stepped(self, where: str, networks: Sequence[str]) -> float:
        """Clip the gradients and step; returns their norm before clipping."""
        apart, clip = self.training.clip_by == "network", self.training.clip
        limit = math.inf if apart or clip is None else clip
        found = self.fabric.clip_gradients(self.system, self.wrapped, max_norm=limit, error_if_nonfinite=False)
        norm = float(cast(Tensor, found))
        if apart and clip is not None and math.isfinite(norm):
            for name in networks:
                nn.utils.clip_grad_norm_(self._parameters([name]), clip)
        if not math.isfinite(norm):
            self.skips += 1
            if self.scaler is None or self.skips > SKIPS_ALLOWED:
                _stop(f"{where}: the gradient is not finite")
        else:
            self.skips = 0
        self.wrapped.step()  # under an fp16 scaler this leaves the weights where the gradient is not finite
        self.optimiser.zero_grad(set_to_none=True)
        return norm

    def _mean(self, values: Tensor) -> Tensor:
        """Mean over the processes."""
        return cast(Tensor, self.fabric.all_reduce(values, reduce_op="mean"))

    def _parameters(self, networks: Sequence[str]) -> list[nn.Parameter]:
        return [p for name in networks for p in self.system.get_submodule(name).parameters()]


def check_fit(recipe: Recipe, system: System) -> list[str]:
    """Check, before any computing, that recipe and system fit, and return the names of all figures of the run.

    Raises:
        TrainingError: a stage trains a network that the system lacks, weights an unknown term, or none of a group's.
    """
    names: dict[str, None] = {}
    for stage in recipe.training.stages:
        offered: dict[str, None] = {}
        for group, networks in stage.train.items():
            unknown = next((name for name in networks if name not in system.networks), None)
            if unknown is not None:
                where, lacks = f"stage {stage.name} trains {unknown!r}", f"which {recipe.network.system} lacks"
                raise TrainingError(f"{where}, {lacks}{nearest(unknown, system.networks)}")
            terms = system.losses(Batch(), group)  # terms are lazy: nothing is computed
            weighted = [term for term in terms if stage.weights.get(term)]
            if not weighted:
                raise TrainingError(f"stage {stage.name} weights no term of group {group!r}{nearest('', terms)}")
            offered |= dict.fromkeys(terms)
            names |= dict.fromkeys(f"{group}/{name}" for name in (*weighted, "grad_norm"))
        for term in stage.weights:
            if term not in offered:
                raise TrainingError(f"stage {stage.name} weights an unknown term {term!r}{nearest(term, offered)}")
    return list(names)


def _stop(problem: str) -> NoReturn:
    raise NotFinite(f"{problem}; lower the learning rate, clip gradients, or train in 32-true")


def _seed(*numbers: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1))


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors, in place, with the first process's."""
    for tensor in tensors:
        copy = tensor.detach().contiguous()
        torch.distributed.broadcast(copy, 0)
        tensor.detach().copy_(copy)
