"""The command line: `jssr COMMAND`. Every heavy import waits until its command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from jssr._version import __version__
from jssr.cli import apply, compare, convert, data, demo, learn, study, use, view
from jssr.cli.guard import Guarded
from jssr.cli.memory import keep_freed_memory

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Guarded,
    no_args_is_help=True,
    add_completion=False,
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
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Joint synthesis, segmentation and registration of one patient's scans (JSSR, ECCV 2020)."""
    keep_freed_memory()


for command in (
    demo.demo,
    data.phantom,
    data.check,
    data.prepare,
    learn.train,
    use.register,
    study.series,
    study.align,
    use.segment,
    use.synthesise,
    apply.warp,
    convert.convert,
    learn.evaluate,
    compare.benchmark,
    learn.report,
    view.view,
    learn.info,
):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. `--debug` is understood anywhere on it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in words:
        words = ["--debug", *(w for w in words if w != "--debug")]
    app(words, prog_name="jssr")
