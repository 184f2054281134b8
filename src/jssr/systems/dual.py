"""A register of two modalities that learns from each modality by itself (Cao et al., MLMI 2018).

x moving, y fixed, of two modalities. Training has paired ground truth of both: x' looks like
y and lies on x, y' looks like x and lies on y. phi = M(y, x), T the warp.

    (3) fixed_like   1 - NCC[y, T(phi, x')]        two scans of the fixed modality ("CT" in print)
        moving_like  1 - NCC[y', T(phi, x)]        two of the moving modality ("MR" in print)
    (4) laplace      |Laplacian phi|^2
        size         |phi|^2
    (2) fixed_like / 2 + moving_like / 2 + 0.5 laplace + 0.01 size

One of the two alone is the paper's "CT" or "MR" ablation. `direct`, |y - T(phi, x)|_1 across the modalities, is what
the paper argues against. Use needs no paired ground truth.

M is a patch U-Net without padding (`nets/patch_unet.py`), which sees a volume tile by tile, or any network of whole
volumes. Norms are means over the voxels, displacements in voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import field as ff
from jssr.core.precision import full_precision
from jssr.losses.similarity import joint_mask, l1, ncc
from jssr.losses.terms import laplacian
from jssr.nets.blocks import first_voxels
from jssr.nets.cost_register import CostRegister
from jssr.nets.patch_unet import PatchUNet
from jssr.nets.unet import UNet
from jssr.systems.base import Alignment, Batch, System, Terms, pair_of, required

_sample = full_precision(ff.sample)
OUTSIDE = -1.0
"""What a normalised image has where there are no data."""


class Dual(System):
    """The system of the module's docstring.

    Args:
        M: two images (B, 1, ...) to a field (B, n, ...) in voxels, smaller by `margin` voxels on each side.
        margin: 0 for networks of whole volumes.
        tile: voxels along the side of a tile's answer in use, of which a patch U-Net's `step` is a divisor; 28 is the
            paper's, larger ones compute less twice.
    """

    networks = ("M",)
    outputs = {"displacement": "M"}

    def __init__(self, M: nn.Module, margin: int = 0, tile: int = 100) -> None:
        super().__init__()
        if tile < PatchUNet.step or tile % PatchUNet.step:
            raise ValueError(f"a tile is a multiple of 4, got {tile}")
        self.M, self.margin, self.tile = M, margin, tile

    def check_patch(self, shape: Sequence[int]) -> None:
        """Whole volumes are padded to what fits; patches that nothing is to be added to must fit."""
        if self.margin:
            PatchUNet.check(shape)

    def losses(self, batch: Batch, group: str) -> Terms:
        """The terms above."""

        def moved(image: Tensor) -> Tensor:
            return _sample(image, self._positions(batch))

        def mask() -> Tensor | None:
            seen = batch.moving_mask
            return joint_mask(None if seen is None else moved(seen).detach(), self._middle(batch.fixed_mask))

        def fixed_like() -> Tensor:
            theirs = moved(required(batch.moving_like, "paired ground truth of the moving scan"))
            return ncc(_known(self._middle(pair_of(batch)[1])), theirs, mask())

        def moving_like() -> Tensor:
            ours = self._middle(required(batch.fixed_like, "paired ground truth of the fixed scan"))
            return ncc(_known(ours), moved(pair_of(batch)[0]), mask())

        return {
            "fixed_like": fixed_like,
            "moving_like": moving_like,
            "direct": lambda: l1(_known(self._middle(pair_of(batch)[1])), moved(pair_of(batch)[0]), mask()),
            "laplace": lambda: laplacian(self._field(batch)),
            "size": lambda: self._field(batch).square().sum(dim=1).mean(),
        }

    def _field(self, batch: Batch) -> Tensor:
        """phi of the batch's middle, in voxels."""
        x, y = pair_of(batch)
        return batch.kept("phi", lambda: self.M(y, x).float())

    def _positions(self, batch: Batch) -> Tensor:
        """Where in the moving image the middle of the fixed one is read."""
        phi = self._field(batch)
        return ff.identity(phi.shape[2:], phi) + self.margin + phi

    def _middle(self, image: Tensor | None) -> Tensor | None:
        if image is None or self.margin == 0:
            return image
        inner = tuple(slice(self.margin, size - self.margin) for size in image.shape[2:])
        return image[(slice(None), slice(None), *inner)]

    @torch.no_grad()
    def align(self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor) -> Alignment:
        """tau; see Alignment."""
        if self.margin == 0:
            return Alignment(self.M(fixed, moving).float())
        return Alignment(self._tiled(fixed, moving))

    def _tiled(self, *images: Tensor) -> Tensor:
        """M over whole images, tile by tile; beyond their borders there is nothing."""
        shape = images[0].shape[2:]
        more = [-s % PatchUNet.step for s in shape]
        pads = [p for m in reversed(more) for p in (self.margin, self.margin + m)]
        padded = [F.pad(image, pads, value=OUTSIDE) for image in images]
        starts = [range(0, s, self.tile) for s in shape]
        size = [s + m for s, m in zip(shape, more, strict=True)]
        out = torch.zeros(len(images[0]), len(shape), *size, device=images[0].device)
        for corner in product(*starts):
            ends = [min(c + self.tile, s) for c, s in zip(corner, out.shape[2:], strict=True)]
            seen = tuple(slice(c, e + 2 * self.margin) for c, e in zip(corner, ends, strict=True))
            answer = tuple(slice(c, e) for c, e in zip(corner, ends, strict=True))
            every = (slice(None), slice(None))
            out[(*every, *answer)] = self.M(*[image[(*every, *seen)] for image in padded])
        return out[first_voxels(shape)]


class _SeesCosts(CostRegister):
    """The register that sees costs, called as M is."""

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(torch.cat([moving, fixed], dim=1))


def _known(image: Tensor | None) -> Tensor:
    return required(image, "a pair")


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> Dual:
    """Make one from plain data: "M" are `PatchUNet`'s numbers, or `UNet`'s where its "form" is "unet", or
    `CostRegister`'s where it is "costs"; options are Dual's "tile"."""
    numbers = dict(networks["M"])
    form = numbers.pop("form", "patch")
    if form == "costs":
        return Dual(_SeesCosts(**numbers), **options)
    numbers.setdefault("small", 1e-5)
    if form == "patch":
        return Dual(PatchUNet(**numbers), PatchUNet.margin, **options)
    if form != "unet":
        raise ValueError(f"M is of the form patch, unet or costs, not {form!r}")
    return Dual(UNet(inputs=2, outputs=3, **numbers), **options)
