"""`--log-file`: what a command was asked, its messages, warnings and errors, each with its time, in one file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import typer

from jssr._version import __version__

FORMAT = "%(asctime)s %(levelname)s %(message)s"
_log = logging.getLogger("jssr.session")
_log.propagate = False  # the terminal has it already


def begin(path: Path) -> None:
    """Write this and later messages of the package to the end of a file.

    Raises:
        typer.BadParameter: it cannot be written.
    """
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{path}: cannot be written ({error.strerror})", param_hint="--log-file") from error
    handler.setFormatter(logging.Formatter(FORMAT))
    end()
    for logger in (logging.getLogger("jssr"), _log):
        logger.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.info("jssr %s: %s", __version__, " ".join(sys.argv[1:]))


def note(level: int, words: str) -> None:
    """Write a line, where there is a file."""
    if _log.handlers:
        _log.log(level, words)


def end() -> None:
    """Close the file, where there is one."""
    for logger in (logging.getLogger("jssr"), _log):
        for handler in [h for h in logger.handlers if isinstance(h, logging.FileHandler)]:
            logger.removeHandler(handler)
            handler.close()
