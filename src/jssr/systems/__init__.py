"""The systems, one paper a file. Adding one is a file here, a recipe, and a line below."""

from __future__ import annotations

from collections.abc import Callable

from jssr.systems import discrete, dual, flow, jrsnet, jssr, lapirn, macjnet, pix2pix, rigid, vnet, voxelmorph
from jssr.systems.base import System

__all__ = ["SYSTEMS"]

SYSTEMS: dict[str, Callable[..., System]] = {
    "jssr": jssr.build,
    "voxelmorph": voxelmorph.build,
    "lapirn": lapirn.build,
    "pix2pix": pix2pix.build,
    "vnet": vnet.build,
    "macjnet": macjnet.build,
    "dual": dual.build,
    "jrsnet": jrsnet.build,
    "dirnet": flow.build_dirnet,
    "flownet": flow.build_flownet,
    "discrete": discrete.build,
    "rigid": rigid.build,
}
"""Name to `build(networks, options, classes)`."""
