from __future__ import annotations

import threading

import pytest
import torch
from shared_steps import Balls
from toy_system import Blobs, recipe

from jssr.systems.base import Batch
from jssr.training.prefetch import Prefetcher
from jssr.training.shares import Share

CPU = torch.device("cpu")
SEGMENT, ALIGN, JOINT = recipe().training.stages


def test_processes_share_the_batches_of_a_step_and_then_their_samples() -> None:
    drawn = []
    for share in (Share(0, 2), Share(2, 2)):
        source = Blobs()
        list(Prefetcher(source, accumulate=4, share=share, device=CPU).over([(0, ALIGN), (1, ALIGN)]))
        drawn.append(source.asked)
    assert drawn == [[0, 1, 4, 5], [2, 3, 6, 7]]
    balls = Balls(4)
    list(Prefetcher(balls, accumulate=2, share=Share(1, 1, 1, 2), device=CPU).over([(3, ALIGN)]))
    assert balls.asked == [30, 31]  # of batch 7 of four samples, 28 to 31, the second half


def test_batches_bring_what_the_stage_needs() -> None:
    prefetcher = Prefetcher(Blobs(), accumulate=1, share=Share(), device=CPU)
    batches = [batches[0] for _, _, batches in prefetcher.over([(0, SEGMENT), (1, ALIGN), (2, JOINT)])]
    assert [batch.fixed is not None for batch in batches] == [False, True, True]
    assert [batch.supervised is not None for batch in batches] == [True, False, True]


def test_threads_keep_the_order() -> None:
    plan = [(step, ALIGN) for step in range(9)]
    here = Prefetcher(Blobs(), accumulate=2, share=Share(0, 2), device=CPU).over(plan)
    ahead = Prefetcher(Blobs(), accumulate=2, share=Share(0, 2), device=CPU, workers=3).over(plan)
    for (step, _, one), (other, _, two) in zip(here, ahead, strict=True):
        assert step == other
        for a, b in zip(one, two, strict=True):
            assert a.fixed is not None and b.fixed is not None and torch.equal(a.fixed, b.fixed)


def test_an_error_in_a_thread_reaches_the_loop_and_ends_the_threads() -> None:
    class Broken(Blobs):
        def batch(self, step: int, need: frozenset[str]) -> Batch:
            if step == 4:
                raise OSError("disc gone")
            return super().batch(step, need)

    seen = []
    with pytest.raises(OSError, match="disc gone"):
        for step, _, _ in Prefetcher(Broken(), 1, Share(), CPU, workers=2).over((step, ALIGN) for step in range(9)):
            seen.append(step)
    assert seen == [0, 1, 2, 3]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
