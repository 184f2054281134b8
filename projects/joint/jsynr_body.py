"""JSynR of bodies: generator and register of `jssr-body` without a segmentor, (7) alone.

`jssr train projects/joint/jsynr_body.py --data COHORT --start-from REGISTER -o RUN`.
"""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.jssr import jssr_body


def recipe() -> Recipe:
    """`jssr-body` without S, for as many steps of generator and register."""
    full = jssr_body()
    apart, joint = full.training.stages
    changes = {
        "train": {"critic": ("D",), "main": ("G", "Phi")},
        "weights": {name: w for name, w in joint.weights.items() if name not in ("cons", "sup", "sup_ce")},
        "needs": ("pair",),
    }
    return full.changed(
        name="jsynr-body",
        description="JSynR between neck and thighs, for two CPU cores",
        network={"networks": {n: full.network.networks[n] for n in ("G", "Phi", "D")}, "structures": ()},
        training={
            "stages": (apart, joint.model_copy(update=changes)),
            "learning_rates": {n: full.training.learning_rates[n] for n in ("G", "Phi", "D")},
        },
        inference={"one_piece": (), "least_ml": {}},
    )
