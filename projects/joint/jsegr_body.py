"""JSegR of bodies: register and segmentor of `jssr-body` without a generator, (12) with (9).

`jssr train projects/joint/jsegr_body.py --data COHORT --supervised PAINTED --start-from ... -o RUN`.
"""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.jssr import jssr_body


def recipe() -> Recipe:
    """`jssr-body` without G and D, for as many steps of register and segmentor."""
    full = jssr_body()
    joint = full.training.stage("joint")
    weights = {name: weight for name, weight in joint.weights.items() if name not in ("critic", "gan", "reg", "ncc")}
    return full.changed(
        name="jsegr-body",
        description="JSegR between neck and thighs, for two CPU cores",
        network={"networks": {n: full.network.networks[n] for n in ("Phi", "S")}},
        training={
            "stages": (joint.model_copy(update={"train": {"main": ("Phi", "S")}, "weights": weights}),),
            "learning_rates": {n: full.training.learning_rates[n] for n in ("Phi", "S")},
        },
    )
