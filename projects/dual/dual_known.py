"""The dual register that already knows bodies: the register of `register-compact`, supervised by both modalities.

`python projects/dual/begin.py BEGIN`, then `jssr train projects/dual/dual_known.py --data COHORT --start-from BEGIN -o
RUN`. By one modality alone: `--set 'training.stages.align.weights={"fixed_like":1,"laplace":0.5,"size":0.01}'`, or
`moving_like`.
"""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.dual import BOTH, REGULAR, compact
from jssr.recipes.jssr import register_compact


def recipe() -> Recipe:
    """The last stage of `dual-volume-compact`, 80 steps."""
    register = register_compact()
    full = compact(
        "dual-known",
        "dual register that begins with one that knows bodies",
        BOTH,
        dict(register.network.networks["Phi"]),
        last=REGULAR,
        patch=(48, 48, 40),
        warmup_steps=10,
        ema=0.98,
        learning_rates={"M": 1e-4},
    )
    last = full.training.stage("align").model_copy(update={"steps": 80})
    return full.changed(training={"stages": (last,)})
