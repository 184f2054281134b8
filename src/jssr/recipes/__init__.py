"""One function per published result."""

from __future__ import annotations

from collections.abc import Callable

from jssr.engine.recipe import Recipe
from jssr.recipes import jssr

__all__ = ["RECIPES"]

RECIPES: dict[str, Callable[[], Recipe]] = {
    "jssr": jssr.jssr_paper,
    "jssr-compact": jssr.jssr_compact,
    "jsynr-compact": jssr.jsynr_compact,
    "jsegr-compact": jssr.jsegr_compact,
}
