"""JSSR: joint synthesis, segmentation and registration (Liu et al., ECCV 2020).

x moving in X, y fixed in Y, G generator, D discriminator, Phi register, S segmentor, tau = Phi(G(x, y), y).

    (1) gan     log D(y) + log(1 - D(G(x, y)))         printed without `1 -`; the standard non-saturating form here
    (4) reg     |tau(G(x, y)) - y|_1                   stands for (2) as well (appendix B), hence its weight 2 in (7)
    (5) smooth  sum_v |grad tau_v|^2
    (8) cons    1 - Dice[tau(S(G(x, y))), S(y)]
    (9) sup     1 - Dice[S(y_sup), p_sup]
    (7) Phi, G: 2 reg + lambda_reg smooth + lambda_syn gan
    (11)        (7) + lambda_seg (cons + sup)

Without a generator G(x, y) = x, (8) is (12), and the system is JSegR. JSynR is (7) alone. Two terms that the paper
reports to collapse are kept for ablation: (13) `commute` and (12) beside (8), `cons_raw`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from jssr.core import field as ff
from jssr.core.precision import full_precision
from jssr.losses.similarity import joint_mask, l1, lncc
from jssr.losses.terms import Taught, critic_loss, diffusion, generator_loss, pooled_shares, soft_dice_loss
from jssr.nets.cost_register import CostRegister
from jssr.nets.patchgan import PatchGAN
from jssr.nets.phnn import PHNN, CoHeMIS
from jssr.nets.tiles import in_tiles
from jssr.nets.unet import UNet
from jssr.nets.vnet import VNet
from jssr.systems.base import Alignment, Batch, System, Terms, required

_warp = full_precision(ff.warp)
_compose = full_precision(ff.compose)
_exponentiate = full_precision(ff.exponentiate)
_resize = full_precision(ff.resize_field)


class JSSR(System):
    """The system of the module's docstring.

    Args:
        Phi: register, (B, 2, ...) to a displacement or velocity (B, n, ...) on its own, possibly coarser grid.
        S: segmentor, (B, 1, ...) to logits (B, K, ...).
        G: generator, (x, y) to the synthesised x; None makes this JSegR.
        D: discriminator; None leaves out (1).
        passes: times that Phi is applied; from the second on it sees the image as warped so far, and the fields
            compose. The paper's is 1.
        squarings: above 0 Phi's output is a velocity, integrated by that many squarings (diffeomorphic). Paper: 0.
        coarse: (8) is computed on a grid that many times coarser, to spare memory and time. Paper: 1.
        least: only classes of which the label map, and in (8) S(y), has at least so many voxels count in (8) and (9).
            Paper: 0.
        tile: voxels of the tiles in which S sees larger scans in use (`jssr.nets.tiles`). Paper: None.
    """

    networks: tuple[str, ...] = ("G", "Phi", "S", "D")
    critics = ("D",)
    outputs = {"displacement": "Phi", "synthesised": "G", "segmentation": "S"}

    def __init__(
        self,
        Phi: nn.Module,
        S: nn.Module | None,
        G: nn.Module | None = None,
        D: nn.Module | None = None,
        passes: int = 1,
        squarings: int = 0,
        coarse: int = 1,
        least: float = 0.0,
        tile: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.Phi, self.S, self.G, self.D = Phi, S, G, D
        self.passes, self.squarings, self.coarse = passes, squarings, coarse
        self.least, self.tile = least, tile
        self.networks = tuple(p for p in JSSR.networks if getattr(self, p) is not None)

    def losses(self, batch: Batch, group: str) -> Terms:
        """The terms above for group "main"; for "critic" the discriminator's."""
        f = batch.kept("forward", lambda: Forward(self, batch))
        if group == "critic":
            return {"critic": lambda: critic_loss(self._judge(f.y), self._judge(f.g.detach()))}
        return {
            "gan": lambda: generator_loss(self._judge(f.g)),
            "reg": lambda: l1(f.g_tau, f.y, f.mask),
            "ncc": lambda: lncc(f.g_tau, f.y, f.mask),
            "smooth": lambda: diffusion(f.tau),
            "cons": lambda: self._overlap(f.s_g, f),
            "cons_raw": lambda: self._overlap(self._scale(self._classify(f.x)), f),
            "commute": lambda: l1(self._synthesise(_warp(f.x, f.tau), f.y), f.g_tau, f.mask),
            "sup": lambda: f.taught.dice_loss(self.least),
            "sup_ce": lambda: f.taught.cross_entropy(),
        }

    def register(self, g: Tensor, y: Tensor) -> Tensor:
        """tau = Phi(g, y): (B, n, *spatial) float32 in voxels, from two images (B, 1, *spatial)."""
        # Fields are integrated and composed on Phi's own grid, an eighth of the voxels with a stem of 2: at full size
        # that cost several times what Phi does.
        own = self._field(g, y)
        for _ in range(self.passes - 1):
            own = _compose(own, self._field(_warp(g, _resize(own, g.shape[2:])), y))
        return _resize(own, g.shape[2:])

    def segment(self, image: Tensor) -> Tensor:
        """S as class probabilities (B, K, *spatial) float32."""
        if self.S is None:
            return super().segment(image)
        return in_tiles(self._classify, image, self.tile)

    def synthesise(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """G(x, y), (B, 1, *spatial) in -1..1."""
        if self.G is None:
            return super().synthesise(moving, fixed)
        return self._synthesise(moving, fixed)

    @torch.no_grad()
    def align(self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor) -> Alignment:
        """tau, G(x, y), S(G(x, y)) and S(y); see Alignment."""
        g = self._synthesise(moving, fixed) * moving_mask + moving * (1 - moving_mask)
        tau = self.register(g, fixed)
        segment = self.segment if self.S is not None else (lambda _: None)
        return Alignment(tau, None if self.G is None else g, segment(g), segment(fixed))

    def _classify(self, image: Tensor) -> Tensor:
        probabilities: Tensor = self.network("S")(image).float().softmax(dim=1)
        return probabilities

    def _overlap(self, s: Tensor, f: Forward) -> Tensor:
        """(8) of probabilities of x, on the grid that `coarse` says."""
        return soft_dice_loss(self._moved(s, f), f.s_y, f.coarse_mask, self.least / self.coarse ** f.tau.shape[1])

    def _judge(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network("D")(image)
        return logits

    def _synthesise(self, x: Tensor, y: Tensor) -> Tensor:
        return x if self.G is None else self.G(x, y)

    def _field(self, g: Tensor, y: Tensor) -> Tensor:
        """Phi's displacement, in voxels of its own grid."""
        v = self.Phi(torch.cat([g, y], dim=1)).float()
        return _exponentiate(v, self.squarings) if self.squarings else v

    def _scale(self, image: Tensor) -> Tensor:
        return image if self.coarse == 1 else ff.pooled(image, self.coarse, ceil_mode=True)

    def _moved(self, s: Tensor, f: Forward) -> Tensor:
        return _warp(s, f.tau if self.coarse == 1 else _resize(f.tau, s.shape[2:]))


class Forward:
    """g, tau, g_tau, s_g, s_y of one batch: each computed once, when first named, and shared by the step's groups."""

    def __init__(self, system: JSSR, batch: Batch) -> None:
        self.system, self.batch = system, batch

    @property
    def x(self) -> Tensor:
        return required(self.batch.moving, "a moving image")

    @property
    def y(self) -> Tensor:
        return required(self.batch.fixed, "a fixed image")

    @cached_property
    def g(self) -> Tensor:
        return self.system._synthesise(self.x, self.y)

    @cached_property
    def tau(self) -> Tensor:
        # Outside the moving scan's field of view there is nothing to synthesise: the register sees x's padding there.
        mask = self.batch.moving_mask
        return self.system.register(self.g if mask is None else self.g * mask - (1 - mask), self.y)

    @cached_property
    def g_tau(self) -> Tensor:
        return _warp(self.g, self.tau)

    @cached_property
    def mask(self) -> Tensor | None:
        moving = self.batch.moving_mask
        return joint_mask(None if moving is None else _warp(moving, self.tau.detach()), self.batch.fixed_mask)

    @cached_property
    def coarse_mask(self) -> Tensor | None:
        return None if self.mask is None else self.system._scale(self.mask)

    @cached_property
    def _s(self) -> tuple[Tensor, Tensor]:
        # One pass over both: normalisation is per sample, and larger batches are faster on CPUs.
        logits = self.system.network("S")(torch.cat([self.g, self.y])).float()
        s_g, s_y = pooled_shares(logits, self.system.coarse).chunk(2)
        return s_g, s_y

    @property
    def s_g(self) -> Tensor:
        return self._s[0]

    @property
    def s_y(self) -> Tensor:
        return self._s[1]

    @cached_property
    def taught(self) -> Taught:
        logits = self.system.network("S")(required(self.batch.supervised, "a supervised scan"))
        return Taught(logits.float(), required(self.batch.supervised_labels, "supervised labels"))


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> JSSR:
    """Make a JSSR from plain data: every number stands in a recipe.

    Args:
        networks: arguments by network. "G" may name its "form": "cohemis" (default) or "unet"; "Phi" too: "phnn"
            (default, the paper's) or "costs" (`jssr.nets.cost_register`; one pass, no squarings). Absent networks are
            left out (no G: JSegR; no S: JSynR; no D: no adversarial term).
        options: JSSR's own arguments (passes, squarings, coarse, least, tile).
        classes: of the segmentor, background included.
    """
    numbers = {part: dict(args) for part, args in networks.items()}
    G = None
    if "G" in numbers:
        form = numbers["G"].pop("form", "cohemis")
        G = CoHeMIS(**numbers["G"]) if form == "cohemis" else _UNetGenerator(**numbers["G"])
    form, options = numbers["Phi"].pop("form", "phnn"), dict(options)
    if form not in ("phnn", "costs"):
        raise ValueError(f"Phi is of the form phnn or costs, not {form!r}")
    if form == "costs":  # it has rounds of its own, and gives displacements
        options |= {"passes": 1, "squarings": 0}
    Phi = CostRegister(**numbers["Phi"]) if form == "costs" else PHNN(2, 3, **{"small": 1e-5, **numbers["Phi"]})
    S = VNet(classes=classes, **numbers["S"]) if "S" in numbers else None
    D = PatchGAN(**numbers["D"]) if "D" in numbers else None
    return JSSR(Phi, S, G, D, **options)


class _UNetGenerator(UNet):
    """A U-Net of both scans with tanh: the generator as a plain choice, without a guard against copying y."""

    def __init__(self, **numbers: Any) -> None:
        super().__init__(inputs=2, outputs=1, **numbers)

    def forward(self, *images: Tensor) -> Tensor:
        return torch.tanh(super().forward(*images))
