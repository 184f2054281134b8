"""`rigid`: no more than the rigid alignment that every system starts from.

For scans whose deformation nothing here finds (docs/notebook, legs in CT and MR). With `--refine` the instance
optimisation alone follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jssr.systems.base import Alignment, Batch, System, Terms


class Rigid(System):
    """A field of zeros: it has no parts and nothing to train."""

    outputs = {"displacement": "nothing"}

    def losses(self, batch: Batch, group: str) -> Terms:
        """None."""
        return {}

    def align(self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor) -> Alignment:
        """tau; see Alignment."""
        return Alignment(torch.zeros(len(fixed), fixed.ndim - 2, *fixed.shape[2:], device=fixed.device))


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> Rigid:
    """Make one; it has neither networks nor options."""
    if networks or options:
        raise ValueError("rigid has neither networks nor options")
    return Rigid()
