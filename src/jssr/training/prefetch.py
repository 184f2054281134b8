"""Batches in the order of the steps, on the device, made ahead by threads where that pays."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, replace
from itertools import islice

import torch
from torch import Tensor

from jssr.recipes.config import Stage
from jssr.systems.base import Batch
from jssr.training.datasets import Dataset
from jssr.training.shares import Share


class Prefetcher:
    """Draws what one process does in each step.

    Args:
        dataset: of batches.
        accumulate: batches per step.
        share: what of them this process draws.
        device: that they are moved to.
        workers: threads that make batches ahead; with 0 they are made when asked for.
    """

    def __init__(self, dataset: Dataset, accumulate: int, share: Share, device: torch.device, workers: int = 0) -> None:
        self.dataset, self.accumulate, self.share = dataset, accumulate, share
        self.device, self.workers = device, workers

    def draw(self, step: int, stage: Stage) -> list[Batch]:
        """The batches of a step, still on the CPU."""
        first, share = step * self.accumulate + self.share.first, self.share
        need = frozenset[str](stage.needs)
        part = () if share.parts == 1 else ((share.part, share.parts),)
        return [self.dataset.batch(first + k, need, *part) for k in range(share.count)]

    def over(self, plan: Iterable[tuple[int, Stage]]) -> Iterator[tuple[int, Stage, list[Batch]]]:
        """Go through (step, stage) pairs; yields them with their batches on the device."""
        if not self.workers:
            for step, stage in plan:
                yield step, stage, self._moved(self.draw(step, stage))
            return
        waiting: deque[tuple[int, Stage, Future[list[Batch]]]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="batches")
        remaining = iter(plan)
        try:
            while True:
                for step, stage in islice(remaining, self.workers + 1 - len(waiting)):
                    waiting.append((step, stage, pool.submit(self.draw, step, stage)))
                if not waiting:
                    return
                step, stage, future = waiting.popleft()
                yield step, stage, self._moved(future.result())
        finally:
            pool.shutdown(cancel_futures=True)

    def _moved(self, batches: list[Batch]) -> list[Batch]:
        return [_to_device(batch, self.device) for batch in batches]


def _to_device(batch: Batch, device: torch.device) -> Batch:
    tensors = {f.name: getattr(batch, f.name) for f in fields(batch) if isinstance(getattr(batch, f.name), Tensor)}
    pin = device.type == "cuda"  # only pinned memory is copied while the GPU computes
    moved = {name: (t.pin_memory() if pin else t).to(device, non_blocking=pin) for name, t in tensors.items()}
    return replace(batch, memo={}, **moved)
