"""One function per published result."""

from __future__ import annotations

from collections.abc import Callable

from jssr.recipes import baselines, dual, jrsnet, jssr, macjnet, untrained
from jssr.recipes.config import Recipe

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
    "lapirn-mind-compact": baselines.lapirn_mind_compact,
    "pix2pix-compact": baselines.pix2pix_compact,
    "vnet-compact": baselines.vnet_compact,
    "macjnet": macjnet.macjnet_paper,
    "macjnet-compact": macjnet.macjnet_compact,
    "macjnet-mind-compact": macjnet.macjnet_mind_compact,
    "macjnet-mi-compact": macjnet.macjnet_mi_compact,
    "macjnet-register-compact": macjnet.macjnet_register_compact,
    "macjnet-segmentors-compact": macjnet.macjnet_segmentors_compact,
    "dual": dual.dual_paper,
    "dual-compact": dual.dual_compact,
    "dual-ct-compact": dual.dual_ct_compact,
    "dual-mr-compact": dual.dual_mr_compact,
    "dual-direct-compact": dual.dual_direct_compact,
    "dual-volume-compact": dual.dual_volume_compact,
    "jrsnet": jrsnet.jrsnet_paper,
    "jrsnet-compact": jrsnet.jrsnet_compact,
    "jrsnet-noseg-compact": jrsnet.jrsnet_noseg_compact,
    "dirnet-compact": jrsnet.dirnet_compact,
    "flownet-compact": jrsnet.flownet_compact,
    "discrete": untrained.discrete,
    "rigid": untrained.rigid,
}
