"""macJNet with mutual information in place of macMIND (table 3; there local, here of the whole patch less the fixed
scan's air). The register is given costs of MIND-SSC. `jssr train projects/macjnet/mi.py --data COHORT -o RUN`."""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.macjnet import compact


def recipe() -> Recipe:
    """`macjnet-compact` with another similarity."""
    options = {"similarity": "mi", "costs": "mind-ssc"}
    return compact("macjnet-mi-compact", "macJNet with mutual information", options)
