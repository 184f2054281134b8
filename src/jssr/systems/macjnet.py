"""macJNet: register and two segmentors that teach each other, across modalities (Zhou et al., 2023).

x moving, y fixed, of two modalities; u_l = Phi's field on level l of a LapIRN pyramid with attention gates, tau the
finest; M and F the segmentors of the moving and of the fixed modality; p_x, p_y label maps, which some pairs have;
s = p where there is one, else what its segmentor says.

    (14) sim_l   |macMIND(u_l(x_l)) - macMIND(y_l)|^2          summed over the levels below as in LapIRN
         label   1 - Dice[tau(s_x), s_y]
    (15) smooth_l  sum_v |grad u_l|^2
    (16) sup     (1 - Dice[F(y), p_y]) + (1 - Dice[M(x), p_x])     pairs with label maps
         cons    1 - Dice[F(y), tau(M(x))]                         pairs without

Optimiser group "register" updates Phi1, Phi2, Phi3 (E = 20 sim + 2 label + 0.5 smooth), group "segmentors" M and F (E =
sup + cons); for each the other's result is given. Printed are the squares of (14) summed over the channels and those of
(15) over the voxels; here both are means, so that the weights serve every size. As printed Phi sees x and y; with
`costs` also where their descriptors fit, and with `carried` sim moves x's descriptor in place of x. Where M and F have
heads (deep supervision), sup is their mean with weights 1, 1/2, 1/4, ...

Without M and F this is the register alone, without Phi1 to Phi3 the segmentors alone. In place of the pyramid there can
be one register that sees cost volumes, Phi (`jssr.nets.cost_register`); u_1 and u_2 are then averages of tau.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from jssr.core import field as ff
from jssr.core.precision import full_precision
from jssr.errors import requires
from jssr.losses.descriptors import DESCRIPTORS
from jssr.losses.measures import Measure, measure_of
from jssr.losses.mind import described
from jssr.losses.terms import diffusion, one_hot, soft_dice
from jssr.nets.cost_register import CostRegister
from jssr.nets.lapirn import LEVELS, Pyramid, WholePyramid, make_levels
from jssr.systems.base import Alignment, Batch, System, Terms, pair_of, required

_warp = full_precision(ff.warp)


class MacJNet(System):
    """The system of the module's docstring.

    Args:
        levels: Phi1, Phi2, Phi3, `LapIRNLevel`s from coarse to fine; empty for the segmentors alone.
        M, F: segmentors of the moving and of the fixed modality, (B, 1, ...) to logits by `forward`, and to those of
            their heads, (B, heads, K, ...), by `scales`; None for the register alone.
        measure: how unlike two images are, as `measure_of` gives it.
        classes: of the segmentors, background included.
        carried: compare y's descriptor with that of x, moved, in place of that of x moved (eq. 14 as printed).
        compared: the descriptor whose costs the register is shown beside the images; None shows the images alone, as
            in print.
        Phi: a register of both images at once, in place of the levels.
    """

    def __init__(
        self,
        levels: tuple[nn.Module, ...],
        M: nn.Module | None,
        F: nn.Module | None,
        measure: Measure,
        classes: int,
        carried: bool = False,
        compared: Callable[[Tensor], Tensor] | None = None,
        Phi: nn.Module | None = None,
    ) -> None:
        super().__init__()
        for name, level in zip(LEVELS, levels, strict=bool(levels)):
            self.add_module(name, level)
        self.Phi = Phi
        register = ("Phi",) if Phi is not None else LEVELS if levels else ()
        self.M, self.F, self.classes = M, F, classes
        self.measure, self.carried, self.compared = measure, carried, compared
        self.networks = (*register, *(p for p in ("M", "F") if getattr(self, p) is not None))
        self.outputs = ({"displacement": register[-1]} if register else {}) | (
            {"segmentation": "F"} if F is not None else {}
        )

    def guide_of(self, network: str) -> object:
        """The descriptor whose costs the levels are shown."""
        # A macMIND, or a function.
        return getattr(self.compared, "__self__", self.compared) if network in LEVELS else None

    def check_patch(self, shape: Sequence[int]) -> None:
        """The segmentors' coarsest features are normalised over their voxels, which must be several."""
        least: Any = 0 if self.M is None else self.M.multiple
        if all(size <= least for size in shape):
            raise ValueError(f"patch {list(shape)}: the segmentors need more than {least} voxels along an axis")

    @property
    def levels(self) -> tuple[nn.Module, ...]:
        """Phi1, Phi2, Phi3, or nothing."""
        return tuple(self.get_submodule(name) for name in LEVELS) if "Phi1" in self.networks else ()

    def losses(self, batch: Batch, group: str) -> Terms:
        """For "register" sim1 to sim3, smooth1 to smooth3 and label; for "segmentors" sup and cons."""
        if group == "segmentors":
            return {"sup": partial(self._sup, batch), "cons": partial(self._cons, batch)}
        terms: dict[str, Callable[[], Tensor]] = {"label": partial(self._label, batch)}
        for level in (1, 2, 3):
            terms[f"sim{level}"] = partial(self._sim, batch, level)
            terms[f"smooth{level}"] = partial(self._smooth, batch, level)
        return terms

    def _pyramid(self, batch: Batch) -> Pyramid:
        masks = batch.moving_mask, batch.fixed_mask
        return batch.kept("pyramid", partial(self._of, *pair_of(batch), *masks))

    def _of(self, x: Tensor, y: Tensor, *masks: Tensor | None) -> Pyramid:
        if self.Phi is not None:
            return WholePyramid(self.Phi, x, y, *masks)
        return Pyramid(self.levels, x, y, *masks, compared=self.compared)

    def _sim(self, batch: Batch, level: int) -> Tensor:
        pyramid = self._pyramid(batch)
        if self.carried:
            tissue = described(pair_of(batch)[1])  # air's descriptor is that of its noise
            return pyramid.distance(level, self.measure.apart, self.measure.describe, tissue)
        return pyramid.distance(level, self.measure)

    def _smooth(self, batch: Batch, level: int) -> Tensor:
        return diffusion(self._pyramid(batch).field(level))

    def _tau(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """tau on the batch's own grid, and where both scans have data."""
        pyramid = self._pyramid(batch)
        mask = pyramid.mask(3)
        return pyramid.finest, None if mask is None else mask[pyramid.cut]

    def _label(self, batch: Batch) -> Tensor:
        tau, mask = self._tau(batch)
        with torch.no_grad():
            s_x, s_y = self._segmentations(batch)
        return _dice_loss(_warp(s_x, tau), s_y, mask).mean()

    def _segmentations(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """s: one-hot label maps of the pairs that have them, the segmentors' probabilities of the others."""
        known, (x, y) = _labelled(batch), pair_of(batch)

        def one(image: Tensor, labels: Tensor | None, segmentor: nn.Module | None) -> Tensor:
            if bool(known.all()):
                return one_hot(required(labels, "label maps"), self.classes)
            if segmentor is None:
                raise ValueError("pairs without labels need segmentors: weigh no label term, or label every pair")
            probable: Tensor = segmentor(image).softmax(dim=1)
            if labels is None:
                return probable
            return torch.where(known.view(-1, *[1] * (image.ndim - 1)), one_hot(labels, self.classes), probable)

        return one(x, batch.moving_labels, self.M), one(y, batch.fixed_labels, self.F)

    def _sup(self, batch: Batch) -> Tensor:
        known, (x, y) = _labelled(batch), pair_of(batch)
        total = x.new_zeros(())
        if not bool(known.any()):
            return total
        for image, labels, name in ((x, batch.moving_labels, "M"), (y, batch.fixed_labels, "F")):
            goal = one_hot(required(labels, "label maps")[known], self.classes)
            segmentor: Any = self.network(name)
            scales = segmentor.scales(image[known])
            weights = [2.0**-k for k in range(scales.shape[1])]
            losses = [_dice_loss(scales[:, k].softmax(dim=1), goal).mean() for k in range(scales.shape[1])]
            total = total + torch.stack([w * v for w, v in zip(weights, losses, strict=True)]).sum() / sum(weights)
        return total * known.float().mean()

    def _cons(self, batch: Batch) -> Tensor:
        unknown = ~_labelled(batch)
        x, y = (image[unknown] for image in pair_of(batch))
        if not len(x):
            return x.new_zeros(())
        with torch.no_grad():
            tau, mask = self._tau(batch)
        moved = _warp(self.network("M")(x).softmax(dim=1), tau[unknown])
        fixed = self.network("F")(y).softmax(dim=1)
        return _dice_loss(moved, fixed, None if mask is None else mask[unknown]).mean() * unknown.float().mean()

    @torch.no_grad()
    def align(self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor) -> Alignment:
        """tau, zero without a register, and both scans' segmentations; see Alignment."""
        if "displacement" in self.outputs:
            tau = self._of(moving, fixed).finest
        else:
            tau = torch.zeros(len(fixed), 3, *fixed.shape[2:], device=fixed.device)
        if self.M is None:
            return Alignment(tau)
        return Alignment(tau, None, self.segment_moving(moving), self.segment(fixed))

    def segment(self, image: Tensor) -> Tensor:
        """Class probabilities of a scan of the fixed modality."""
        if self.F is None:
            return super().segment(image)
        found: Tensor = self.F(image).softmax(dim=1)
        return found

    def segment_moving(self, image: Tensor) -> Tensor:
        """Class probabilities of a scan of the moving modality."""
        if self.M is None:
            return super().segment_moving(image)
        found: Tensor = self.M(image).softmax(dim=1)
        return found


def _labelled(batch: Batch) -> Tensor:
    """(B,) bool: which pairs of a batch have label maps."""
    if batch.labelled is not None:
        return batch.labelled
    x, _ = pair_of(batch)
    have = batch.moving_labels is not None and batch.fixed_labels is not None
    return torch.full((x.shape[0],), have, device=x.device)


def _dice_loss(p: Tensor, q: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - mean soft Dice over the foreground, for each sample: (B,)."""
    found: Tensor = 1 - soft_dice(p[:, 1:], q[:, 1:], mask).mean(dim=1)
    return found


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> MacJNet:
    """Make one from plain data.

    Args:
        networks: "Phi1", "Phi2", "Phi3" with `LapIRNLevel`'s numbers (gates are on unless "attention" is false), "M"
            and "F" with `SegNet`'s; either group may be left out. "Phi" with `CostRegister`'s is the other register.
        options: "similarity" and "settings" of `measure_of`, "macmind" by default; "carried" of `MacJNet`; "costs"
            names the descriptor whose costs the register is shown (`jssr.nets.lapirn.costs`), by default none; macMIND
            beside macMIND has the same settings.
        classes: of the segmentors, background included.
    """
    named = [part for part in LEVELS if part in networks]
    whole = len(named) in ((0,) if "Phi" in networks else (0, len(LEVELS)))
    if not whole or ("M" in networks) != ("F" in networks) or not networks:
        raise ValueError("macJNet has all of Phi1, Phi2, Phi3, or Phi, or no register, and M with F or neither")
    if "M" in networks:
        requires("train", "monai")
        from jssr.nets.dynunet import SegNet  # MONAI's network: what does not segment need not load it
    M, F = (SegNet(classes=classes, **networks[part]) if part in networks else None for part in ("M", "F"))
    numbers = {"similarity": "macmind", **options}
    carried, name = numbers.pop("carried", False), numbers.pop("costs", None)
    if name is not None and name not in DESCRIPTORS:
        raise ValueError(f"costs are of a descriptor, one of {', '.join(DESCRIPTORS)}, not {name!r}")
    if not isinstance(carried, bool):
        raise ValueError(f"carried is true or false, not {carried!r}")
    measure = measure_of(**numbers)
    compared: Callable[[Tensor], Tensor] | None = None if name is None else DESCRIPTORS[name]
    if name == numbers["similarity"] == "macmind":
        compared = measure.describe  # with its settings
    levels = make_levels(networks, shown=27 if name else 0, attention=True) if named else ()
    Phi = CostRegister(**networks["Phi"]) if "Phi" in networks else None
    return MacJNet(levels, M, F, measure, classes, carried, compared, Phi)
