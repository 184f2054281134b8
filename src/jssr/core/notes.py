"""What a user should know of a file that was read, in words: collected by whoever shows it, else logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger(__name__)
_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


@contextmanager
def collected() -> Iterator[list[str]]:
    """Collect what `tell` is given in the block, each sentence once; an outer collection does not get it."""
    found: list[str] = []
    before = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(before)


def taken() -> list[str]:
    """What the innermost `collected` block was told so far; from then on the block holds none of it."""
    found = _collected.get()
    words = list(found or ())
    if found is not None:
        found.clear()
    return words


def tell(*words: str) -> None:
    """Give the user a sentence, or several: to the innermost `collected`, else to the log."""
    found = _collected.get()
    for sentence in words:
        if found is None:
            log.warning(sentence)
        elif sentence not in found:
            found.append(sentence)
