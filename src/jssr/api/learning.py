"""Systems trained by a recipe."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import torch

from jssr.api.cohorts import cohort_of
from jssr.api.session import OnNote, OnProgress, PathLike, begin
from jssr.cohorts.prepared import modalities_of
from jssr.errors import RecipeError
from jssr.io.cohort import Cohort
from jssr.io.files import check_output
from jssr.recipes.config import Recipe
from jssr.recipes.load import build_system, load_recipe
from jssr.recipes.shipped import weights_at
from jssr.registration.model import Model, load_model
from jssr.systems.base import System
from jssr.training import loop
from jssr.training.checkpoint import begun, has_state, start_from
from jssr.training.datasets import dataset_of
from jssr.training.processes import RunOptions, processes

__all__ = ["Training", "TrainOptions", "train"]


_RUNNING = ("devices", "accelerator", "deterministic")


class TrainOptions(TypedDict, total=False):
    """On what a training runs."""

    start_from: Sequence[PathLike]
    devices: int
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    cache_gb: float
    deterministic: bool
    threads: int | None


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        folder: of the run.
        notes: of how many pairs it saw the label maps, where it learns from them, and what weights it began with.
        first: of several processes, whether this is the one that wrote the folder.
    """

    folder: Path
    notes: tuple[str, ...] = ()
    first: bool = True

    @property
    def weights(self) -> Path:
        """The weights file: `jssr.register(..., checkpoint=run.weights)`."""
        return self.folder / "weights.safetensors"

    @cached_property
    def losses(self) -> list[dict[str, Any]]:
        """The rows of `losses.csv`, one dictionary each: step, stage, seconds per step, losses since the last row."""
        with (self.folder / "losses.csv").open(newline="", encoding="utf-8") as file:
            return [{key: _number(value) for key, value in row.items() if value} for row in csv.DictReader(file)]

    @cached_property
    def warnings(self) -> list[dict[str, Any]]:
        """What the run warned of, as `warnings.json` has it: a network that collapsed, a loss that is not finite."""
        path = self.folder / "warnings.json"
        return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []

    def model(self, device: str = "cpu") -> Model:
        """The trained system, ready to be used."""
        return load_model(checkpoint=self.weights, device=device)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        last = self.losses[-1] if self.losses else {}
        return {"weights": str(self.weights), "notes": list(self.notes), "last_losses": last, "warnings": self.warnings}


def train(
    recipe: str | PathLike | Recipe,
    *,
    data: Cohort | PathLike,
    out: PathLike,
    supervised: Cohort | PathLike | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
    **options: Unpack[TrainOptions],
) -> Training:
    """Train a system by a recipe: `jssr train`, bit for bit the same with the same seed.

        run = jssr.train("jssr-compact", data="prepared", supervised="labelled", out="run")
        run.weights, run.losses[-1], run.warnings

    Args:
        recipe: a built-in's name, a file, or a `Recipe`.
        data: prepared cohort of the pairs.
        out: folder of the run.
        supervised: prepared labelled cohort for the segmentor.
        overrides: of the recipe: "training.stages.joint.steps=500".
        resume: continue the run in `out`.
        on_progress: called with steps done, all steps, and the stage.
        on_note: called before the first step with each of `Training.notes`, if there are any.
        start_from: weights files, run folders or names of weights that ship, whose networks it begins with.
        devices, accelerator: processes on this machine, one a device, and its kind. The calling script is started again
            for each, unless torchrun or srun have started them. They share the samples of a step.
        cache_gb: memory of this machine for prepared scans.
        deterministic, threads: as in `register`.

    Raises:
        RecipeError: no such recipe, or one that does not fit the cohorts.
        CohortError: the cohort lacks what the recipe needs.
        TrainingError: a loss that is not finite, or `out` holds another run.
        Interrupted: stopped; the state is saved.
    """
    wanted: dict[str, Any] = dict(options)
    begin(options, TrainOptions, options.get("threads"))
    folder = Path(out)
    check_output(folder)
    plan = recipe if isinstance(recipe, Recipe) else _plan_of(recipe, list(overrides), folder if resume else None)
    if not plan.training.stages:
        raise RecipeError(f"recipe {plan.name}: has nothing to train; use it with --system {plan.network.system}")
    cohort, labelled = cohort_of(data), _labelled(plan, supervised)
    running = RunOptions(resume, **{name: wanted[name] for name in _RUNNING if name in wanted})
    with processes(plan, running) as group:
        begin(options, TrainOptions, options.get("threads"))  # Fabric has shared the cores among its processes
        dataset = dataset_of(plan, cohort, labelled, wanted.get("cache_gb", 4.0) / group.devices)
        if group.first:  # the label maps are read once
            dataset.check(plan.training.needs)
        system, notes, began = _begun(plan, wanted.get("start_from", ()), folder, resume)
        notes = [*filter(None, [dataset.described(plan.training.needs)]), *notes]
        about = {"pairs": _described(cohort), "supervised": _described(labelled), **began}
        if on_note is not None and group.first:
            list(map(on_note, notes))
        loop.train(plan, system, dataset, folder, running, data=about, on_step=on_progress, group=group)
    return Training(folder, tuple(notes), group.first)


def _plan_of(recipe: PathLike, overrides: list[str], resumed: Path | None) -> Recipe:
    plan = load_recipe(str(recipe), overrides)
    if resumed is not None and not overrides and (resumed / "recipe.json").is_file():
        before = load_recipe(str(resumed / "recipe.json"))  # with the overrides that the run was begun with
        return before if before.name == plan.name else plan
    return plan


def _labelled(plan: Recipe, supervised: Cohort | PathLike | None) -> Cohort | None:
    """The cohort of the supervised scans."""
    if supervised is None and "supervised" in plan.training.needs:
        raise RecipeError(f"recipe {plan.name}: trains a segmentor and needs --supervised COHORT")
    return None if supervised is None else cohort_of(supervised)


def _begun(
    plan: Recipe, others: Sequence[PathLike], folder: Path, resume: bool
) -> tuple[System, list[str], dict[str, Any]]:
    """A system with the weights of other runs, unless the run continues from a state of its own; notes, and what the
    header of its weights says of that."""
    torch.manual_seed(plan.training.seed)
    system = build_system(plan)
    if resume and has_state(folder / "checkpoint"):
        notes = [f"{folder} continues from its own state; --start-from was for its first step"] if others else []
        return system, notes, begun(folder)
    notes = []
    for other in others:
        networks = start_from(system, weights_at(other), plan.network.structures)
        notes.append(f"{', '.join(networks)} begin with the weights of {other}")
    return system, notes, {"started from": [str(other) for other in others]} if others else {}


def _described(cohort: Cohort | None) -> dict[str, Any] | None:
    """A cohort in plain data, for the header of the weights."""
    if cohort is None:
        return None
    about = {"name": cohort.name, "cases": len(cohort.cases), "phases": list(cohort.phases)}
    return about | {"modalities": modalities_of(cohort)}


def _number(text: str) -> Any:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text
