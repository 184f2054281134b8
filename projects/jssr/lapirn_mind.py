"""LapIRN with MIND-SSC, for two modalities. `jssr train projects/jssr/lapirn_mind.py --data COHORT -o RUN`."""

from __future__ import annotations

from lapirn import build, with_terms

from jssr.recipes.config import Recipe

__all__ = ["build", "recipe"]


def recipe() -> Recipe:
    """Similarity and smoothness have the ratio that `--refine` gives them."""
    return with_terms("lapirn-mind-compact", "LapIRN, MIND-SSC, for two CPU cores", {"mind": 12.0, "smooth": 10.0})
