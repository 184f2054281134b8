"""One step of training: a turn of every player.

In its turn a player's weighted terms are summed, their gradient by the player's parts is computed, clipped and
stepped. Other parts do not move. A part asks for gradients until its last player of the step has played, so that what
one player's forward pass made (`Batch.memo`) serves the next one too.

With several processes each one draws batches of its own and the gradients are averaged by hand after each turn. A
wrapper such as DistributedDataParallel expects one forward and one backward pass of one module, which alternating
players do not have.
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
from jssr.recipes.config import Recipe, Stage
from jssr.systems.base import Batch, System
from jssr.training.optimisers import Average, set_rates

__all__ = ["NotFinite", "Turns", "broadcast", "check_fit"]

SKIPS_ALLOWED = 20
"""Turns in a row without finite gradients while the fp16 loss scale is found."""


class NotFinite(TrainingError):
    """A loss or gradient is NaN or infinite."""


class Turns:
    """Plays the steps of a run.

    Args:
        fabric: launched.
        optimiser: of `make_optimiser`; `average`: kept up to date after each turn, if given.
    """

    def __init__(
        self, fabric: Fabric, recipe: Recipe, system: System, optimiser: Optimizer, average: Average | None
    ) -> None:
        self.fabric, self.recipe, self.system = fabric, recipe, system
        self.optimiser, self.average = optimiser, average
        self.stepper = cast(_FabricOptimizer, fabric.setup_optimizers(optimiser))
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)
        """The fp16 loss scaler, None in other precisions."""
        self.skips = 0

    def play(self, step: int, stage: Stage, batches: list[Batch]) -> dict[str, float]:
        """One turn of every player of the stage."""
        _seed(self.recipe.seed, step, self.fabric.global_rank)
        if stage.fresh_optimisers and step == self.recipe.first_step(stage):
            for parameter in self._parameters(stage.parts):
                self.optimiser.state.pop(parameter, None)
        set_rates(self.optimiser, self.recipe, stage, step)
        for part in self.system.parts:
            self.system.get_submodule(part).train(part in stage.parts)
        figures: dict[str, float] = {}
        players = list(stage.train.items())
        for turn, (player, parts) in enumerate(players):
            moving = {part for _, parts_left in players[turn:] for part in parts_left}
            for part in self.system.parts:
                self.system.get_submodule(part).requires_grad_(part in moving)
            found = self.turn(step, stage, player, batches)
            figures |= {f"{player}/{name}": value for name, value in found.items()}
            for batch in batches:
                self.system.forget(batch, parts)
        if self.fabric.world_size > 1:
            broadcast(self.system.buffers())
        return figures

    def turn(self, step: int, stage: Stage, player: str, batches: list[Batch]) -> dict[str, float]:
        """Sum a player's terms over the batches, and step its parts. Returns mean terms and the gradient's norm."""
        parameters = self._parameters(stage.train[player])
        where = f"step {step + 1}, stage {stage.name}, player {player}"
        totals: dict[str, float] = {}
        taught = False
        for batch in batches:
            with self.fabric.autocast():
                terms = self.system.losses(batch, player)
                values = {name: terms[name]().float() for name in terms if stage.weights.get(name)}
            numbers = self._mean(torch.stack([value.detach() for value in values.values()]))
            for name, number in zip(values, numbers.tolist(), strict=True):
                totals[name] = totals.get(name, 0.0) + number / len(batches)
            # While the fp16 scale is sought, an overflow is expected and costs one turn; see _stepped.
            bad = [] if self.scaler is not None else [name for name in values if not math.isfinite(totals[name])]
            if bad:
                _stop(f"{where}: the loss term {' and '.join(bad)} is not finite")
            loss = torch.stack([stage.weights[name] * value for name, value in values.items()]).sum()
            if loss.requires_grad:  # a batch can have nothing to say to a player: no labels for one that needs them
                self.fabric.backward(loss / len(batches), inputs=parameters)
                taught = True
        if not self._anyone(taught):
            return totals | {"grad_norm": 0.0}
        norm = self._stepped(where, parameters, taught)
        if math.isfinite(norm) and self.average is not None:
            self.average.update(stage.train[player])
        return totals | {"grad_norm": norm}

    def _stepped(self, where: str, parameters: list[nn.Parameter], taught: bool) -> float:
        """Average the gradients over the processes, clip them and step; returns their norm before clipping."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if taught and not gradients:
            raise TrainingError(f"{where}: the weighed terms do not depend on the parts that it trains")
        if self.fabric.world_size > 1:
            for p in parameters:  # what one process was taught nothing of, another may have been
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            gradients = [p.grad for p in parameters if p.grad is not None]
            mean = self._mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
            for gradient, part in zip(gradients, torch.split(mean, [g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view(gradient.shape))
        limit = self.recipe.clip or math.inf
        found = self.fabric.clip_gradients(self.system, self.stepper, max_norm=limit, error_if_nonfinite=False)
        norm = float(cast(Tensor, found))
        if not math.isfinite(norm):
            self.skips += 1
            if self.scaler is None or self.skips > SKIPS_ALLOWED:
                _stop(f"{where}: the gradient is not finite")
        else:
            self.skips = 0
        self.stepper.step()  # under an fp16 scaler this leaves the weights where the gradient is not finite
        self.optimiser.zero_grad(set_to_none=True)
        return norm

    def _anyone(self, taught: bool) -> bool:
        """Whether some process has a gradient: all of them step, or none."""
        if self.fabric.world_size == 1:
            return taught
        return bool(self._mean(torch.tensor(float(taught), device=self.fabric.device)) > 0)

    def _mean(self, values: Tensor) -> Tensor:
        """Mean over the processes."""
        return cast(Tensor, self.fabric.all_reduce(values, reduce_op="mean"))

    def _parameters(self, parts: Sequence[str]) -> list[nn.Parameter]:
        return [p for part in parts for p in self.system.get_submodule(part).parameters()]


def check_fit(recipe: Recipe, system: System) -> list[str]:
    """Check, before any computing, that recipe and system fit, and return the names of all figures of the run.

    Raises:
        TrainingError: a stage trains a part that the system lacks, weighs an unknown term, or none of a player's.
    """
    names: dict[str, None] = {}
    for stage in recipe.stages:
        offered: dict[str, None] = {}
        for player, parts in stage.train.items():
            for part in parts:
                if part not in system.parts:
                    raise TrainingError(
                        f"stage {stage.name} trains {part!r}, which {recipe.system} lacks{nearest(part, system.parts)}"
                    )
            terms = system.losses(Batch(), player)  # terms are lazy: nothing is computed
            weighed = [term for term in terms if stage.weights.get(term)]
            if not weighed:
                raise TrainingError(f"stage {stage.name} weighs no term of player {player!r}{nearest('', terms)}")
            offered |= dict.fromkeys(terms)
            names |= dict.fromkeys(f"{player}/{name}" for name in (*weighed, "grad_norm"))
        for term in stage.weights:
            if term not in offered:
                raise TrainingError(f"stage {stage.name} weighs an unknown term {term!r}{nearest(term, offered)}")
    return list(names)


def _stop(problem: str) -> NoReturn:
    raise NotFinite(f"{problem}; lower the learning rate, clip gradients, or train in 32-true")


def _seed(seed: int, step: int, rank: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1))


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors, in place, with the first process's."""
    for tensor in tensors:
        copy = tensor.detach().contiguous()
        torch.distributed.broadcast(copy, 0)
        tensor.detach().copy_(copy)
