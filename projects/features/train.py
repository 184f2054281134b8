"""Train features that look alike in any modality, from painted bodies alone: `python projects/features/train.py OUT`.

After Dey et al. (anatomix, ICLR 2025; own code and losses): one place of a phantom body, or a heap of shapes, is
painted twice, each time in a contrast that is drawn anew (`jssr.training.painting`); a U-Net describes both pictures,
and what it says of the same place shall agree. `--loss label`: voxels of one tissue are alike, and the same voxel is
more so than another tissue's. `--loss voxel`: the same voxel against all others, half of them from one block nearby.
`--loss both`: their mean. `../painted.py` has the loop; OUT/weights.pt are the averaged weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.nets.unet import UNet
from jssr.training.painting import Painter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import painted  # noqa: E402

TEMPERATURE = 0.1
RATE = 1e-3
SIZE = 64
"""Voxels along a picture."""
VOXEL_MM = (1.6, 4.0)
POINTS, BLOCK = 1024, 20
"""Points that are compared; voxels along the block that half of them are drawn from."""
SAME = 2.5
"""Voxels within which neighbours are neither alike nor different."""
SHAPES = 0.3
"""Share of pictures without a body; their tissues lie anywhere."""


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


def painted_voxel(step: int) -> tuple[float, float, float]:
    """mm along each axis."""
    random = torch.Generator().manual_seed(step)
    low, high = VOXEL_MM
    across, along = (float(torch.rand((), generator=random)) * (high - low) + low for _ in range(2))
    return across, across, along


def places(size: int, random: torch.Generator) -> Tensor:
    """Voxels (POINTS, 3): half from everywhere, half from one block."""
    far = torch.randint(0, size, (POINTS // 2, 3), generator=random)
    first = torch.randint(0, size - BLOCK + 1, (3,), generator=random)
    return torch.cat([far, first + torch.randint(0, BLOCK, (POINTS - POINTS // 2, 3), generator=random)])


def by_label(a: Tensor, b: Tensor, labels: Tensor, at: Tensor) -> Tensor:
    """Features (P, C) of points in both views: points of one label are alike, rare labels count as much as others."""
    n = len(a)
    both = torch.cat([labels, labels])
    features = torch.cat([a, b])
    itself = torch.eye(2 * n, dtype=torch.bool)
    same = (both[:, None] == both[None]) & ~itself
    pair = torch.eye(n, dtype=torch.bool).repeat(2, 2) & ~itself
    score = (features @ features.t() / TEMPERATURE).masked_fill(itself, -1e9)
    alike = -(score.log_softmax(dim=1) * same).sum(dim=1) / same.sum(dim=1).clamp(min=1)
    own = -score.masked_fill(same & ~pair, -1e9).log_softmax(dim=1)[pair]
    weight = 1 / both.bincount(minlength=int(both.max()) + 1).float()[both]
    return ((alike + own) * weight).sum() / weight.sum()


def by_voxel(a: Tensor, b: Tensor, labels: Tensor, at: Tensor) -> Tensor:
    """The same of points (P, 3) in voxels: each against all others but its neighbours."""
    apart = torch.cdist(at.float(), at.float())
    score = (a @ b.t() / TEMPERATURE).masked_fill((apart < SAME) & (apart > 0), -1e9)
    each = -(score.log_softmax(dim=1) + score.log_softmax(dim=0)).diagonal()
    weight = labels.bincount(minlength=int(labels.max()) + 1).float()[labels].rsqrt()
    return (each * weight).sum() / weight.sum()


def both(a: Tensor, b: Tensor, labels: Tensor, at: Tensor) -> Tensor:
    """Their mean."""
    return (by_label(a, b, labels, at) + by_voxel(a, b, labels, at)) / 2


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "label": by_label, "voxel": by_voxel, "both": both,
}  # fmt: skip


def loss_of(name: str, random: torch.Generator, net: UNet, views: Tensor, codes: Tensor) -> Tensor:
    """A loss of the features of points that are drawn."""
    at = places(len(codes), random)
    there = (slice(None), *at.unbind(dim=1))
    a, b = (F.normalize(one[there].t().float(), dim=1) for one in net(views))
    return LOSSES[name](a, b, codes[there[1:]], at)


def main() -> None:
    """Make the bodies, then train on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--bodies", type=int, default=120)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--loss", choices=tuple(LOSSES), default="both")
    chosen = parser.parse_args()
    files = painted.bodies(chosen.out, chosen.bodies)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, random = network(), torch.Generator().manual_seed(0)
    loss = partial(loss_of, chosen.loss, random)
    painted.train(chosen.out, net, partial(painted.Examples, files, example), loss, painted.Plan(chosen.steps, RATE))
    painted.averaged(chosen.out, net)
    torch.save({name: value.half() for name, value in net.state_dict().items()}, chosen.out / "weights.pt")


if __name__ == "__main__":
    main()
