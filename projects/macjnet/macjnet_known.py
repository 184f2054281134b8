"""macJNet whose register already knows bodies: in place of the pyramid, the register of `register-compact`.

`jssr train projects/macjnet/macjnet_known.py --data COHORT --start-from register-compact --start-from SEGMENTORS -o
RUN`, where SEGMENTORS is a run of `segmentors.py` on the same cohort. For the row with MIND: `--set
'network.options={"similarity":"mind","carried":true}'`, and 20 in place of 45 as the weight of sim3.
"""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.jssr import register_compact
from jssr.recipes.macjnet import SEGMENTORS, macjnet_compact


def recipe() -> Recipe:
    """The joint stage of `macjnet-compact`, at the spacing of `register-compact`."""
    full, register = macjnet_compact(), register_compact()
    joint = full.training.stage("joint")
    rates = {"Phi": 1e-4, **dict.fromkeys(SEGMENTORS, 5e-4)}
    train = {"register": ("Phi",), "segmentors": SEGMENTORS}
    options = {name: value for name, value in full.network.options.items() if name != "costs"}
    phi = {name: value for name, value in register.network.networks["Phi"].items() if name != "form"}  # one form here
    parts = {name: full.network.networks[name] for name in SEGMENTORS}
    return full.changed(
        name="macjnet-known",
        description="macJNet that begins with a register that knows bodies",
        network={"networks": {"Phi": phi, **parts}, "options": options},
        preprocessing={"spacing": register.preprocessing.spacing},
        training={
            "stages": (joint.model_copy(update={"steps": 80, "train": train, "learning_rates": {}}),),
            "learning_rates": rates,
            "warmup_steps": 10,
            "ema": 0.98,
            "patch": (48, 48, 40),
        },
    )
