"""Teach the register on real CT and MR that lie on each other, by motions that are made: patient by patient judged.

    python projects/register/real.py DATA OUT --start RUN --fold 0

DATA/sts_ctmr holds CT and T1 MR of legs and arms in one frame (CC BY 3.0). The patients are dealt into three folds in
their order; those of `--fold` are left out, to be judged, and so is STS_019, which is misaligned in the source. Every
step bends one of the two scans by a smooth field that is drawn, of up to 12 mm, and the register is to find it. RUN is
a run of `train.py` to begin with; without it the register learns from nothing. Half of the steps show painted pairs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jssr.core import field as ff
from jssr.io.images import read_image
from jssr.preprocessing.modality import decide_modality
from jssr.preprocessing.prepare import prepare_pair

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
import painted  # noqa: E402
import train  # noqa: E402

MISALIGNED = "STS_019"
FOLDS = 3
SPACING = 2.3
"""Voxels of the pairs, mm: what the recipe gives scans as small as these."""
WHOLE = 4
"""Voxels of the register's coarsest cells."""
SMOOTH_VOXELS = (6.0, 20.0)
"""Length of the field's hills."""
BEND_MM, SHIFT_MM, TURN = (1.0, 7.0), 7.0, 0.08


class Couple(NamedTuple):
    """CT and MR on one grid, (1, 1, *shape) in -1..1, and where both have data."""

    ct: Tensor
    mr: Tensor
    mask: Tensor


def patients(data: Path) -> list[str]:
    """Those that are used, in their order."""
    return [p.name for p in sorted((data / "sts_ctmr").iterdir()) if p.is_dir() and p.name != MISALIGNED]


def prepared(data: Path, patient: str, folder: Path) -> Path:
    """The file of one patient on the working grid."""
    path = folder / f"{patient}.npz"
    if not path.exists():
        ct, mr = (decide_modality(read_image(data / "sts_ctmr" / patient / f"{n}.nii.gz"))[0] for n in ("ct", "mr_t1"))
        pair = prepare_pair(ct, mr, SPACING, train.RECIPE.preprocessing.window, False)
        mask = (pair.fixed_mask * pair.moving_mask).numpy()
        np.savez_compressed(path, ct=pair.fixed.numpy(), mr=pair.moving.numpy(), mask=mask)
    return path


def couple(path: Path) -> Couple:
    """What `prepared` wrote."""
    found = np.load(path)
    return Couple(*(torch.from_numpy(found[n]) for n in ("ct", "mr", "mask")))


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


def either_file(path: Path) -> object:
    """A couple or a body."""
    return couple(path) if "ct" in np.load(path).files else painted.tissue(path)


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
    taught = [name for number, name in enumerate(patients(chosen.data)) if number % FOLDS != chosen.fold]
    files = [prepared(chosen.data, name, chosen.out) for name in taught]
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
