"""Teach the register on real CT and MR that lie on each other, by motions that are made: patient by patient judged.

    python projects/register/real.py DATA OUT --start RUN --fold 0

DATA/sts_ctmr holds CT and T1 MR of legs and arms (`../couples.py`); the patients of `--fold` are left out, to be
judged. Every step bends one of the two scans by a smooth field that is drawn, of up to 12 mm, and the register is to
find it. RUN is a run of `train.py` to begin with; without it the register learns from nothing. Half of the steps show
painted pairs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from jssr.core import field as ff

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
import painted  # noqa: E402
import train  # noqa: E402
from couples import FOLDS, SPACING, Couple, either_file, prepared, taught  # noqa: E402

WHOLE = 4
"""Voxels of the register's coarsest cells."""
SMOOTH_VOXELS = (6.0, 20.0)
"""Length of the field's hills."""
BEND_MM, SHIFT_MM, TURN = (1.0, 7.0), 7.0, 0.08


def field(shape: Sequence[int], random: torch.Generator) -> Tensor:
    """A smooth displacement with a shift and a turn about the middle, (1, 3, *shape) in voxels."""

    def uniform(low: float, high: float) -> float:
        return float(torch.rand((), generator=random)) * (high - low) + low

    noise = torch.randn(1, 3, *shape, generator=random)
    smooth = ff.smooth(noise, uniform(*SMOOTH_VOXELS) / 2)
    u = smooth / smooth.square().sum(dim=1).mean().sqrt() * uniform(*BEND_MM) / SPACING
    middle = torch.tensor([(s - 1) / 2 for s in shape]).view(1, 3, 1, 1, 1)
    at = ff.identity(shape) - middle
    axis = torch.randn(3, generator=random)
    turned = torch.linalg.cross((axis / axis.norm() * uniform(0, TURN)).view(1, 3, 1, 1, 1).expand_as(at), at, dim=1)
    shift = torch.tensor([uniform(-SHIFT_MM, SHIFT_MM) for _ in range(3)]).view(1, 3, 1, 1, 1) / SPACING
    return u + turned + shift


def example(couples: Sequence[Couple], step: int) -> painted.Example:
    """As `train.pair`: either scan may be the moving one, and both are mirrored now and then. What is beyond a multiple
    of 4 voxels is cut off, so that the register's grids fit."""
    random = torch.Generator().manual_seed(step)

    def chance() -> bool:
        return bool(torch.rand((), generator=random) < 0.5)

    one = couples[int(torch.randint(len(couples), (), generator=random))]
    mirrored = [axis + 2 for axis in range(3) if chance()]
    whole = (slice(None), slice(None), *[slice(s // WHOLE * WHOLE) for s in one.mask.shape[2:]])
    ct, mr, mask = (image[whole].flip(mirrored) for image in one)
    moving, still = (mr, ct) if chance() else (ct, mr)
    truth = field(mask.shape[2:], random)
    seen = mask * ff.warp(mask, truth, padding="zeros") * (still > -0.95)
    fixed = ff.warp(still, truth)
    fixed = (fixed + 0.03 * torch.randn(fixed.shape, generator=random)).clamp(-1, 1)
    return torch.cat([moving, fixed], dim=1), truth, seen


def either(files: int, known: Sequence[object], step: int) -> painted.Example:
    """A real pair in every even step, a painted one in the others: the first `files` of `known` are couples."""
    if step % 2 == 0:
        return example(known[:files], step)  # type: ignore[arg-type]
    return train.pair(known[files:], step)  # type: ignore[arg-type]


def main() -> None:
    """Train on the other folds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--fold", type=int, choices=range(FOLDS), required=True)
    parser.add_argument("--bodies", type=int, default=40)
    parser.add_argument("--steps", type=int, default=800)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    files = [prepared(chosen.data, name, chosen.out) for name in taught(chosen.data, chosen.fold)]
    bodies = painted.bodies(chosen.out, chosen.bodies)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = train.network()
    if chosen.start is not None:
        painted.averaged(chosen.start, net)
    plan = painted.Plan(chosen.steps, 5e-4 if chosen.start else 1e-3, average=0.99)
    make = partial(painted.Examples, [*files, *bodies], partial(either, len(files)), read=either_file)
    painted.train(chosen.out, net, make, train.loss_of, plan)
    train.export(chosen.out)


if __name__ == "__main__":
    main()
