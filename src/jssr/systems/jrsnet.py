"""JRS-Net: joint registration and segmentation of chest radiographs (Mahapatra et al. 2018), in 2D.

x floating (moving), y reference (fixed), p_y the reference's mask. G takes (y, x, p_y) and gives the registered image
G(x), the field tau and, from what its layers respond to, the mask s of G(x); F does the same from y to x.

    (2) nmi      -NMI(y, G(x))                     printed with +, which is minimised: the wrong way round
        ssim     1 - SSIM(y, G(x))
        features the distance of y and G(x) in VGG16's feature maps
    (3) gan      log D_Y(y) + log(1 - D_Y(G(x)))   and for F with D_X; the standard non-saturating form
    (4) seg      -log Dice(p_y, s)                 printed with +
        field    -log(1 - MSE(u, tau))             printed with +; u the field that undoes the one applied to y
    (5) cycle    |F(G(x)) - x|_1 + |G(F(y)) - y|_1
    (6)          (4) + (2) + 10 cycle

`mse`, |G(x) - y|^2, is what G is begun with.

G's image is not pulled through G's field in print, and nothing but the other terms makes the two agree. What this
project calls the moved image is always the moving one pulled through tau; G's image stands as `synthesised`. `tied`
is ours: |x(tau) - G(x)|_1, not in the paper's sum.

A share of the pairs is seen without the reference's mask, so that G can be asked without one: `segment` is what G's
layers respond to in a pair of one image with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import field as ff
from jssr.core.precision import full_precision
from jssr.losses.perceptual import perceptual_distance
from jssr.losses.similarity import l1, normalised_mutual_information, ssim
from jssr.losses.terms import critic_loss, generator_loss, soft_dice
from jssr.nets.residual import Generated, ResidualGenerator, VGGCritic, activation, soft_mask
from jssr.systems.base import Alignment, Batch, System, Terms, pair_of, required

_warp, _compose = full_precision(ff.warp), full_precision(ff.compose)
HALF_PIXEL = 0.5
BLACK = -1.0


class JRSNet(System):
    """The system of the module's docstring.

    Args:
        G, F: generators, (reference, floating, mask) to `Generated`; F None leaves out the cycle.
        DY, DX: discriminators of the reference's and of the floating image; None with F.
        vgg16: file of VGG16's weights for `features`; None compares this project's own descriptors.
        masked: False never shows a mask to the generators (the paper's JRS-NoSeg, with the term `seg` left out).
        unmasked: share of the pairs whose mask is not shown.
        passes: times that G is applied in use; from the second on it sees the floating image as moved so far, and the
            fields are composed. In training it is applied once.
    """

    outputs = {"displacement": "G", "segmentation": "G"}

    def __init__(
        self,
        G: nn.Module,
        F: nn.Module | None = None,
        DY: nn.Module | None = None,
        DX: nn.Module | None = None,
        vgg16: str | None = None,
        masked: bool = True,
        unmasked: float = 0.25,
        passes: int = 1,
    ) -> None:
        super().__init__()
        self.G, self.F, self.DY, self.DX = G, F, DY, DX
        self.vgg16, self.masked, self.unmasked, self.passes = vgg16, masked, unmasked, passes
        self.networks = tuple(name for name in ("G", "F", "DY", "DX") if getattr(self, name) is not None)
        self.critics = tuple(name for name in ("DY", "DX") if name in self.networks)
        if not masked:
            self.outputs = {"displacement": "G"}
        self.reads_structure = masked
        self._distance: Callable[[Tensor, Tensor], Tensor] | None = None

    def begin(self, terms: Collection[str]) -> None:
        """Read VGG16's weights, or warn that there are none."""
        if "features" in terms:
            self._distance = perceptual_distance(self.vgg16)

    def losses(self, batch: Batch, group: str) -> Terms:
        """The terms above for group "main"; for "critic" those of both discriminators."""
        f = _Forward(self, batch)

        def judge(critic: str, image: Tensor) -> Tensor:
            logits: Tensor = self.network(critic)(image)
            return logits

        if group == "critic":
            return {
                "critic_y": lambda: critic_loss(judge("DY", f.y), judge("DY", f.generated("g").image.detach())),
                "critic_x": lambda: critic_loss(judge("DX", f.x), judge("DX", f.generated("f").image.detach())),
            }
        return {
            "mse": lambda: (f.generated("g").image.float() - f.y).square().mean(),
            "nmi": lambda: -normalised_mutual_information(f.y, f.generated("g").image),
            "ssim": lambda: 1 - ssim(f.y, f.generated("g").image),
            "features": lambda: self._features(f.y, f.generated("g").image),
            "gan": lambda: generator_loss(judge("DY", f.generated("g").image)),
            "gan_back": lambda: generator_loss(judge("DX", f.generated("f").image)),
            "seg": lambda: -soft_dice(mask_of(f.generated("g"), f.y), f.mask_y).clamp(min=1e-3).log().mean(),
            "field": lambda: -(1 - field_error(f.generated("g").field, f.truth)).clamp(min=1e-3).log().mean(),
            "cycle": lambda: l1(f.generated("fg").image, f.x) + l1(f.generated("gf").image, f.y),
            "tied": lambda: l1(_warp(f.x, f.generated("g").field), f.generated("g").image),
        }

    def register(self, y: Tensor, x: Tensor, mask: Tensor) -> Generated:
        """G of (y, x, p_y), (B, 1, H, W) each, its field that of all passes together."""
        found: Generated = self.G(y, x, mask)
        for _ in range(self.passes - 1):
            again = self.G(y, _pulled(x, found.field), mask)
            found = Generated(again.image, _compose(found.field, again.field), again.features)
        return found

    def _features(self, a: Tensor, b: Tensor) -> Tensor:
        if self._distance is None:  # in use nothing is compared, and the file need not be there
            self._distance = perceptual_distance(self.vgg16)
        return self._distance(a, b)

    def shown(self, mask: Tensor, chance: Tensor | None = None) -> Tensor:
        """A batch's masks as the generators see them in training: some, or all, are not shown.

        Args:
            chance: (B,) in 0..1, which masks; drawn where there is none.
        """
        if not self.masked:
            return torch.zeros_like(mask)
        kept = (torch.rand(len(mask), device=mask.device) if chance is None else chance) >= self.unmasked
        return mask * kept.view(-1, *[1] * (mask.ndim - 1))

    @torch.no_grad()
    def align(
        self,
        moving: Tensor,
        fixed: Tensor,
        moving_mask: Tensor,
        fixed_mask: Tensor,
        fixed_structure: Tensor | None = None,
    ) -> Alignment:
        """tau, G(x), and what either image is segmented as by itself; see Alignment. G's mask of G(x) repeats p_y where
        that is given, and says nothing of the field.

        Args:
            fixed_structure: p_y, (B, 1, H, W) in 0..1, where it is known.
        """
        mask = torch.zeros_like(fixed) if fixed_structure is None or not self.masked else fixed_structure
        found = self.register(fixed, moving, mask)
        if not self.masked:
            return Alignment(found.field, found.image, registered=True)
        made = self.segment(moving), self.segment(fixed)
        return Alignment(found.field, found.image, *made, registered=True)

    def segment(self, image: Tensor) -> Tensor:
        """Background and structure, (B, 2, H, W), by G of the image with itself and no mask."""
        if not self.masked:
            return super().segment(image)
        mask = mask_of(self.G(image, image, torch.zeros_like(image)), image)
        return torch.cat([1 - mask, mask], dim=1)


class _Forward:
    """G(x), F(y), F(G(x)) and G(F(y)) of one batch, each made once for all groups of a step."""

    def __init__(self, system: JRSNet, batch: Batch) -> None:
        self.system, self.batch = system, batch

    @property
    def x(self) -> Tensor:
        return pair_of(self.batch)[0]

    @property
    def y(self) -> Tensor:
        return pair_of(self.batch)[1]

    @property
    def truth(self) -> Tensor:
        return required(self.batch.truth, "a known displacement")

    @property
    def mask_y(self) -> Tensor:
        return (required(self.batch.fixed_labels, "masks") > 0).float()

    def generated(self, name: str) -> Generated:
        return self.batch.kept(name, lambda: self._generate(name))

    def _generate(self, name: str) -> Generated:
        """`g` is G(x), `f` is F(y), `fg` is F(G(x)), `gf` is G(F(y))."""
        p_x, p_y = self.batch.kept("masks", self._masks)
        forward = name in ("g", "gf")
        network = self.system.G if forward else self.system.network("F")
        ours, theirs, mask = (self.y, self.x, p_y) if forward else (self.x, self.y, p_x)
        found: Generated = network(ours, self.generated(name[1]).image if name[1:] else theirs, mask)
        return found

    def _masks(self) -> tuple[Tensor, Tensor]:
        """p_x and p_y as they are shown in this step."""
        labels = self.batch.moving_labels, self.batch.fixed_labels
        p_x, p_y = (torch.zeros_like(self.x) if p is None else (p > 0).float() for p in labels)
        drawn = (None, None) if self.batch.chance is None else self.batch.chance.unbind(dim=1)
        return self.system.shown(p_x, drawn[0]), self.system.shown(p_y, drawn[1])


def _pulled(x: Tensor, u: Tensor) -> Tensor:
    """x pulled through u, black beyond its border as made pairs are."""
    return _warp(x - BLACK, u, padding="zeros") + BLACK


def mask_of(found: Generated, like: Tensor) -> Tensor:
    """The soft mask (B, 1, H, W) that the feature maps agree on, at an image's size."""
    image = activation(found.features)
    if image.shape[2:] != like.shape[2:]:
        image = F.interpolate(image, size=like.shape[2:], mode="bilinear")
    return soft_mask(image)


@full_precision
def field_error(found: Tensor, known: Tensor) -> Tensor:
    """Equation (4)'s normalised MSE of two fields (B, n, *spatial), for each pair (B,): 0 where they agree, 1/2 where
    one is zero, 1 where they are opposite.

    The paper does not say how it normalises. Here it is |a - b|^2 / (2 |a|^2 + 2 |b|^2), which cannot leave 0..1. Half
    a pixel counts as in either field in any case, so that a field that should be zero is taught to be.
    """
    apart, size = (v.float().square().flatten(1).sum(dim=1) for v in (found - known, torch.cat([found, known], dim=1)))
    return apart / (2 * size + 4 * HALF_PIXEL**2 * known[0].numel())


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> JRSNet:
    """Make one from plain data: "G" and "F" are `ResidualGenerator`'s numbers, "DY" and "DX" `VGGCritic`'s; the options
    are JRSNet's own. It knows one structure."""
    if classes > 2:
        raise ValueError(f"JRS-Net's mask is of one structure, got {classes - 1}")
    kinds = {"G": ResidualGenerator, "F": ResidualGenerator, "DY": VGGCritic, "DX": VGGCritic}
    made: dict[str, Any] = {name: kinds[name](**numbers) for name, numbers in networks.items()}
    return JRSNet(**made, **options)
