"""`--config FILE`: a user's own defaults of commands, in TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import typer

from jssr.errors import OptionError, nearest


def defaults_of(path: Path, context: Any) -> dict[str, dict[str, Any]]:
    """The defaults by command, as Click takes them: of `[register]` with `refine = 20`, `{"register": {"refine": 20}}`.

    Args:
        path: TOML; a table for each command, keys as the options are called, `fixed-modality` or `fixed_modality`.
        context: of the Click group whose commands they are.

    Raises:
        OptionError: no such file, no TOML, or a command or an option that there is not.
        typer.BadParameter: a value of another type.
    """
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        detail = error.strerror if isinstance(error, OSError) else error
        raise OptionError(f"{path}: expected a TOML file of defaults ({detail})") from error
    group = context.command
    out: dict[str, dict[str, Any]] = {}
    for name, table in found.items():
        if name not in group.commands or not isinstance(table, dict):
            raise OptionError(f"{path}: expected a table for each command, got {name!r}{nearest(name, group.commands)}")
        names = _names(group.commands[name])
        unknown = [key for key in table if key.replace("_", "-") not in names]
        if unknown:
            close = nearest(unknown[0], names)
            raise OptionError(f"{path}: [{name}]: expected options of jssr {name}, got {unknown[0]!r}{close}")
        for key, value in table.items():
            _check_value(f"{path}: [{name}]: {key}", value, names[key.replace("_", "-")], context)
        out[name] = {str(names[key.replace("_", "-")].name): value for key, value in table.items()}
    return out


def _check_value(where: str, value: Any, option: Any, context: Any) -> None:
    """Refuse a value of a type that the option does not take.

    Raises:
        typer.BadParameter: it begins with `where`.
    """
    several = option.multiple or option.nargs != 1
    if several != isinstance(value, list):
        expected = 'a list, as ["a", "b"]' if several else "one value, not a list"
        raise _wrong(f"{where}: expected {expected}, got {value!r}")
    if isinstance(value, bool) != option.is_flag:
        expected = "true or false" if option.is_flag else "a value"
        raise _wrong(f"{where}: expected {expected}, got {str(value).lower()}")
    try:
        option.process_value(context, value)
    except Exception as error:  # of Typer's own Click
        raise _wrong(f"{where}: {getattr(error, 'message', error)}") from None


def _wrong(words: str) -> typer.BadParameter:
    return typer.BadParameter(words, param_hint="--config")


def _names(command: typer.core.TyperCommand) -> dict[str, Any]:
    """How the options of a command are called, without dashes, and their parameters."""
    return {
        flag.removeprefix("--"): one
        for one in command.params
        for flag in one.opts
        if flag.startswith("--") and flag not in ("--help", "--out")
    }
