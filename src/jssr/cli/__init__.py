"""The command line: `jssr COMMAND`. Every heavy import waits until its command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from jssr._version import __version__
from jssr.cli import cohorts, learning, scans, transforms, view
from jssr.cli.defaults import defaults_of
from jssr.cli.guard import Guarded, end_on_sigterm
from jssr.cli.memory import collect_rarely, keep_freed_memory
from jssr.core.waiting import wait_asleep

app = typer.Typer(
    cls=Guarded,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"jssr {__version__}")
        raise typer.Exit()


@app.callback()
def _top(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", envvar="JSSR_CONFIG", help="TOML file of your own defaults, by command.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Joint synthesis, segmentation and registration of one patient's scans (JSSR, ECCV 2020).

    Exit codes: 0 done; 1 refused: an input or an output that cannot be used; 2 wrong use of a command or option;
    3 unexpected, an error of jssr itself; 4 done with warnings, by --strict; 130 interrupted; 143 ended by SIGTERM.
    """
    if config is not None:
        context.default_map = defaults_of(config, context)
    wait_asleep()
    keep_freed_memory()
    collect_rarely()


for command in (
    cohorts.demo, cohorts.phantom, cohorts.check, cohorts.prepare, learning.train, scans.register, scans.series,
    scans.align, scans.segment, scans.synthesise, transforms.warp, transforms.convert, learning.evaluate,
    learning.benchmark, learning.report, view.view, learning.info,
):  # fmt: skip
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. `--debug` is understood anywhere on it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in words:
        words = ["--debug", *(w for w in words if w != "--debug")]
    end_on_sigterm()
    app(words, prog_name="jssr")
