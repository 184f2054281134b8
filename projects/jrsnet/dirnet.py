"""DIRNet, normalised cross-correlation alone.

`jssr train projects/jrsnet/dirnet.py --data COHORT -o RUN`. The equations: flow.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flow import FlowRegister, register
from flow_networks import DIRNetRegressor

from jssr.recipes.config import Recipe


def recipe() -> Recipe:
    """At 128 pixels, for two CPU cores."""
    return register("dirnet", "DIRNet, for two CPU cores", {"width": 32, "head": 64, "levels": 4}, {"ncc": 1.0})


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> FlowRegister:
    """Make one from plain data: "Phi" are `DIRNetRegressor`'s numbers."""
    return FlowRegister(DIRNetRegressor(**networks["Phi"]), **options)
