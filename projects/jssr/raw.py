"""JSSR with (12) beside (8): the paper reports that it may end in blank segmentations (section 5).

`jssr train projects/jssr/raw.py --data COHORT --supervised COHORT -o RUN`. Scores: README.md.
"""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.jssr import jssr_compact


def recipe() -> Recipe:
    """`jssr-compact` with one more term in its joint stage."""
    full = jssr_compact()
    *before, joint = full.training.stages
    more = joint.model_copy(update={"weights": {**joint.weights, **{"cons_raw": 0.5}}})
    return full.changed(
        name="jssr-raw-compact", description="JSSR with (12) beside (8)", training={"stages": (*before, more)}
    )
