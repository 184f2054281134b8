"""What the dual register's loss itself can reach: `python projects/dual/free_field.py PREPARED [PAIRS]`.

In place of a network's answer a free field of a training pair, on half the resolution, is optimised by Adam under the
terms and weights of the last stage of `dual-volume-compact`, the paper's. Printed is the Dice of each structure before
and after: a loss that a free field gains nothing from can teach no network.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from jssr.core import field as ff
from jssr.io.cohort import Cohort
from jssr.metrics.masks import dice
from jssr.recipes.load import build_system, load_recipe
from jssr.systems.base import Batch
from jssr.training.pairs import PairDataset

STRUCTURES = ("bladder", "prostate", "rectum")
STEPS, RATE = 150, 0.05


def overlaps(batch: Batch, u: torch.Tensor) -> str:
    """Dice of each structure under a field, the moving labels read at the nearest voxel."""
    assert batch.moving_labels is not None and batch.fixed_labels is not None
    moved = ff.warp(batch.moving_labels.float(), u, "nearest", "zeros").round()
    found = [dice((moved == k).numpy(), (batch.fixed_labels == k).numpy()) for k in range(1, 1 + len(STRUCTURES))]
    return " ".join(f"{value:.3f}" for value in found)


def main(folder: Path, pairs: int = 3) -> None:
    """Print a line for each of the first pairs."""
    recipe = load_recipe("dual-volume-compact")
    system, weights = build_system(recipe), recipe.training.stages[-1].weights
    still = recipe.training.model_copy(update={"augment": None, "patch": None, "in_body": False})
    source = PairDataset(Cohort.load(folder), None, STRUCTURES, recipe.preprocessing, still)
    for step in range(pairs):
        batch = source.batch(step, frozenset({"pair", "paired", "labels"}))
        assert batch.fixed is not None
        shape = batch.fixed.shape[2:]
        v = torch.zeros(1, 3, *[(s + 1) // 2 for s in shape], requires_grad=True)
        adam = torch.optim.Adam([v], RATE)
        u = torch.zeros(1, 3, *shape)
        before = overlaps(batch, u)
        for _ in range(STEPS):
            u = ff.resize_image(v, shape)
            batch.memo["phi"] = u
            terms = system.losses(batch, "main")
            adam.zero_grad()
            torch.stack([weight * terms[name]() for name, weight in weights.items()]).sum().backward()
            adam.step()
        print(f"pair {step}: Dice of {', '.join(STRUCTURES)} {before} -> {overlaps(batch, u.detach())}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
