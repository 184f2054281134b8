"""Conventional registration tools, each behind one function that returns our `Transform`.

They come with the extra `benchmark` (`pip install jssr[benchmark]`), but for deeds, whose executables must be on the
PATH. Each uses what its authors recommend; `Tool.settings` says what that is.
"""

from __future__ import annotations

from jssr.peers import ants, convexadam, deeds, elastix, greedy
from jssr.peers.base import Tool

__all__ = ["TOOLS", "Tool"]

TOOLS: dict[str, Tool] = {
    tool.name: tool for tool in (*elastix.TOOLS, *ants.TOOLS, *greedy.TOOLS, *convexadam.TOOLS, *deeds.TOOLS)
}
"""By name."""
