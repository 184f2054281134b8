"""JSynR: (7) alone, generator and register without a segmentor.

`jssr train projects/jssr/jsynr.py --data COHORT -o RUN`.

As many steps of the register as in `jssr-compact`. Scores: README.md.
"""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.jssr import jssr_compact


def recipe() -> Recipe:
    """`jssr-compact` without S."""
    full = jssr_compact()
    align, joint = full.training.stage("align"), full.training.stage("joint")
    rates = full.training.learning_rates
    return full.changed(
        name="jsynr-compact",
        description="JSynR (7), for two CPU cores",
        network={"networks": {n: full.network.networks[n] for n in ("G", "Phi", "D")}, "structures": ()},
        training={
            "stages": (align.model_copy(update={"steps": align.steps + joint.steps}),),
            "learning_rates": {n: rates[n] for n in ("G", "Phi", "D")},
        },
        inference={"one_piece": ()},
    )
