"""The learned registers that JRS-Net is compared with, in 2D.

DIRNet (de Vos et al. 2017) learns from images alone, FlowNet-S (Dosovitskiy et al. 2015) from known displacements.

    ncc   1 - NCC(tau(x), y)                            of whole images, DIRNet's
    epe   sum_l w_l |tau_l - u_l|_2                     summed over the pixels of each scale l, w_l of `SCALES` from
                                                        the finest on, over the finest scale's pixels times its weight
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import field as ff
from jssr.core.precision import full_precision
from jssr.losses.similarity import joint_mask, ncc
from jssr.recipes.config import Network, Recipe, Stage
from jssr.recipes.jrsnet import BEGIN, JOINT, NEEDS, compact
from jssr.systems.base import Alignment, Batch, System, Terms, pair_of, required

_warp = full_precision(ff.warp)
SCALES = (0.005, 0.01, 0.02, 0.08, 0.32)
"""FlowNet's published weights, finest flow first. A coarser scale has a quarter of the pixels, so that it counts half
as much as the next finer one, then a quarter of the finest, and as much as that from there on."""


class FlowRegister(System):
    """One network from a pair to its field.

    Args:
        Phi: (moving, fixed), (B, 1, H, W) each, to a field (B, 2, H, W) in pixels or a list of them, the last of full
            size.
    """

    networks = ("Phi",)
    outputs = {"displacement": "Phi"}

    def __init__(self, Phi: nn.Module) -> None:
        super().__init__()
        self.Phi = Phi

    def losses(self, batch: Batch, group: str) -> Terms:
        """The terms above."""

        def fields() -> list[Tensor]:
            if "fields" not in batch.memo:
                batch.memo["fields"] = self.fields(*pair_of(batch))
            found: list[Tensor] = batch.memo["fields"]
            return found

        def similarity() -> Tensor:
            x, y = pair_of(batch)
            tau = fields()[-1]
            mask = None if batch.moving_mask is None else _warp(batch.moving_mask, tau.detach())
            return ncc(_warp(x, tau), y, joint_mask(mask, batch.fixed_mask))

        return {
            "ncc": similarity,
            "epe": lambda: endpoint_error(fields(), required(batch.truth, "a known displacement")),
        }

    def fields(self, moving: Tensor, fixed: Tensor) -> list[Tensor]:
        """The fields of all scales, the last of full size."""
        found = self.Phi(moving, fixed)
        return found if isinstance(found, list) else [found]

    @torch.no_grad()
    def align(self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor) -> Alignment:
        """tau; see Alignment."""
        return Alignment(self.fields(moving, fixed)[-1])


@full_precision
def endpoint_error(fields: list[Tensor], truth: Tensor) -> Tensor:
    """Length of the difference to the true field (B, 2, H, W) in pixels, over the scales as above.

    The field of full size is the finest scale's and does not count again where there are others. Those lie on the
    truth's grid padded as `FlowNetS` pads, the finest at a quarter of it.
    """
    scales = list(reversed(fields[:-1] or fields))
    if len(fields) > 1:
        more = [4 * scales[0].shape[axis] - truth.shape[axis] for axis in (2, 3)]
        truth = F.pad(truth, (0, more[1], 0, more[0]), mode="replicate")
    total = truth.new_zeros(())
    for weight, flow in zip((*SCALES, *[SCALES[-1]] * len(scales)), scales, strict=False):
        goal = F.adaptive_avg_pool2d(truth, (flow.shape[2], flow.shape[3]))
        error = (flow - goal).square().sum(dim=1).clamp(min=1e-12).sqrt().mean()
        share = flow[0, 0].numel() / scales[0][0, 0].numel()
        total = total + weight / SCALES[0] * share * error
    return total


def register(name: str, description: str, network: dict[str, Any], weights: dict[str, float]) -> Recipe:
    """A recipe with the pairs, schedule and number of steps of `jrsnet-compact`."""
    stage = Stage(name="align", steps=BEGIN + JOINT, train={"main": ("Phi",)}, weights=weights, needs=NEEDS)
    of = Network(system=name, networks={"Phi": network}, structures=("lungs",))
    return compact(f"{name}-compact", description, of, (stage,), {"Phi": 1e-3})
