"""The systems, one paper a file. Adding one is a file here, a recipe, and a line below."""

from __future__ import annotations

from collections.abc import Callable

from jssr.systems import discrete, dual, jrsnet, jssr, macjnet, rigid, segmentor
from jssr.systems.base import System

SYSTEMS: dict[str, Callable[..., System]] = {
    "jssr": jssr.build,
    "macjnet": macjnet.build,
    "dual": dual.build,
    "jrsnet": jrsnet.build,
    "discrete": discrete.build,
    "rigid": rigid.build,
    "segmentor": segmentor.build,
}
"""Name to `build(networks, options, classes)`."""
