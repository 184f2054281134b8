"""What a user sees when something goes wrong: one line, and an exit code."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperGroup

from jssr.cli import log_file
from jssr.errors import Interrupted, JssrError

REFUSED = 1
UNEXPECTED = 3
WARNED = 4
INTERRUPTED = 130
TERMINATED = 143
"""2, wrong use, is Typer's own. docs/reference/exit-codes.md lists them."""

log = logging.getLogger(__name__)


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends as Ctrl-C does."""


def end_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does, with files tidied up; processes that it forks end at once."""
    home = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() != home:
            os._exit(TERMINATED)
        raise Terminated

    signal.signal(signal.SIGTERM, end)


class Guarded(TyperGroup):
    """A group of commands that turns exceptions into one line on stderr and an exit code.

    1: an input or an output that cannot be used (`JssrError`); 2: wrong use of a command (Typer's own); 3: anything
    unexpected; 4: done with warnings, by `--strict`; 130: interrupted; 143: ended by SIGTERM.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the numbers of --shape and --spacing with commas too: 64,64,32."""
        before = [None, *args]
        pairs = list(zip(before, args, strict=False))
        split = [word.split(",") if last in ("--shape", "--spacing") else [word] for last, word in pairs]
        return super().parse_args(ctx, [word for words in split for word in words])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if _is_usage(error):
                _point_elsewhere(error, self.commands)
                raise
            code, message = _outcome(error)
            if getattr(error, "told", False):  # by another process of the same run (`jssr.training.processes`)
                raise typer.Exit(code) from None
            if _debugging(ctx) and code == UNEXPECTED and not isinstance(error, MemoryError):
                raise
            if _debugging(ctx) and code not in (INTERRUPTED, TERMINATED):
                log.exception("traceback asked for by --debug")
        typer.echo(f"error: {message}", err=True)
        log_file.note(logging.ERROR, message)
        raise typer.Exit(code)


def _outcome(error: BaseException) -> tuple[int, str]:
    """The exit code of an error, and its line."""
    match error:
        case Interrupted():
            by_term = isinstance(error.__context__, Terminated)
            return TERMINATED if by_term else INTERRUPTED, str(error)
        case JssrError():
            return REFUSED, str(error)
        case Terminated():
            return TERMINATED, "ended by SIGTERM; no half-written output was left"
        case KeyboardInterrupt():
            return INTERRUPTED, "interrupted; no half-written output was left"
        case MemoryError():
            return UNEXPECTED, "out of memory; use fewer or smaller scans, or a machine with more"
        case _:
            return UNEXPECTED, f"{_line(error)} (unexpected; `jssr --debug ...` shows where)"


def _debugging(ctx: Any) -> bool:
    return bool(ctx.params.get("debug"))


def _is_usage(error: BaseException) -> bool:
    """Typer's own complaints (unknown option, missing argument), which it prints itself. It may carry its own Click."""
    return any(kind.__name__ == "ClickException" for kind in type(error).__mro__)


def _point_elsewhere(error: Any, commands: Mapping[str, Any]) -> None:
    """Of an option that a command does not have, say which commands have it, in place of names that look alike."""
    wanted = getattr(error, "option_name", None)
    having = [name for name, one in commands.items() if any(wanted in p.opts for p in one.params)]
    if wanted and having:
        error.message, error.possibilities = f"{error.message}. It is an option of {', '.join(having)}", None


def _line(error: BaseException) -> str:
    said = " ".join(str(error).split())
    if "memory" in said.lower() and "alloc" in said.lower():
        said = f"out of memory ({said[:120]})"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
