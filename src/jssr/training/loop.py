"""The one training loop, for every system: stages, and steps that update every optimiser group once (`steps`).

Randomness inside a step (dropout and the like) is seeded with (recipe seed, step, batch), batches depend on the step
alone and so do the learning rates; hence a resumed run needs weights, moments and averages, and nothing else, however
many processes share its steps (`shares`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jssr.core.hardware import deterministic_algorithms, use_channels_last
from jssr.errors import CheckpointError, Interrupted, RecipeError, TrainingError
from jssr.io.files import atomic_path, make_folder
from jssr.recipes.config import Recipe, Stage
from jssr.recipes.load import recipe_from
from jssr.recipes.weights import save_weights
from jssr.systems.base import Batch, System, large_enough
from jssr.training import checkpoint
from jssr.training.datasets import Dataset
from jssr.training.log import OnStep, TrainingLog, picture, write_picture
from jssr.training.monitor import Monitor, inspect, look
from jssr.training.optimisers import Average, make_optimiser
from jssr.training.prefetch import Prefetcher
from jssr.training.processes import Processes, RunOptions, digest_of, processes, stoppable
from jssr.training.shares import check_share, share_of
from jssr.training.steps import NotFinite, Stepper, broadcast, check_fit

log = logging.getLogger(__name__)

MAY_CHANGE = {
    *("network.project", "description", "inference"),
    *(f"training.{what}_every" for what in ("log", "monitor", "picture", "checkpoint")),
}
"""Keys of a recipe that may differ when a run is resumed: they do not change the weights."""
OnPicture = Callable[[int, System, Path], None]


def train(
    recipe: Recipe,
    system: System,
    dataset: Dataset,
    out: Path,
    options: RunOptions | None = None,
    *,
    data: Mapping[str, Any] | None = None,
    on_step: OnStep | None = None,
    on_picture: OnPicture | None = None,
    group: Processes | None = None,
) -> System:
    """Train a system by a recipe; everything that the run writes is in `out`.

    Writes `recipe.json`, `losses.csv`, `tensorboard/`, `pictures/`, `warnings.json` (if any), `checkpoint/` (to resume
    from) and `weights.safetensors` (to use; the averaged weights where the recipe averages).

    Args:
        system: untrained, or with weights to start from. It is trained in place.
        dataset: of batches.
        data: plain words on the training data for the checkpoint's header.
        on_step: called after each step with the steps done, all steps, and the stage with its latest losses.
        on_picture: called as (step, system, folder) in place of writing the standard picture of the first pair.
        group: the processes of the run where they are joined already (`jssr.training.processes`).

    Returns:
        The system, in evaluation mode, with the averaged weights where the recipe averages.

    Raises:
        TrainingError: the recipe does not fit the system, a loss or gradient is not finite, `out` has another run,
            or the accelerator is not there.
        Interrupted: training was stopped; the state is saved.
        CheckpointError: the state to resume from is damaged.
        OutputError: `out` cannot be written.
    """
    options = options or RunOptions()
    with nullcontext(group) if group is not None else processes(recipe, options) as joined:
        fabric, device = joined.fabric, joined.fabric.device
        with deterministic_algorithms(options.deterministic, strict=device.type == "cpu"):
            run = _Run(joined, recipe, system, out, {"precision": joined.precision, "data": dict(data or {})})
            run.on_picture, run.on_step = on_picture, on_step
            workers = options.workers if options.workers is not None else (0 if device.type == "cpu" else 4)
            share = share_of(recipe.training, fabric.global_rank, fabric.world_size)
            check_share(share, system, {name for stage in recipe.training.stages for name in stage.networks})
            batches = Prefetcher(dataset, recipe.training.accumulate, share, device, workers)
            run.begin(options.resume)
            run.play(batches)
        return run.end()


class _Run:
    """One run: what it trains, how far it is, and what it does in a step."""

    def __init__(self, group: Processes, recipe: Recipe, system: System, out: Path, info: Mapping[str, Any]) -> None:
        fabric = group.fabric
        self.group, self.fabric, self.recipe, self.out = group, fabric, recipe, Path(out)
        self.system = system
        self.figures = check_fit(recipe, system)
        stages = [stage for stage in recipe.training.stages if stage.steps]
        system.begin({term for stage in stages for term, weight in stage.weights.items() if weight})
        last = recipe.training.channels_last
        if info["precision"] != "32-true" if last is None else last:
            use_channels_last(system)
        system.to(fabric.device)
        if fabric.world_size > 1:
            broadcast(system.state_dict().values())
        self.average = None if recipe.training.ema is None else Average(system, recipe.training.ema)
        self.stepper = Stepper(fabric, recipe.training, system, make_optimiser(recipe.training, system), self.average)
        self.monitor = Monitor(self.out / "warnings.json")
        self.log: TrainingLog | None = None
        self.on_step: OnStep | None = None
        self.on_picture: OnPicture | None = None
        self.state = checkpoint.State(step=0)
        self.info = dict(info)

    # Beginning and end

    def begin(self, resume: bool) -> None:
        """Make or take up the folder; the same weights in every process."""
        folder = self.out / "checkpoint"
        there = checkpoint.has_state(folder)
        facts = {
            "recipe": digest_of(self.recipe),
            "state of a run in the output folder": there,
            "data": self.info["data"],
        }
        self.group.agree(facts)
        if there and not resume:
            raise TrainingError(f"{self.out}: already holds a training run; resume it or choose another folder")
        if there:
            self._same_recipe()
        self.fabric.barrier()
        if self.group.first:
            make_folder(self.out)
            with atomic_path(self.out / "recipe.json") as temporary:
                temporary.write_text(self.recipe.model_dump_json(indent=2), encoding="utf-8")
        if there:
            self.state = checkpoint.load_state(folder, self.system, self.stepper.optimiser, self.average)
            if self.stepper.scaler is not None and self.state.scaler:
                self.stepper.scaler.load_state_dict(self.state.scaler)
            self.monitor.resume(self.state.step)
            log.info("resumed %s after step %d of %d", self.out, self.state.step, self.recipe.training.steps)

    def end(self) -> System:
        """The system, ready for use."""
        if self.average is not None:
            self.average.settle()
        self.system.requires_grad_(True)
        return self.system.eval()

    def _same_recipe(self) -> None:
        path = self.out / "recipe.json"
        try:
            before = _keys(recipe_from(json.loads(path.read_text(encoding="utf-8")), str(path)))
        except (OSError, ValueError, RecipeError) as error:
            raise CheckpointError(f"{path}: cannot be read, so the run cannot be resumed ({error})") from None
        now = _keys(self.recipe)
        changed = sorted(key for key in now.keys() - MAY_CHANGE if before[key] != now[key])
        if changed:
            what = ", ".join(changed)
            raise TrainingError(
                f"{self.out}: cannot be resumed with another recipe ({what} changed); choose another folder"
            )

    # The loop

    def play(self, prefetcher: Prefetcher) -> None:
        """Make all steps that are left."""
        recipe, started = self.recipe, self.state.step
        written = None
        if self.group.first:
            written = TrainingLog(self.out, self.figures, recipe.training.steps, started, self.on_step)
        self.log = written
        with written or nullcontext(), stoppable(self.group.world == 1) as asked:
            since = time.perf_counter()
            for step, stage, batches in prefetcher.over(_plan(recipe, started)):
                figures = self.step(step, stage, batches)
                now = time.perf_counter()
                self.state.step, self.state.seconds = step + 1, self.state.seconds + now - since
                stopped = self.group.any(asked())
                if written is not None:
                    written.add(stage.name, figures, now - since)
                    self.look_after(stage, batches[0], stopped)
                if stopped:
                    self.fabric.barrier()  # none ends before the state is saved
                    raise Interrupted(f"{self.out}: stopped after step {step + 1} and saved; resume to continue")
                since = time.perf_counter()
        self.fabric.barrier()

    def step(self, step: int, stage: Stage, batches: list[Batch]) -> dict[str, float]:
        """Make a step. One that is not finite is noted among the run's warnings."""
        shape = next((v.shape[2:] for b in batches for v in vars(b).values() if isinstance(v, Tensor)), ())
        try:
            with large_enough(self.system, shape, f"recipe {self.recipe.name}"):
                return self.stepper.step(step, stage, batches)
        except NotFinite as error:
            if self.group.first:
                self.monitor.warn("nan", step + 1, str(error))
            raise

    # What is written on the way, by the first process

    def look_after(self, stage: Stage, batch: Batch, stopped: bool) -> None:
        """Log, watch, draw and save after a step, each where it is due."""
        recipe, done = self.recipe, self.state.step
        assert self.log is not None
        last = done == recipe.training.first_step(stage) + stage.steps
        save = stopped or last or _due(recipe.training.checkpoint_every, done)
        if save or _due(recipe.training.log_every, done):
            self.log.flush(done, stage.name)
        batch.memo.clear()
        if _due(recipe.training.monitor_every, done):
            with self._as_used():
                found = inspect(self.system, batch, _trained(recipe, stage))
            self.monitor.update(done, found)
            self.log.scalars(done, {f"monitor/{name}": value for name, value in found.items()})
        if _due(recipe.training.picture_every, done):
            self.draw(batch)
        if save:
            self.save()

    def draw(self, batch: Batch) -> None:
        """Write the picture of the step, of the batch's first pair."""
        folder = self.out / "pictures"
        with self._as_used():
            if self.on_picture is not None:
                self.on_picture(self.state.step, self.system, make_folder(folder))
            elif batch.moving is not None and batch.fixed is not None:
                image = picture(batch, look(self.system, batch))
                write_picture(image, folder / f"step_{self.state.step:07d}.png")
                assert self.log is not None
                self.log.show(self.state.step, image)

    def save(self) -> None:
        """Write the state to resume from, then the weights to use."""
        state = self.state
        if self.stepper.scaler is not None:
            state.scaler = self.stepper.scaler.state_dict()
        checkpoint.save_state(self.out / "checkpoint", state, self.system, self.stepper.optimiser, self.average)
        info = {
            "step": state.step,
            "steps": self.recipe.training.steps,
            "seconds": round(state.seconds, 1),
            "steps_per_second": round(state.step / max(state.seconds, 1e-9), 4),
            "device": str(self.fabric.device.type),
            "processes": self.group.world,
            "torch": str(torch.__version__),
            "averaged": self.average is not None,
            **self.info,
            "warnings": self.monitor.warnings,
        }
        with self.average.applied() if self.average is not None else nullcontext():
            save_weights(self.out / "weights.safetensors", self.system, self.recipe, info)

    @contextmanager
    def _as_used(self) -> Iterator[None]:
        averaged: AbstractContextManager[None] = self.average.applied() if self.average is not None else nullcontext()
        with averaged, self.fabric.autocast():
            yield


def _plan(recipe: Recipe, start: int) -> Iterator[tuple[int, Stage]]:
    everything = (stage for stage in recipe.training.stages for _ in range(stage.steps))
    return ((step, stage) for step, stage in enumerate(everything) if step >= start)


def _trained(recipe: Recipe, stage: Stage) -> frozenset[str]:
    """Networks that this stage or one before it trains."""
    until = recipe.training.stages.index(stage) + 1
    return frozenset(name for earlier in recipe.training.stages[:until] if earlier.steps for name in earlier.networks)


def _keys(recipe: Recipe) -> dict[str, Any]:
    """The values of a recipe by key, those of network, preprocessing and training one by one."""
    data = recipe.model_dump(mode="json")
    sections = {name: data.pop(name) for name in ("network", "preprocessing", "training")}
    return data | {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}


def _due(every: int, done: int) -> bool:
    return every > 0 and done % every == 0
