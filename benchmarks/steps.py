"""Seconds and memory of training steps: `python benchmarks/steps.py [RECIPE] [--patch 96 80 64] [--steps 5]`.

For each stage of a recipe, on random images: plain float32, and bfloat16 autocast with channels-last weights, in one
run. On a CPU that has no bfloat16 the second is emulated and slow. Medians of the clock, and with `--cpu` of the CPU's
seconds, which other work beside disturbs less.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Sequence

import torch

from jssr.cli.memory import keep_freed_memory
from jssr.core.hardware import cpu_has_bf16, use_channels_last
from jssr.recipes.config import Recipe, Stage
from jssr.recipes.load import build_system, load_recipe
from jssr.systems.base import Batch


def batch_of(shape: Sequence[int], classes: int, labelled: bool) -> Batch:
    """One pair, with label maps or without, and one supervised scan, all of noise."""
    x, y, s = (torch.rand(1, 1, *shape) * 2 - 1 for _ in range(3))
    ones = torch.ones(1, 1, *shape)
    labels = torch.randint(0, classes, (1, 1, *shape))
    pair = {"moving_labels": labels, "fixed_labels": labels} if labelled else {}
    return Batch(x, y, ones, ones, supervised=s, supervised_labels=labels, **pair)


def seconds(recipe: Recipe, stage: Stage, shape: Sequence[int], bf16: bool, steps: int, cpu: bool) -> float:
    """The median time of a step: losses and gradients of every player, without the optimiser."""
    torch.manual_seed(0)
    system = build_system(recipe)
    if bf16:
        use_channels_last(system)
    took, now = [], time.process_time if cpu else time.perf_counter
    for _ in range(steps + 1):
        batch = batch_of(shape, 1 + len(recipe.network.structures), "labelled" in stage.needs)
        begin = now()
        for player in stage.train:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                terms = system.losses(batch, player)
                names = [n for n in stage.weights if n in terms]
                total = torch.stack([stage.weights[n] * terms[n]() for n in names]).sum()
            total.backward()
        system.zero_grad(set_to_none=True)
        took.append(now() - begin)
    return statistics.median(took[1:]) if steps else took[0]  # the first one warms up


def main() -> None:
    """Print a line for each stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="jssr-compact")
    parser.add_argument("--patch", type=int, nargs=3)
    parser.add_argument("--steps", type=int, default=5, help="0 times the first, cold one; enough for the memory")
    parser.add_argument("--fp32-only", action="store_true")
    parser.add_argument("--stages", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--cpu", action="store_true", help="seconds of the CPU, not of the clock")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    keep_freed_memory()
    recipe = load_recipe(chosen.recipe)
    shape = chosen.patch or recipe.training.patch
    print(f"{recipe.name}, patch {shape}, {torch.get_num_threads()} threads, bf16 in hardware: {cpu_has_bf16()}")
    for stage in (one for one in recipe.training.stages if chosen.stages is None or one.name in chosen.stages):
        plain = seconds(recipe, stage, shape, False, chosen.steps, chosen.cpu)
        line = f"{stage.name:10s} float32 {plain:7.2f} s"
        if not chosen.fp32_only:
            fast = seconds(recipe, stage, shape, True, chosen.steps, chosen.cpu)
            line += f"   bf16 channels-last {fast:7.2f} s   ratio {plain / fast:.2f}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{line}   peak {peak:.1f} GiB", flush=True)


if __name__ == "__main__":
    main()
