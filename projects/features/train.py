"""Train features that look alike in any modality, from painted bodies: `python projects/features/train.py OUT`.

After Dey et al. (anatomix, ICLR 2025; own code and losses): one place of a phantom body, or a heap of shapes, is
painted twice, each time in a contrast that is drawn anew (`jssr.training.painting`); a U-Net describes both pictures,
and what it says of the same place shall agree. `--loss label`: voxels of one tissue are alike, and the same voxel is
more so than another tissue's. `--loss voxel`: the same voxel against all others, half of them from one block nearby.
`--loss both`: their mean. `--loss search`: what a search over small displacements would find. `../painted.py` has the
loop; OUT/weights.pt are the averaged weights.

With `--real DATA --fold 0` half of the steps show CT and MR of legs that lie on each other (`../couples.py`), of
patients that are not in that fold (3: of all), without labels; `--start RUN` begins where another run has ended.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import field as ff
from jssr.nets.unet import UNet
from jssr.training.painting import Painter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import painted  # noqa: E402
from couples import FOLDS, Couple, either_file, prepared, taught  # noqa: E402

TEMPERATURE = 0.1
RATE = 1e-3
SIZE, JITTER = 64, 16
"""Voxels along a picture, and by which a view of it is smaller: each view is cut out for itself. Of two views with the
same border the network learns how far it is, and little else."""
VOXEL_MM = (1.6, 4.0)
POINTS, BLOCK = 1024, 20
"""Points that are compared; voxels along the block that half of them are drawn from."""
SEARCHES = ((2, 2), (1, 1))
"""Of the search's loss: voxels that are averaged, displacements in each direction."""
SAME = 2.5
"""Voxels within which neighbours are neither alike nor different."""
SHAPES = 0.3
"""Share of pictures without a body; their tissues lie anywhere."""
INSIDE, NO_DATA = 1, 255
"""Codes of a real pair: in the body, and where one of the scans has no data."""
ENLARGED = (0.8, 1.6)
"""What a real scan is enlarged by at least and at most."""
GAMMA, ROUGH = 0.4, 0.06
"""Largest logarithm of a real scan's exponent, and its noise."""


def network() -> UNet:
    """16 channels of one image, 0.66 million weights."""
    return UNet(1, 16, encoder=(24, 48, 96), decoder=(96, 48, 24), head=(16, 16), normalise=True)


def example(bodies: Sequence[Tensor], step: int, size: int = SIZE) -> painted.Example:
    """Two pictures (2, 1, size, size, size) in -1..1 of one place, and its tissue codes (size, size, size)."""
    voxel = painted_voxel(step)
    painter = Painter(bodies, painted.SPACING, (size,) * 3, voxel, step)
    codes = painter.shapes((size,) * 3) if painter.chance(SHAPES) else painter.place((size,) * 3)
    grain = 0.6 * painter.grain(codes.shape) + painter.noise(codes.shape, size / 3.0)[0]
    # What is uneven within a tissue shows in both pictures half of the time, as vessels do.
    views = [painter.paint(codes, grain * painter.uniform(0.3, 1.5) if painter.chance(0.5) else None)[0] for _ in "ab"]
    return torch.stack(views)[:, None], codes


def real_example(couples: Sequence[Couple], step: int, size: int = SIZE) -> painted.Example:
    """The same of a real pair: a part of CT and MR, mirrored, enlarged, brightened and blurred at random; codes 0
    outside the body, `INSIDE` and `NO_DATA`."""
    random = torch.Generator().manual_seed(step)

    def uniform(low: float, high: float) -> float:
        return float(torch.rand((), generator=random)) * (high - low) + low

    one = couples[int(uniform(0, len(couples) - 1e-6))]
    taken = round(size / uniform(*ENLARGED))
    lacks = [max(0, taken - s) for s in one.mask.shape[2:]]
    beside = [n for lack in reversed(lacks) for n in (0, lack)]
    first = [int(uniform(0, s + lack - taken + 1 - 1e-6)) for s, lack in zip(one.mask.shape[2:], lacks, strict=True)]
    mirrored = [axis + 2 for axis in range(3) if uniform(0, 1) < 0.5]
    where = (slice(None), slice(None), *[slice(a, a + taken) for a in first])
    parts = (F.pad(image, beside, value=v)[where].flip(mirrored) for image, v in zip(one, (-1, -1, 0), strict=True))
    ct, mr, mask = (F.interpolate(part, size=(size,) * 3, mode="trilinear") for part in parts)
    views = []
    for image in (ct, mr):
        seen = ((image + 1) / 2).clamp(0, 1) ** math.exp(uniform(-GAMMA, GAMMA)) * 2 - 1
        if uniform(0, 1) < 0.3:
            seen = ff.smooth(seen, uniform(0.3, 1.0))
        rough = torch.randn(seen.shape, generator=random) * uniform(0, ROUGH) * (mask > 0)
        views.append((seen + rough).clamp(-1, 1)[0])
    codes = (ct > -0.95).long() * INSIDE
    return torch.stack(views), codes.masked_fill(mask < 1, NO_DATA)[0, 0]


def either(files: int, known: Sequence[Any], step: int) -> painted.Example:
    """A real pair in every even step, a painted one in the others: the first `files` of `known` are couples."""
    if files and step % 2 == 0:
        return (*real_example(known[:files], step), torch.tensor(True))
    return (*example(known[files:], step), torch.tensor(False))


def painted_voxel(step: int) -> tuple[float, float, float]:
    """mm along each axis."""
    random = torch.Generator().manual_seed(step)
    low, high = VOXEL_MM
    across, along = (float(torch.rand((), generator=random)) * (high - low) + low for _ in range(2))
    return across, across, along


def places(box: Sequence[int], random: torch.Generator) -> Tensor:
    """Voxels (POINTS, 3) of a box: half from everywhere, half from one block."""
    size = torch.tensor(box)
    share = torch.rand(POINTS, 3, generator=random)
    far = share[: POINTS // 2] * size
    first = (torch.rand(3, generator=random) * (size - BLOCK + 1)).floor()
    # A share just below 1 is rounded up to the box's end.
    return torch.minimum(torch.cat([far, first + share[POINTS // 2 :] * BLOCK]).long(), size - 1)


def by_label(a: Tensor, b: Tensor, labels: Tensor, at: Tensor) -> Tensor:
    """Features (P, C) of points in both views: points of one label are alike, rare labels count as much as others."""
    n, both, features = len(a), torch.cat([labels, labels]), torch.cat([a, b])
    # Scores are at most 1 / TEMPERATURE: no exponential overflows.
    near = ((features / TEMPERATURE) @ features.t()).fill_diagonal_(-1e9).exp()
    kinds = int(both.max()) + 1
    count = both.bincount(minlength=kinds).float()
    # The sum of a point's scores with those of its label is its score with their sum.
    of_label = features.new_zeros(kinds, features.shape[1]).index_add(0, both, features)
    sums = (features * (of_label[both] - features)).sum(dim=1) / TEMPERATURE
    alike = near.sum(dim=1).log() - sums / (count[both] - 1)
    counted = (both[:, None] != both[None]).float()
    counted.diagonal(n).fill_(1)
    counted.diagonal(-n).fill_(1)
    own = (near * counted).sum(dim=1).log() - (features * features.roll(n, 0)).sum(dim=1) / TEMPERATURE
    weight = 1 / count[both]
    return ((alike + own) * weight).sum() / weight.sum()


def by_voxel(a: Tensor, b: Tensor, labels: Tensor, at: Tensor) -> Tensor:
    """The same of points (P, 3) in voxels: each against all others but its neighbours."""
    apart = torch.cdist(at.float(), at.float())
    score = (a @ b.t() / TEMPERATURE).masked_fill((apart < SAME) & (apart > 0), -1e9)
    each = -(score.log_softmax(dim=1) + score.log_softmax(dim=0)).diagonal()
    weight = labels.bincount(minlength=int(labels.max()) + 1).float()[labels].rsqrt() * (labels != NO_DATA)
    return (each * weight).sum() / weight.sum().clamp(min=1e-6)


def both(a: Tensor, b: Tensor, labels: Tensor, at: Tensor) -> Tensor:
    """Their mean."""
    return (by_label(a, b, labels, at) + by_voxel(a, b, labels, at)) / 2


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "label": by_label, "voxel": by_voxel, "both": both,
}  # fmt: skip


def by_search(a: Tensor, b: Tensor, seen: Tensor) -> Tensor:
    """What a search says of features (C, X, Y, Z) of the same voxels: of the displacements of a cube none is right.

    The costs are averaged over the neighbours, as a search's are, so that a voxel need not be told from all others.
    `seen` (X, Y, Z) is 1 where it counts.
    """
    found = []
    for pool, radius in SEARCHES:
        m, f, weight = (F.avg_pool3d(i[None], pool) for i in (b, a, seen[None].float()))
        around, side = F.pad(m, [radius] * 6, mode="replicate"), range(2 * radius + 1)
        x, y, z = f.shape[2:]
        costs = torch.cat(
            [
                (around[:, :, i : i + x, j : j + y, k : k + z] - f).square().sum(dim=1, keepdim=True)
                for i, j, k in itertools.product(side, side, side)
            ],
            dim=1,
        )
        near = F.avg_pool3d(costs, 3, stride=1, padding=1, count_include_pad=False)
        share = -(near / (-2 * TEMPERATURE)).log_softmax(dim=1)[:, costs.shape[1] // 2]
        found.append((share * weight[:, 0]).sum() / weight.sum().clamp(min=1))
    return torch.stack(found).mean()


def loss_of(name: str, random: torch.Generator, net: UNet, views: Tensor, codes: Tensor, real: Tensor) -> Tensor:
    """A loss of the features of points that are drawn; a real pair has no tissues, so that it has `by_voxel`."""
    first = [torch.randint(0, JITTER + 1, (3,), generator=random) for _ in views]
    size = len(codes) - JITTER
    cut = torch.stack(
        [v[:, x : x + size, y : y + size, z : z + size] for v, (x, y, z) in zip(views, first, strict=True)]
    )
    low, high = torch.stack(first).amax(dim=0), torch.stack(first).amin(dim=0) + size
    at = low + places((high - low).tolist(), random)
    if name == "search":
        a, b = (
            F.normalize(one.float(), dim=0)[(slice(None), *map(slice, low - o, high - o))]
            for one, o in zip(net(cut), first, strict=True)
        )
        there = codes[tuple(map(slice, low, high))]
        return by_search(a, b, (there > 0) & (there != NO_DATA))
    described = zip(net(cut), first, strict=True)
    a, b = (F.normalize(one[(slice(None), *(at - o).unbind(dim=1))].t().float(), dim=1) for one, o in described)
    return (by_voxel if real else LOSSES[name])(a, b, codes[at.unbind(dim=1)], at)


def main() -> None:
    """Make the bodies, then train on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--bodies", type=int, default=120)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--loss", choices=(*LOSSES, "search"), default="both")
    parser.add_argument("--real", type=Path, metavar="DATA")
    parser.add_argument("--fold", type=int, choices=range(FOLDS + 1), default=FOLDS)
    parser.add_argument("--start", type=Path, metavar="RUN")
    chosen = parser.parse_args()
    if chosen.fold != FOLDS and chosen.real is None:
        parser.error("--fold: leaves out real legs, which --real DATA gives")
    bodies = painted.bodies(chosen.out, chosen.bodies)
    names = taught(chosen.real, chosen.fold) if chosen.real else ()
    files = [prepared(chosen.real, name, chosen.out / "couples") for name in names]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, random = network(), torch.Generator().manual_seed(0)
    if chosen.start is not None:
        painted.averaged(chosen.start, net)
    loss = partial(loss_of, chosen.loss, random)
    plan = painted.Plan(chosen.steps, RATE / 2 if chosen.start else RATE, average=0.99 if chosen.start else 0.998)
    make = partial(painted.Examples, [*files, *bodies], partial(either, len(files)), read=either_file)
    painted.train(chosen.out, net, make, loss, plan)
    painted.averaged(chosen.out, net)
    torch.save({name: value.half() for name, value in net.state_dict().items()}, chosen.out / "weights.pt")


if __name__ == "__main__":
    main()
