"""Supervised by the distance of CT and MR themselves: what the paper argues against.

`jssr train projects/dual/direct.py --data COHORT -o RUN`.
"""

from __future__ import annotations

from jssr.recipes.config import Recipe
from jssr.recipes.dual import compact


def recipe() -> Recipe:
    """`dual-compact` with one term in place of both."""
    return compact("dual-direct-compact", "patch register, CT against MR", {"direct": 1.0})
