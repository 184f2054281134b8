"""Training on painted phantoms: the bodies, the loop, its checkpoints. The `train.py` of `body`, `register` and
`features` use it.

A run's folder holds the bodies, `last.pt` (weights, their average, the optimiser's moments, the step) and `losses.csv`:
the step, the mean loss of the last 50 steps, seconds a step. A run that was interrupted goes on from `last.pt`; the
n-th picture is always the same, so that it sees what it would have seen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset

from jssr.core.hardware import cpu_has_bf16, use_channels_last
from jssr.phantom.body import BOTTOM, make_body
from jssr.phantom.ranges import SUPERVISED_POPULATION, TARGET_POPULATION
from jssr.phantom.regions import BODY_LABELS, body_labels_of
from jssr.training.painting import Painting, class_table

SPACING = 2.5
"""Of the bodies, mm."""
SEED = 100
ABDOMEN = (-BOTTOM - 110.0, -BOTTOM + 130.0)
"""Where two thirds of the pictures have their middle: mm from the bodies' lower end."""
EVERY = 50
ALSO = {"liver_tumour": "liver", "rectum": "bowel"}
"""Structures that count to others."""

Example = tuple[Tensor, ...]


def write(path: Path, **arrays: np.ndarray) -> None:
    """Write a file of arrays in one go: one that is cut off is not taken for one that is done."""
    begun = path.with_suffix(".begun.npz")
    np.savez_compressed(begun, **arrays)  # type: ignore[arg-type]
    begun.replace(path)


def body(number: int, folder: Path) -> Path:
    """The file of one body, made where it is not there."""
    path = folder / f"{number:03d}.npz"
    if not path.exists():
        torch.set_num_threads(1)
        people = (TARGET_POPULATION, SUPERVISED_POPULATION)[number // 2 % 2]
        made = make_body(np.random.default_rng([SEED, number]), replace(people, spacing=SPACING))
        write(path, tissue=made.tissue)
    return path


def bodies(out: Path, count: int) -> list[Path]:
    """Files of so many bodies in OUT/bodies."""
    folder = out / "bodies"
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(partial(body, folder=folder), range(count)))


def tissue(file: Path) -> Tensor:
    """The tissue codes of a body's file."""
    return torch.from_numpy(np.load(file)["tissue"])


def classes_of(drawn: Painting, structures: Sequence[str]) -> Tensor:
    """Class 1, 2, ... of each structure in a painting's voxels, (*size) int64; nothing of a foreign one."""
    if drawn.foreign:
        return torch.zeros_like(drawn.codes)
    labels = torch.from_numpy(body_labels_of(np.arange(256, dtype=np.uint8))).long()
    found: Tensor = class_table(structures, BODY_LABELS, ALSO)[labels][drawn.codes]
    return found


class Examples(IterableDataset[Example]):
    """Endless examples: `make(known, n)` is the n-th, where `known` is what `read` finds in the files, bodies as a
    rule."""

    def __init__(
        self,
        files: Sequence[Path],
        make: Callable[[Sequence[Any], int], Example],
        first: int,
        read: Callable[[Path], Any] = tissue,
    ) -> None:
        self.files, self.make, self.first, self.read = files, make, first, read

    def __iter__(self) -> Iterator[Example]:
        torch.set_num_threads(1)
        known = [self.read(file) for file in self.files]
        step = self.first
        while True:
            yield self.make(known, step)
            step += 1


@dataclass(frozen=True)
class Plan:
    """How long and how fast: `rate` rises over `warmup` steps and falls along a cosine to a hundredth at `steps`, and
    the run ends at `stop`, if that is earlier; `average` is the decay of the averaged weights."""

    steps: int
    rate: float
    warmup: int = 50
    average: float = 0.998
    stop: int | None = None

    def rate_at(self, step: int) -> float:
        """The learning rate at a step."""
        done = max(0, step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * min(1, (step + 1) / self.warmup) * (0.505 + 0.495 * math.cos(math.pi * done))


def train(
    out: Path, net: nn.Module, examples: Callable[[int], Examples], loss_of: Callable[..., Tensor], plan: Plan
) -> None:
    """Train a network in OUT, or go on: `loss_of(net, *example)` is minimised, in bf16 where the CPU has it."""
    use_channels_last(net)
    mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(plan.average))
    optimiser = torch.optim.Adam(net.parameters(), plan.rate)
    kept, parts = out / "last.pt", {"net": net, "mean": mean, "optimiser": optimiser}
    first = _restore(kept, parts)
    begin, sums = time.perf_counter(), 0.0
    loader = DataLoader(examples(first), batch_size=None, num_workers=1, prefetch_factor=3)
    last = plan.steps if plan.stop is None else min(plan.stop, plan.steps)
    for step, example in zip(range(first, last), loader, strict=False):
        optimiser.param_groups[0]["lr"] = plan.rate_at(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bf16()):
            loss = loss_of(net, *example)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        mean.update_parameters(net)
        sums += float(loss.detach())
        if (step + 1) % EVERY == 0 or step + 1 == last:
            line = (
                f"{step + 1},{sums / (step % EVERY + 1):.4f},{(time.perf_counter() - begin) / (step + 1 - first):.2f}"
            )
            print(line, flush=True)
            with (out / "losses.csv").open("a") as log:
                log.write(line + "\n")
            sums = 0.0
            torch.save({name: part.state_dict() for name, part in parts.items()} | {"step": step + 1}, out / "new.pt")
            (out / "new.pt").replace(kept)


def _restore(kept: Path, parts: dict[str, Any]) -> int:
    """The step that a checkpoint was made at; 0 without one."""
    if not kept.exists():
        return 0
    state = torch.load(kept)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])


def averaged(out: Path, net: nn.Module) -> int:
    """Put the averaged weights of a run's last checkpoint into a network; returns the step."""
    state = torch.load(out / "last.pt")
    net.load_state_dict({k.removeprefix("module."): v for k, v in state["mean"].items() if k != "n_averaged"})
    return int(state["step"])
