"""What a command shows: progress and warnings on stderr, tables or one JSON document on stdout."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from jssr.cli import log_file
from jssr.cli.guard import WARNED
from jssr.cli.options import Options, opt
from jssr.core.notes import taken

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")
_AS_TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""By these rich takes for a terminal what is none. Else rich, 0.1 s, waits until there is something to print."""


@dataclass(frozen=True, kw_only=True)
class Session(Options):
    """How a command speaks."""

    as_json: bool = opt(False, "Print one JSON document instead of tables and words.", "--json")
    quiet: bool = opt(False, "No progress, no tables; warnings stay, on stderr.", "-q", "--quiet")
    verbose: bool = opt(False, "More messages on stderr.", "-v", "--verbose")
    strict: bool = opt(False, "End with exit code 4 after a warning or the verdict CHECK; what was made stays.")
    log_file: Path | None = opt(None, "Write messages, warnings and errors to the end of this file too.")

    def __post_init__(self) -> None:
        logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
        for name in ("jssr", *(f"lightning_fabric.utilities.{part}" for part in ("rank_zero", "distributed"))):
            logging.getLogger(name).setLevel(logging.INFO if self.verbose else logging.WARNING)

    def begin(self, values: Mapping[str, Any]) -> None:
        """Begin the log."""
        if self.log_file is not None:
            words = [one for name, one in values.items() if name != "log_file"]
            given = [path for one in words for path in (one if isinstance(one, list) else [one])]
            log_file.begin(self.log_file, [path for path in given if isinstance(path, Path)])

    def of_process(self, first: bool) -> Session:
        """The session of one of several processes of a command: only the first one shows anything."""
        return self if first else replace(self, quiet=True, as_json=False, log_file=None)

    @contextmanager
    def progress(self) -> Iterator[Any]:
        """A bar on a terminal's stderr; gives what draws it (`jssr.api.session.OnProgress`)."""
        if self.quiet or not (sys.stderr.isatty() or any(name in os.environ for name in _AS_TERMINAL)):
            yield None
            return
        from rich.console import Console

        screen = Console(stderr=True)
        if not screen.is_interactive:
            yield None
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=screen, transient=True) as bar:
            task = bar.add_task("starting", total=None)

            def show(done: int, total: int, words: str) -> None:
                bar.update(task, description=words, completed=done, total=total)

            yield show

    def run(self, function: Callable[..., T], **options: Any) -> T:
        """Call a function of the API, with a bar of its progress."""
        with self.progress() as show:
            return function(on_progress=show, **options)

    def show(self, *what: RenderableType) -> None:
        """Print tables and words, unless --quiet or --json."""
        if not (self.quiet or self.as_json):
            from rich.console import Console

            screen = Console(highlight=False)  # made when used: tests replace stdout
            for one in what:
                screen.print(one, soft_wrap=isinstance(one, str))

    def finish(
        self, data: Any, *what: RenderableType, warnings: Iterable[str] = (), doubts: Iterable[str] = ()
    ) -> None:
        """Print the outcome: as data with --json, else as `what`; the warnings in any case.

        Args:
            doubts: what `what` tells already and --strict counts like a warning, such as the verdict CHECK.

        Raises:
            typer.Exit: there are warnings or doubts, and --strict.
        """
        if self.as_json:
            from jssr.io.files import plain

            typer.echo(json.dumps(plain(data), indent=1, default=str))
        self.show(*what)
        told = list(dict.fromkeys([*taken(), *warnings]))  # what was told of files that were read comes first
        for warning in told:
            typer.echo(f"warning: {warning}", err=True)
            log_file.note(logging.WARNING, warning)
        reasons = list(doubts)
        if told:
            reasons.append("1 warning" if len(told) == 1 else f"{len(told)} warnings")
        if not (reasons and self.strict):
            log_file.note(logging.INFO, "done")
            return
        last = f"done, with exit code {WARNED} by --strict: {', '.join(reasons)}; what was made stays"
        typer.echo(last, err=True)
        log_file.note(logging.WARNING, last)
        raise typer.Exit(WARNED)


def read_json(folder: Path) -> Mapping[str, Any]:
    """The content of `result.json`."""
    return dict(json.loads((folder / "result.json").read_text(encoding="utf-8")))
