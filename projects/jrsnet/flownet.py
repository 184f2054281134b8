"""FlowNet-S on known displacements.

`jssr train projects/jrsnet/flownet.py --data COHORT -o RUN`. The equations: flow.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flow import FlowRegister, register
from flow_networks import FlowNetS

from jssr.recipes.config import Recipe


def recipe() -> Recipe:
    """At 128 pixels, for two CPU cores."""
    return register("flownet", "FlowNet-S, for two CPU cores", {"widths": [16, 32, 64, 96, 128]}, {"epe": 1.0})


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> FlowRegister:
    """Make one from plain data: "Phi" are `FlowNetS`'s numbers."""
    return FlowRegister(FlowNetS(**networks["Phi"]), **options)
