"""Seg-SubNets alone (table 8). `jssr train projects/macjnet/segmentors.py --data COHORT -o RUN`."""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.macjnet import SEGMENTORS, STEPS, macjnet_compact


def recipe() -> Recipe:
    """As many steps of the segmentors as in `macjnet-compact`."""
    full = macjnet_compact()
    segment = full.training.stage("segment").model_copy(update={"steps": STEPS[1] + STEPS[2]})
    return full.changed(
        name="macjnet-segmentors-compact",
        description="macJNet's segmentors alone",
        network={"networks": {name: full.network.networks[name] for name in SEGMENTORS}},
        training={
            "stages": (segment,),
            "learning_rates": {name: full.training.learning_rates[name] for name in SEGMENTORS},
        },
    )
