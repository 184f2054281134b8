"""JSSR with (13) beside (8): the paper reports that it ends at tau = I (section 5, "extra constraints").

`jssr train projects/jssr/commute.py --data COHORT --supervised COHORT -o RUN`. Scores: README.md.
"""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.jssr import jssr_compact


def recipe() -> Recipe:
    """`jssr-compact` with one more term in its joint stage."""
    full = jssr_compact()
    *before, joint = full.training.stages
    more = joint.model_copy(update={"weights": {**joint.weights, **{"commute": 1.0}}})
    return full.changed(name="jssr-commute-compact", description="JSSR with (13)", training={"stages": (*before, more)})
