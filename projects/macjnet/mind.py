"""macJNet with MIND-SSC in place of macMIND (table 3). `jssr train projects/macjnet/mind.py --data COHORT -o RUN`."""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.macjnet import compact


def recipe() -> Recipe:
    """`macjnet-compact` with another similarity."""
    return compact("macjnet-mind-compact", "macJNet with MIND-SSC", {"similarity": "mind", "costs": "mind-ssc"})
