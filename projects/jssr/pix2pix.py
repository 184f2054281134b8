"""Pix2Pix: a conditional GAN of pairs that nobody aligned (Isola et al. 2017); baseline of JSSR's table 2.

    gan  log D(x, y) + log(1 - D(x, G(x)))     non-saturating for G
    l1   |G(x) - y|_1

Its pairs are those of the registration: where the patient moved between them, `l1` asks for what x does not show.

`jssr train projects/jssr/pix2pix.py --data COHORT -o RUN`. Rates, schedule, averaging, augmentation
and grid are those of `jssr-compact`, and the register is trained for as many steps, so that what differs between two
rows of a table is the system. Scores: README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from jssr.losses.similarity import joint_mask, l1
from jssr.losses.terms import critic_loss, generator_loss
from jssr.nets.patchgan import PatchGAN
from jssr.nets.unet import UNet
from jssr.recipes.config import Recipe, Stage
from jssr.recipes.jssr import jssr_compact
from jssr.systems.base import Alignment, Batch, System, Terms, pair_of


class Pix2Pix(System):
    """The system of the module's docstring.

    Args:
        G: generator, x (B, 1, *spatial) to one channel, squashed by tanh here.
        D: discriminator of x and y (B, 2, *spatial), logits.
    """

    networks = ("G", "D")
    critics = ("D",)
    outputs = {"synthesised": "G"}

    def __init__(self, G: nn.Module, D: nn.Module) -> None:
        super().__init__()
        self.G, self.D = G, D

    def losses(self, batch: Batch, group: str) -> Terms:
        """The terms above for group "main"; for "critic" the discriminator's."""

        def g() -> Tensor:
            if "g" not in batch.memo:
                batch.memo["g"] = self.synthesise(*pair_of(batch))
            found: Tensor = batch.memo["g"]
            return found

        def judge(image: Tensor) -> Tensor:
            logits: Tensor = self.D(torch.cat([pair_of(batch)[0], image], dim=1))
            return logits

        if group == "critic":
            return {"critic": lambda: critic_loss(judge(pair_of(batch)[1]), judge(g().detach()))}
        return {
            "gan": lambda: generator_loss(judge(g())),
            "l1": lambda: l1(g(), pair_of(batch)[1], joint_mask(batch.moving_mask, batch.fixed_mask)),
        }

    def synthesise(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """G(x), (B, 1, *spatial) in -1..1; y is not looked at."""
        return torch.tanh(self.G(moving))

    @torch.no_grad()
    def align(self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor) -> Alignment:
        """G(x); nothing is moved."""
        tau = torch.zeros(len(fixed), fixed.ndim - 2, *fixed.shape[2:], device=fixed.device)
        return Alignment(tau, self.synthesise(moving, fixed) * moving_mask + moving * (1 - moving_mask))


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> Pix2Pix:
    """Make one from plain data: "G" are `UNet`'s numbers, "D" `PatchGAN`'s; there are no options."""
    return Pix2Pix(UNet(inputs=1, outputs=1, **networks["G"]), PatchGAN(inputs=2, **networks["D"]), **options)


def recipe() -> Recipe:
    """With the paper's L1 weight of 100."""
    full = jssr_compact()
    steps = sum(stage.steps for stage in full.training.stages if "Phi" in stage.networks)
    stage = Stage(
        name="synthesise",
        steps=steps,
        train={"critic": ("D",), "main": ("G",)},
        weights={"critic": 1.0, "gan": 1.0, "l1": 100.0},
    )
    networks = {
        "G": {"encoder": [12, 24, 32, 32], "decoder": [32, 32, 24, 12], "head": [12], "normalise": True},
        "D": {"width": 8, "layers": 2},
    }
    return full.changed(
        name="pix2pix-compact",
        description="Pix2Pix for two CPU cores",
        network={"system": "pix2pix", "networks": networks, "options": {}, "structures": ()},
        training={"stages": (stage,), "learning_rates": {"G": 1e-3, "D": 2e-4}},
        inference={"one_piece": ()},
    )
