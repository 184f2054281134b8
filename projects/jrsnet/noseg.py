"""JRS-Net without masks: the paper's JRS-NoSeg. `jssr train projects/jrsnet/noseg.py --data COHORT -o RUN`."""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.jrsnet import jrsnet_compact


def recipe() -> Recipe:
    """`jrsnet-compact` without the term `seg`, and without masks as input."""
    full = jrsnet_compact()
    stages = tuple(
        stage.model_copy(update={"weights": {k: w for k, w in stage.weights.items() if k != "seg"}})
        for stage in full.training.stages
    )
    options = {name: value for name, value in full.network.options.items() if name != "unmasked"} | {"masked": False}
    return full.changed(
        name="jrsnet-noseg-compact",
        description="JRS-Net without segmentation",
        network={"options": options},
        training={"stages": stages},
        inference={"two_pieces": ()},
    )
