"""JSegR: register and segmentor without a generator, (12) with (9).

`jssr train projects/jssr/jsegr.py --data COHORT --supervised COHORT -o RUN`. Scores: README.md.
"""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.jssr import SUPERVISED, jssr_compact


def recipe() -> Recipe:
    """`jssr-compact` without G and D."""
    full = jssr_compact()
    segment, align, joint = full.training.stages
    changes = {
        "steps": align.steps + joint.steps,
        "train": {"main": ("Phi", "S")},
        "weights": {"smooth": 2.0, "cons": 0.5, **SUPERVISED},
    }
    return full.changed(
        name="jsegr-compact",
        description="JSegR (12), for two CPU cores",
        network={"networks": {n: full.network.networks[n] for n in ("Phi", "S")}},
        training={
            "stages": (segment, joint.model_copy(update=changes)),
            "learning_rates": {n: full.training.learning_rates[n] for n in ("Phi", "S")},
        },
    )
