"""What all functions of the API share: options as keywords, threads, progress as a callback."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from jssr.errors import JssrError, check_options

__all__ = ["OnNote", "OnProgress", "PathLike", "Steps", "begin"]

PathLike = str | os.PathLike[str]
OnProgress = Callable[[int, int, str], None]
"""Called with how many steps are done, of how many, and what is being done."""
OnNote = Callable[[str], None]
"""Called with what a user should know before the work begins."""


class Steps:
    """Counts `total` stages as they begin, or cases as they end, for `on_progress`; `words` say what cases are."""

    def __init__(self, total: int, on_progress: OnProgress | None, words: str = "") -> None:
        self.total, self.words, self._on_progress, self._done = total, words, on_progress, 0

    def begin(self, stage: str) -> None:
        """A stage begins: those before it are done."""
        self._report(stage)
        self._done += 1

    def end(self, *_: object) -> None:
        """One more is done."""
        self._done += 1
        self._report(self.words)

    def _report(self, words: str) -> None:
        if self._on_progress is not None:
            self._on_progress(min(self._done, self.total), self.total, words)


def begin(options: Mapping[str, Any], known: Any, threads: int | None = None) -> None:
    """Check the keywords against a TypedDict, and let this process compute with so many CPU threads; None keeps them.

    Raises:
        TypeError: a keyword that it does not have.
        JssrError: threads that are no number from 1.
    """
    check_options(options, known.__annotations__)
    if threads is not None:
        if not isinstance(threads, int) or threads < 1:
            raise JssrError(f"threads: expected a whole number from 1, got {threads!r}")
        import SimpleITK as sitk
        import torch

        torch.set_num_threads(threads)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
