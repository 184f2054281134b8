"""One function for each recipe that ships. Ablations and baselines are files of the repository: `projects/`."""

from __future__ import annotations

from collections.abc import Callable

from jssr.recipes import dual, jrsnet, jssr, macjnet, segmentor
from jssr.recipes.config import Inference, Network, Preprocessing, Recipe


def discrete() -> Recipe:
    """Dense search, coupled convex optimisation, instance optimisation: `jssr register FIXED MOVING --system discrete`.

    20 and 40 steps a level end within 1 % of each other on tuning pairs.
    """
    return Recipe(
        name="discrete",
        description="search and coupled convex optimisation of self-similarities, without training",
        network=Network(system="discrete"),
        preprocessing=Preprocessing(spacing=(2.0, 2.0, 2.0), most_voxels=3_000_000, fewest_voxels=200_000, dims=(2, 3)),
        inference=Inference(refine=24),
    )


def rigid() -> Recipe:
    """The rigid step alone: `jssr register FIXED MOVING --system rigid`; the grid of `discrete`, for `--refine`."""
    return discrete().changed(
        name="rigid",
        description="the rigid step alone",
        network={"system": "rigid"},
        preprocessing={"dims": (3,)},
        inference={"refine": 0},
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "jssr": jssr.jssr_paper,
    "jssr-compact": jssr.jssr_compact,
    "register-compact": jssr.register_compact,
    "jssr-body": jssr.jssr_body,
    "macjnet": macjnet.macjnet_paper,
    "macjnet-compact": macjnet.macjnet_compact,
    "dual": dual.dual_paper,
    "dual-compact": dual.dual_compact,
    "dual-volume-compact": dual.dual_volume_compact,
    "jrsnet": jrsnet.jrsnet_paper,
    "jrsnet-compact": jrsnet.jrsnet_compact,
    "body-compact": segmentor.body_compact,
    "discrete": discrete,
    "rigid": rigid,
}

MOVED: dict[str, str] = {
    "jsynr-compact": "jssr/jsynr.py",
    "jsegr-compact": "jssr/jsegr.py",
    "jssr-commute-compact": "jssr/commute.py",
    "jssr-raw-compact": "jssr/raw.py",
    "voxelmorph-compact": "jssr/voxelmorph.py",
    "voxelmorph-mind-compact": "jssr/voxelmorph_mind.py",
    "lapirn-compact": "jssr/lapirn.py",
    "lapirn-mind-compact": "jssr/lapirn_mind.py",
    "pix2pix-compact": "jssr/pix2pix.py",
    "vnet-compact": "jssr/vnet.py",
    "macjnet-mind-compact": "macjnet/mind.py",
    "macjnet-mi-compact": "macjnet/mi.py",
    "macjnet-register-compact": "macjnet/register.py",
    "macjnet-segmentors-compact": "macjnet/segmentors.py",
    "dual-ct-compact": "dual/ct.py",
    "dual-mr-compact": "dual/mr.py",
    "dual-direct-compact": "dual/direct.py",
    "jrsnet-noseg-compact": "jrsnet/noseg.py",
    "dirnet-compact": "jrsnet/dirnet.py",
    "flownet-compact": "jrsnet/flownet.py",
}
"""Where the recipes are that shipped with 0.1, below `projects/`."""
