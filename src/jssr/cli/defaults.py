"""`--config FILE`: a user's own defaults of commands, in TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import typer

from jssr.errors import OptionError, nearest


def defaults_of(path: Path, group: Any) -> dict[str, dict[str, Any]]:
    """The defaults by command, as Click takes them: of `[register]` with `refine = 20`, `{"register": {"refine": 20}}`.

    Args:
        path: TOML; a table for each command, keys as the options are called, `fixed-modality` or `fixed_modality`.
        group: the Click group whose commands they are.

    Raises:
        OptionError: no such file, no TOML, or a command or an option that there is not.
    """
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        detail = error.strerror if isinstance(error, OSError) else error
        raise OptionError(f"{path}: expected a TOML file of defaults ({detail})") from error
    out: dict[str, dict[str, Any]] = {}
    for name, table in found.items():
        if name not in group.commands or not isinstance(table, dict):
            raise OptionError(f"{path}: expected a table for each command, got {name!r}{nearest(name, group.commands)}")
        names = _names(group.commands[name])
        unknown = [key for key in table if key.replace("_", "-") not in names]
        if unknown:
            close = nearest(unknown[0], names)
            raise OptionError(f"{path}: [{name}]: expected options of jssr {name}, got {unknown[0]!r}{close}")
        out[name] = {names[key.replace("_", "-")]: value for key, value in table.items()}
    return out


def _names(command: typer.core.TyperCommand) -> dict[str, str]:
    """How the options of a command are called, without dashes, and the names of their parameters."""
    return {
        flag.removeprefix("--"): str(one.name)
        for one in command.params
        for flag in one.opts
        if flag.startswith("--") and flag not in ("--help", "--out")
    }
