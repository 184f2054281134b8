"""V-Net of bodies: the segmentor of `jssr-body` on painted pictures alone, for as many steps.

`jssr train projects/joint/vnet_body.py --data COHORT --supervised PAINTED --start-from SEGMENTOR -o RUN`.
"""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.jssr import jssr_body
from jssr.systems.segmentor import build

__all__ = ["build", "recipe"]


def recipe() -> Recipe:
    """What `jssr-body` teaches its segmentor, without pairs."""
    full = jssr_body()
    joint = full.training.stage("joint")
    changes = {
        "train": {"main": ("S",)},
        "weights": {name: w for name, w in joint.weights.items() if name in ("sup", "sup_ce")},
        "needs": ("supervised",),
    }
    return full.changed(
        name="vnet-body",
        description="V-Net alone, 17 structures, for two CPU cores",
        network={
            "system": "segmentor",
            "networks": {"S": full.network.networks["S"]},
            "options": {n: full.network.options[n] for n in ("least", "tile")},
        },
        training={
            "stages": (joint.model_copy(update=changes),),
            "learning_rates": {"S": full.training.learning_rates["S"]},
        },
    )
