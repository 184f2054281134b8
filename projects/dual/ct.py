"""Supervised by CT alone ("CT" in the paper's table 1). `jssr train projects/dual/ct.py --data COHORT -o RUN`."""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.dual import compact


def recipe() -> Recipe:
    """`dual-compact` with one term in place of both."""
    return compact("dual-ct-compact", "patch register, CT alone", {"fixed_like": 1.0})
