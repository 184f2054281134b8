"""V-Net alone: the segmentor without the system (Milletari et al. 2016), the baseline of JSSR's table 2.

`jssr train projects/jssr/vnet.py --data COHORT --supervised COHORT -o RUN`. Rates, schedule, averaging, augmentation
and grid are those of `jssr-compact`, and the register is trained for as many steps, so that what differs between two
rows of a table is the system (`jssr.systems.segmentor`). Scores: README.md.
"""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.jssr import jssr_compact
from jssr.systems.segmentor import build

__all__ = ["build", "recipe"]


def recipe() -> Recipe:
    """On the supervised cohort alone, for as many steps as JSSR's segmentor is trained."""
    full = jssr_compact()
    steps = sum(stage.steps for stage in full.training.stages if "S" in stage.networks)
    return full.changed(
        name="vnet-compact",
        description="V-Net alone, nine organs, for two CPU cores",
        network={"system": "vnet", "networks": {"S": full.network.networks["S"]}, "options": {}},
        training={
            "stages": (full.training.stage("segment").model_copy(update={"steps": steps}),),
            "learning_rates": {"S": full.training.learning_rates["S"]},
        },
    )
