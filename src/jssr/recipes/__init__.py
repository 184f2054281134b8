"""One function per published result."""

from __future__ import annotations

from collections.abc import Callable

from jssr.engine.recipe import Recipe
from jssr.recipes import baselines, discrete, jssr

__all__ = ["RECIPES"]

RECIPES: dict[str, Callable[[], Recipe]] = {
    "jssr": jssr.jssr_paper,
    "jssr-compact": jssr.jssr_compact,
    "jsynr-compact": jssr.jsynr_compact,
    "jsegr-compact": jssr.jsegr_compact,
    "jssr-commute-compact": jssr.jssr_commute_compact,
    "jssr-raw-compact": jssr.jssr_raw_compact,
    "voxelmorph-compact": baselines.voxelmorph_compact,
    "voxelmorph-mind-compact": baselines.voxelmorph_mind_compact,
    "lapirn-compact": baselines.lapirn_compact,
    "pix2pix-compact": baselines.pix2pix_compact,
    "vnet-compact": baselines.vnet_compact,
    "discrete": discrete.discrete,
}
