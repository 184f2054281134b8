"""LapIRN: registration from coarse to fine with a Laplacian pyramid of networks (Mok and Chung, MICCAI 2020).

x moving, y fixed; x_l, y_l averaged to a quarter, a half and the whole of the size (l = 1, 2, 3).

    u_1 = Phi_1(x_1, y_1);  u_l = up(u_{l-1}) + Phi_l(up(u_{l-1})(x_l), y_l, up(u_{l-1}))
    ncc_l     sum_{k <= l} 2^-(l-k) (1 - LCC_{2k+1}[u_l(x_l), y_l] averaged to level k)     windows 3, 5, 7
    mind_l, macmind_l   the same sum of a descriptor's distance (`losses.measures`), for two modalities
    smooth_l  sum_v |grad u_l|^2

Each level is trained first with those below it frozen, then together with them: the recipe's stages say so. Fields are
displacements here, the authors' LapIRN_disp, and bounded by numbers of voxels, not by shares of the image.

`jssr train projects/jssr/lapirn.py --data COHORT -o RUN`. Rates, schedule, averaging, augmentation
and grid are those of `jssr-compact`, and the register is trained for as many steps, so that what differs between two
rows of a table is the system. Scores: README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from jssr.losses.measures import measure_of
from jssr.losses.terms import diffusion
from jssr.nets.lapirn import LEVELS, Pyramid, make_levels
from jssr.recipes.config import Recipe, Stage
from jssr.recipes.jssr import jssr_compact
from jssr.systems.base import Alignment, Batch, System, Terms, pair_of

MEASURES = ("ncc", "mind", "macmind")


class LapIRN(System):
    """The system of the module's docstring. Phi1, Phi2, Phi3: `LapIRNLevel`s from coarse to fine."""

    networks = LEVELS
    outputs = {"displacement": "Phi3"}

    def __init__(self, Phi1: nn.Module, Phi2: nn.Module, Phi3: nn.Module) -> None:
        super().__init__()
        self.Phi1, self.Phi2, self.Phi3 = Phi1, Phi2, Phi3

    @property
    def levels(self) -> tuple[nn.Module, ...]:
        return self.Phi1, self.Phi2, self.Phi3

    def losses(self, batch: Batch, group: str) -> Terms:
        """ncc, mind, macmind and smooth with the level's number behind: ncc1, ncc2, ..."""
        terms: dict[str, Callable[[], Tensor]] = {}
        for level in (1, 2, 3):
            for name in MEASURES:
                terms[f"{name}{level}"] = partial(self._distance, batch, level, name)
            terms[f"smooth{level}"] = partial(self._roughness, batch, level)
        return terms

    def _pyramid(self, batch: Batch) -> Pyramid:
        masks = batch.moving_mask, batch.fixed_mask
        return batch.kept("pyramid", lambda: Pyramid(self.levels, *pair_of(batch), *masks))

    def _distance(self, batch: Batch, level: int, name: str) -> Tensor:
        return self._pyramid(batch).distance(level, measure_of(name))

    def _roughness(self, batch: Batch, level: int) -> Tensor:
        return diffusion(self._pyramid(batch).field(level))

    @torch.no_grad()
    def align(self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor) -> Alignment:
        """tau, the field of the finest level; see Alignment."""
        return Alignment(Pyramid(self.levels, moving, fixed).finest)


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> LapIRN:
    """Make one from plain data: for each level `LapIRNLevel`'s numbers; there are no options."""
    return LapIRN(*make_levels(networks), **options)


def recipe() -> Recipe:
    """With local cross-correlation; 12 channels, 28 in print."""
    return with_terms("lapirn-compact", "LapIRN for two CPU cores", {"ncc": 1.0, "smooth": 1.0})


def with_terms(name: str, description: str, weights: dict[str, float]) -> Recipe:
    """A fifth of the steps trains the coarsest level, each other level a tenth alone, then with those below."""
    full = jssr_compact()
    tenth = sum(stage.steps for stage in full.training.stages if "Phi" in stage.networks) // 10
    plan = {
        "coarse": (1, LEVELS[:1], 2),
        "middle-alone": (2, LEVELS[1:2], 1),
        "middle": (2, LEVELS[:2], 2),
        "fine-alone": (3, LEVELS[2:], 1),
        "fine": (3, LEVELS, 4),
    }
    stages = [
        Stage(
            name=stage,
            steps=share * tenth,
            train={"main": networks},
            weights={f"{term}{level}": weight for term, weight in weights.items()},
        )
        for stage, (level, networks, share) in plan.items()
    ]
    networks = {level: {"width": 12} for level in LEVELS}
    return full.changed(
        name=name,
        description=description,
        network={"system": "lapirn", "networks": networks, "options": {}, "structures": ()},
        training={"stages": tuple(stages), "learning_rates": dict.fromkeys(LEVELS, 1e-3)},
        inference={"one_piece": ()},
    )
