"""`--log-file`: what a command was asked, its messages, warnings and errors, each with its time, in one file."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import typer

from jssr._version import __version__

FORMAT = "%(asctime)s %(levelname)s %(message)s"
_OURS = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ jssr \S+: ")
"""How the first line of such a file begins."""
_log = logging.getLogger("jssr.session")
_log.propagate = False  # the terminal has it already


def begin(path: Path, others: Iterable[Path] = ()) -> None:
    """Write this and later messages of the package to the end of a file.

    Args:
        path: the file: a new or an empty one, or one that was begun here.
        others: what the command reads and writes, which the file must not be.

    Raises:
        typer.BadParameter: it cannot be written, or is something else.
    """
    if any(path.resolve() == other.resolve() for other in others):
        said = f"{path}: the command reads or writes this file: name another file for the messages"
        raise typer.BadParameter(said, param_hint="--log-file")
    try:
        _check_ours(path)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{path}: cannot be written ({error.strerror})", param_hint="--log-file") from error
    handler.setFormatter(logging.Formatter(FORMAT))
    end()
    for logger in (logging.getLogger("jssr"), _log):
        logger.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.info("jssr %s: %s", __version__, " ".join(sys.argv[1:]))


def _check_ours(path: Path) -> None:
    """Refuse a file that holds something else."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        start = file.read(200)
    if start and not _OURS.match(start.decode("latin-1")):
        said = f"{path}: exists and is no file of messages of jssr: name a new file"
        raise typer.BadParameter(said, param_hint="--log-file")


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
