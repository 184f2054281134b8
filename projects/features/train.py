"""Train features that look alike in any modality, from label maps alone: `python train.py OUT.pt --labels FOLDER`.

After Dey et al. (anatomix, ICLR 2025): one label map is painted twice, each time with grey values, texture, bias
field, blur and noise drawn anew; a U-Net describes both, and what it says of the same place shall agree. `--loss
label`: voxels of one label are alike (supervised contrastive, and the same voxel against other labels). `--loss voxel`:
the same voxel against all others, half of them from one block nearby. Label maps are shapes from smooth noise and, with
`--labels`, crops of the label maps that `jssr phantom` wrote. The weights are kept every 50 steps.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import field as ff
from jssr.core.hardware import cpu_has_bf16
from jssr.io.images import read_image
from jssr.nets.unet import UNet

TEMPERATURE = 0.1
RATE = 2e-3
BLOCK = 20
"""Voxels along the block that half of the points are drawn from."""
SAME = 2.5
"""Voxels within which neighbours are neither alike nor different."""


def network() -> UNet:
    """16 channels of one image, 0.23 million weights."""
    return UNet(1, 16, encoder=(16, 32, 48), decoder=(48, 32, 16), head=(16, 16), normalise=True)


class Painter:
    """Label maps and their pictures, cubes of `size` voxels."""

    def __init__(self, size: int, maps: list[Tensor], seed: int) -> None:
        self.size, self.maps, self.random = size, maps, torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        return float(torch.rand((), generator=self.random)) * (high - low) + low

    def whole(self, low: int, high: int) -> int:
        """Both ends included."""
        return int(torch.randint(low, high + 1, (), generator=self.random))

    def noise(self, cells: float, channels: int = 1) -> Tensor:
        """Smooth noise with so many cells along each axis, (channels, size, size, size)."""
        coarse = torch.randn(1, channels, *[max(2, round(cells))] * 3, generator=self.random)
        return F.interpolate(coarse, size=(self.size,) * 3, mode="trilinear", align_corners=True)[0]

    def labels(self) -> Tensor:
        """A label map: of a phantom, turned and mirrored, or of shapes."""
        if self.maps and self.uniform(0, 1) < 0.5:
            whole = self.maps[self.whole(0, len(self.maps) - 1)]
            first = [self.whole(0, s - self.size) for s in whole.shape]
            part = whole[tuple(slice(a, a + self.size) for a in first)]
            if part.unique().numel() >= 3:
                turned = [axis for axis in range(3) if self.uniform(0, 1) < 0.5]
                return part.flip(turned).permute(torch.randperm(3, generator=self.random).tolist()).contiguous()
        return self.shapes()

    def shapes(self) -> Tensor:
        """Blobs, half of the time in a body with air around it, with sheets and tubes."""
        cells = self.size / self.uniform(6, 24)
        count = self.whole(4, 20)
        out = (self.noise(cells, count) + 0.5 * self.noise(2 * cells, count)).argmax(dim=0)
        if self.uniform(0, 1) < 0.5:
            axes = [torch.linspace(-1, 1, self.size) - self.uniform(-0.8, 0.8) for _ in range(3)]
            far = torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0) + 0.2 * self.noise(3)[0]
            out = torch.where(far < self.uniform(0.5, 1.2), out + 1, torch.zeros_like(out))
        for _ in range(self.whole(0, 3)):
            one, other = (self.noise(self.size / self.uniform(8, 16))[0].abs() for _ in range(2))
            thick = self.uniform(0.05, 0.15)
            there = (one < thick) & ((other < 3 * thick) | (self.uniform(0, 1) < 0.4))
            out = torch.where(there, 21 + self.whole(0, 9), out)
        return out

    def view(self, labels: Tensor) -> Tensor:
        """A picture of a label map in -1..1."""
        count = int(labels.max()) + 1
        grey = torch.rand(count, generator=self.random) * 2 - 1
        if self.uniform(0, 1) < 0.5:  # few grey values: neighbours may look alike
            levels = self.whole(3, 6)
            grey = (grey * levels).round() / levels + 0.05 * torch.randn(count, generator=self.random)
        image = ff.smooth(grey[labels][None, None], self.uniform(0.3, 1.0))[0, 0]
        texture = self.noise(self.size / self.uniform(2, 6))[0] + self.uniform(0, 0.6) * self.grain()
        image = image + (torch.rand(count, generator=self.random) ** 2 * self.uniform(0, 0.4))[labels] * texture
        image = image * (1 + self.uniform(0, 0.3) * self.noise(3)[0]) + self.uniform(0, 0.3) * self.noise(3)[0]
        if self.uniform(0, 1) < 0.4:  # thick slices
            thick = [self.size] * 3
            thick[self.whole(0, 2)] //= self.whole(2, 4)
            slices = F.interpolate(image[None, None], size=thick, mode="area")
            image = F.interpolate(slices, size=(self.size,) * 3, mode="trilinear", align_corners=False)[0, 0]
        image = image + self.uniform(0, 0.12) * self.grain()
        low, high = torch.quantile(image.flatten()[::7], torch.tensor([0.005, 0.995]))
        image = ((image - low) / (high - low).clamp(min=1e-3) * 2 - 1).clamp(-1, 1)
        return image.sign() * image.abs() ** self.uniform(0.6, 1.6) if self.uniform(0, 1) < 0.3 else image

    def grain(self) -> Tensor:
        """White noise."""
        return torch.randn(self.size, self.size, self.size, generator=self.random)

    def places(self, count: int) -> Tensor:
        """Voxel numbers: half from everywhere, half from one block."""
        first = torch.tensor([[self.whole(0, self.size - BLOCK)] for _ in range(3)])
        near = torch.randint(0, BLOCK, (3, count // 2), generator=self.random) + first
        far = torch.randint(0, self.size**3, (count - count // 2,), generator=self.random)
        return torch.cat([far, (near[0] * self.size + near[1]) * self.size + near[2]])


def by_label(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
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
    apart = torch.cdist(at, at)
    score = (a @ b.t() / TEMPERATURE).masked_fill((apart < SAME) & (apart > 0), -1e9)
    each = -(score.log_softmax(dim=1) + score.log_softmax(dim=0)).diagonal()
    weight = labels.bincount(minlength=int(labels.max()) + 1).float()[labels].rsqrt()
    return (each * weight).sum() / weight.sum()


def tissues(path: Path) -> Tensor:
    """A phantom's label map, with air, fat and bone of the scan beside it as labels of their own."""
    labels = read_image(path, "labels").data[0].long()
    scan = read_image(path.with_name(path.name.replace("_labels", ""))).data[0]
    for number, there in enumerate((scan < -300, (scan < -30) & (scan >= -300), scan > 150), start=19):
        labels = torch.where((labels == 0) & there, number, labels)
    return labels


def main() -> None:
    """Train for some minutes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--labels", type=Path, help="a cohort of jssr phantom, CT")
    parser.add_argument("--loss", choices=("label", "voxel"), default="label")
    parser.add_argument("--minutes", type=float, default=34.0)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--points", type=int, default=1024)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    maps = [] if chosen.labels is None else [tissues(p) for p in sorted(chosen.labels.glob("*/venous_labels.nii.gz"))]
    painter, net = Painter(chosen.size, maps, seed=0), network()
    optimiser = torch.optim.Adam(net.parameters(), RATE)
    begin, step, sums = time.perf_counter(), 0, 0.0
    while (done := (time.perf_counter() - begin) / 60 / chosen.minutes) < 1:
        optimiser.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 50) * (0.52 + 0.5 * math.cos(math.pi * done))
        labels = painter.labels()
        views = torch.stack([painter.view(labels) for _ in range(2)])[:, None]
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bf16()):
            features = net(views)
        index = painter.places(chosen.points)
        a, b = (F.normalize(one.flatten(1)[:, index].t().float(), dim=1) for one in features)
        at = torch.stack([index // chosen.size**2, index // chosen.size % chosen.size, index % chosen.size], dim=1)
        there = labels.flatten()[index]
        loss = by_label(a, b, there) if chosen.loss == "label" else by_voxel(a, b, there, at.float())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step, sums = step + 1, sums + float(loss.detach())
        if step % 50 == 0:
            print(f"step {step}: loss {sums / 50:.3f}, {(time.perf_counter() - begin) / step:.2f} s a step", flush=True)
            torch.save(net.state_dict(), chosen.out)
            sums = 0.0
    torch.save(net.state_dict(), chosen.out)


if __name__ == "__main__":
    main()
