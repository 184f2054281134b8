"""The register of `macjnet_known.py` alone, without labels (tables 4 to 6).

`jssr train projects/macjnet/macjnet_known_register.py --data COHORT --start-from register-compact -o RUN`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jssr.recipes.config import Recipe

sys.path.insert(0, str(Path(__file__).parent))
import macjnet_known  # noqa: E402


def recipe() -> Recipe:
    """As many steps of the register as in `macjnet_known.py`."""
    full = macjnet_known.recipe()
    joint = full.training.stage("joint")
    weights = {name: weight for name, weight in joint.weights.items() if name in ("sim3", "smooth3")}
    alone = joint.model_copy(update={"train": {"register": ("Phi",)}, "weights": weights, "needs": ("pair",)})
    return full.changed(
        name="macjnet-known-register",
        description="macJNet's register alone that knows bodies",
        network={"networks": {"Phi": full.network.networks["Phi"]}, "structures": ()},
        training={"stages": (alone,), "learning_rates": {"Phi": full.training.learning_rates["Phi"]}},
        inference={"one_piece": ()},
    )
