"""VoxelMorph with MIND-SSC. `jssr train projects/jssr/voxelmorph_mind.py --data COHORT -o RUN`."""

from __future__ import annotations

from voxelmorph import build, with_terms

from jssr.recipes.config import Recipe

__all__ = ["build", "recipe"]


def recipe() -> Recipe:
    """Similarity and smoothness have the ratio that `--refine` gives them."""
    return with_terms("voxelmorph-mind-compact", "VoxelMorph, MIND-SSC", {"mind": 1.0, "smooth": 10.0})
