"""Reg-SubNet alone, without labels (tables 4 to 6).

`jssr train projects/macjnet/register.py --data COHORT -o RUN`.

For its row with MIND: `--set 'network.options={"similarity":"mind","costs":"mind-ssc","carried":true}'`, and 20 in
place of 45 as weights of sim1 to sim3.
"""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.macjnet import ALIKE_COMPACT, LEVELS, SMOOTH_COMPACT, STEPS, macjnet_compact, register_stages


def recipe() -> Recipe:
    """As many steps of the register as in `macjnet-compact`."""
    full = macjnet_compact()
    return full.changed(
        name="macjnet-register-compact",
        description="macJNet's register alone",
        network={"networks": {level: full.network.networks[level] for level in LEVELS}, "structures": ()},
        training={
            "stages": register_stages(STEPS[0] + STEPS[2], ALIKE_COMPACT["macmind"], SMOOTH_COMPACT),
            "learning_rates": {level: full.training.learning_rates[level] for level in LEVELS},
        },
        inference={"one_piece": ()},
    )
