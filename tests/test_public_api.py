"""What people and scripts depend on: the names of `jssr` and the commands of `jssr ...`, as `public_api.txt` has them.

After a change that is meant: `python tests/test_public_api.py --write`, and read the difference before it is committed.
"""

from __future__ import annotations

import difflib
import enum
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

import jssr

CLI = "jssr.cli"
"""Where the command line's `app` is: the one name here that is not public."""
FILE = Path(__file__).parent / "public_api.txt"
HEAD = "# Written by `python tests/test_public_api.py --write`; compared by tests/test_public_api.py.\n"


def public_api() -> str:
    """Every public name of `jssr` and every command of its program, as text."""
    lines = ["", "## import jssr", "", *_names()]
    app = importlib.import_module(CLI).app
    lines += ["", "## jssr COMMAND", "", *_command("jssr", typer.main.get_command(app))]
    return HEAD + "\n".join(lines) + "\n"


def _names() -> Iterator[str]:
    for name in sorted(jssr.__all__):
        thing = getattr(jssr, name)
        if inspect.isclass(thing):
            bases = ", ".join(
                base.__name__ for base in thing.__bases__ if base is not object and base.__name__[0] != "_"
            )
            yield f"class {name}{_signature(thing)}" + (f" is {bases}" if bases else "")
            yield from _members(thing)
        elif callable(thing):
            yield f"{name}{_signature(thing)}"
        else:
            yield f"{name}: {type(thing).__name__}"


def _members(kind: type) -> Iterator[str]:
    """Methods and properties that a class has from this package, its bases' included."""
    own = [base for base in kind.__mro__ if base.__module__.split(".")[0] == "jssr"]
    names = {name for base in own for name in vars(base) if not name.startswith("_") or name == "__call__"}
    for name in sorted(names):
        member = inspect.getattr_static(kind, name)
        if isinstance(member, property) or type(member).__name__ == "cached_property":
            yield f"    {name}: property"
        elif isinstance(member, (classmethod, staticmethod)):
            yield f"    {name}{_signature(getattr(kind, name))} {type(member).__name__}"
        elif inspect.isfunction(member):
            yield f"    {name}{_signature(member)}"


class _Text(str):
    """An annotation as it is shown: `inspect` quotes plain strings."""

    __repr__ = str.__str__


def _short(annotation: Any) -> str:
    """A type without the modules that it lives in, which may move."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text.strip("'"))


def _signature(thing: Any) -> str:
    """How it is called."""
    found = inspect.signature(thing)
    empty = inspect.Parameter.empty
    shown = [
        p if p.annotation is empty else p.replace(annotation=_Text(_short(p.annotation)))
        for p in found.parameters.values()
    ]
    gives = found.return_annotation
    return str(found.replace(parameters=shown, return_annotation=gives if gives is empty else _Text(_short(gives))))


def _command(path: str, command: Any) -> Iterator[str]:
    """A command's arguments and options, then its subcommands'."""
    yield path
    for parameter in command.params:
        yield f"    {_parameter(parameter)}"
    for name in sorted(getattr(command, "commands", {})):
        yield from _command(f"{path} {name}", command.commands[name])


def _parameter(p: Any) -> str:
    argument = p.param_type_name == "argument"
    words = p.metavar or p.name.upper() if argument else ", ".join([*p.opts, *p.secondary_opts])
    text = f"{words}: {_kind(p)}"
    if p.nargs != 1:
        text += f" x {p.nargs}" if p.nargs > 1 else ", any number"
    if getattr(p, "multiple", False):
        text += ", may be repeated"
    if p.required:
        return text + ", required"
    default = p.default
    return text if default is None else f"{text} = {default.value if isinstance(default, enum.Enum) else default}"


def _kind(p: Any) -> str:
    """The type of a parameter: its choices, or a name with its limits. Older typers have click's types."""
    if getattr(p, "is_flag", False):
        return "flag"
    if not hasattr(p, "type_descriptor"):
        return "|".join(getattr(p.type, "choices", ())) or p.type.name
    kind = p.type_descriptor.annotation
    if inspect.isclass(kind) and issubclass(kind, enum.Enum):
        return "|".join(str(choice.value) for choice in kind)
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    low, high = getattr(p, "min", None), getattr(p, "max", None)
    return _short(kind) + ("" if low is None else f" >= {low}") + ("" if high is None else f" <= {high}")


def test_public_api_is_as_written() -> None:
    before, now = FILE.read_text(encoding="utf-8").splitlines(), public_api().splitlines()
    change = "\n".join(difflib.unified_diff(before, now, FILE.name, "now", lineterm="", n=0))
    assert not change, f"the public API changed; if it is meant: python tests/test_public_api.py --write\n{change}"


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        FILE.write_text(public_api(), encoding="utf-8")
    else:
        sys.stdout.write(public_api())
