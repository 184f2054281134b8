"""VoxelMorph: one register that learns a similarity without synthesis or segmentation (Balakrishnan et al., TMI 2019).

tau = exp(Phi(x, y)), Phi a U-Net of both scans that gives a velocity on half the resolution (Dalca et al. 2019).

    ncc     1 - LCC(tau(x), y)                     local cross-correlation, the baseline of JSSR's table 1
    mind    |MIND-SSC(tau(x)) - MIND-SSC(y)|^2     the same register with a descriptor that ignores contrast
    macmind the same with macMIND, averaged over its channels
    smooth  sum_v |grad tau_v|^2

`jssr train projects/jssr/voxelmorph.py --data COHORT -o RUN`. Rates, schedule, averaging, augmentation
and grid are those of `jssr-compact`, and the register is trained for as many steps, so that what differs between two
rows of a table is the system. Scores: README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import field as ff
from jssr.core.precision import full_precision
from jssr.losses.measures import measure_of
from jssr.losses.mind import mind_distance
from jssr.losses.similarity import joint_mask, lncc
from jssr.losses.terms import diffusion
from jssr.nets.unet import UNet
from jssr.recipes.config import Recipe, Stage
from jssr.recipes.jssr import jssr_compact
from jssr.systems.base import Alignment, Batch, System, Terms, pair_of

_warp = full_precision(ff.warp)


class VoxelMorph(System):
    """The system of the module's docstring.

    Args:
        Phi: register, two images (B, 1, ...) to a field (B, n, ...) of their size.
        halved: Phi works on half the resolution.
        squarings: above 0 Phi's output is a velocity, integrated by that many squarings.
    """

    networks = ("Phi",)
    outputs = {"displacement": "Phi"}

    def __init__(self, Phi: nn.Module, halved: bool = True, squarings: int = 7) -> None:
        super().__init__()
        self.Phi, self.halved, self.squarings = Phi, halved, squarings

    def losses(self, batch: Batch, group: str) -> Terms:
        """The terms above."""

        def moved() -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
            if "moved" not in batch.memo:
                x, y = pair_of(batch)
                tau = self.register(x, y)
                mask = None if batch.moving_mask is None else _warp(batch.moving_mask, tau.detach())
                batch.memo["moved"] = tau, _warp(x, tau), y, joint_mask(mask, batch.fixed_mask)
            found: tuple[Tensor, Tensor, Tensor, Tensor | None] = batch.memo["moved"]
            return found

        return {
            "ncc": lambda: lncc(*moved()[1:]),
            "mind": lambda: mind_distance(*moved()[1:]),
            "macmind": lambda: measure_of("macmind")(*moved()[1:], 3),
            "smooth": lambda: diffusion(moved()[0]),
        }

    def register(self, x: Tensor, y: Tensor) -> Tensor:
        """tau (B, n, *spatial) float32 in voxels, from two images (B, 1, *spatial)."""
        shape = x.shape[2:]
        if self.halved:
            x, y = (ff.resize_image(i, [(s + 1) // 2 for s in shape]) for i in (_pooled(x), _pooled(y)))
        v = self.Phi(x, y).float()
        return ff.resize_field(full_precision(ff.exponentiate)(v, self.squarings) if self.squarings else v, shape)

    @torch.no_grad()
    def align(self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor) -> Alignment:
        """tau; see Alignment."""
        return Alignment(self.register(moving, fixed))


def _pooled(image: Tensor) -> Tensor:
    """Averaged over neighbours, so that half the resolution has no aliases."""
    pool = F.avg_pool3d if image.ndim == 5 else F.avg_pool2d
    return pool(image, 3, stride=1, padding=1, count_include_pad=False)


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> VoxelMorph:
    """Make one from plain data: "Phi" are `UNet`'s numbers, options are VoxelMorph's arguments."""
    return VoxelMorph(UNet(inputs=2, outputs=3, **{"small": 1e-5, **networks["Phi"]}), **options)


def recipe() -> Recipe:
    """With local cross-correlation."""
    return with_terms("voxelmorph-compact", "VoxelMorph, local cross-correlation", {"ncc": 1.0, "smooth": 1.0})


def with_terms(name: str, description: str, weights: dict[str, float]) -> Recipe:
    """With a similarity."""
    full = jssr_compact()
    steps = sum(stage.steps for stage in full.training.stages if "Phi" in stage.networks)
    unet = {"encoder": [16, 32, 32, 32], "decoder": [32, 32, 32, 32], "head": [32, 16, 16]}
    return full.changed(
        name=name,
        description=f"{description}, for two CPU cores",
        network={"system": "voxelmorph", "networks": {"Phi": unet}, "options": {}, "structures": ()},
        training={
            "stages": (Stage(name="align", steps=steps, train={"main": ("Phi",)}, weights=weights),),
            "learning_rates": {"Phi": 1e-3},
        },
        inference={"one_piece": ()},
    )
