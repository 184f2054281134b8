"""Recipes by name or from a file, with overrides, and the systems that they describe."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jssr.errors import RecipeError, nearest
from jssr.recipes import RECIPES
from jssr.recipes.config import PIECES, Recipe, Stage
from jssr.systems import SYSTEMS
from jssr.systems.base import System

__all__ = ["build_system", "load_recipe", "override", "recipe_from"]


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a built-in recipe, or one from a .json or .toml file, with `key=value` overrides applied.

    Raises:
        RecipeError: no such recipe, an unreadable file, an unknown key (the nearest is named), an unfit value.
    """
    path = Path(name_or_path)
    if str(name_or_path) in RECIPES:
        recipe = RECIPES[str(name_or_path)]()
    elif path.suffix in (".json", ".toml") or path.exists():
        recipe = _read(path)
    else:
        raise RecipeError(f"{name_or_path}: no built-in recipe and no file of that name{nearest(str(path), RECIPES)}")
    return override(recipe, overrides)


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Apply `key=value` texts. Keys are dotted (`networks.G.width`, `stages.0.steps`, `stages.joint.steps`), values
    are JSON, or plain text where they are not JSON. Only keys that the recipe has can be set.

    Raises:
        RecipeError: as `load_recipe`.
    """
    if not overrides:
        return recipe
    data = recipe.model_dump(mode="json")
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"{text!r}: an override is key=value, for example batch=2")
        _assign(data, key.strip(), _value(value.strip()))
    given = {text.partition("=")[0].strip() for text in overrides}
    for key in PIECES:
        if key not in given:
            data[key] = [name for name in data[key] if name in data["structures"]]
    return recipe_from(data, ", ".join(overrides))


def recipe_from(data: object, source: str) -> Recipe:
    """Make a recipe of plain data; `source` says in errors where it came from.

    Raises:
        RecipeError: one line about the first thing that is wrong.
    """
    try:
        return Recipe.model_validate(_current(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(key) for key in first["loc"])
        if first["type"] == "extra_forbidden":
            known = Stage.model_fields if first["loc"][0] == "stages" else Recipe.model_fields
            raise RecipeError(f"{source}: unknown key {where!r}{nearest(str(first['loc'][-1]), known)}") from None
        problem = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{source}: {where + ': ' if where else ''}{problem}") from None


def _current(data: object) -> object:
    """A recipe with the keys of today, of one that may have those of 0.1 (weights trained then hold them)."""
    if not isinstance(data, dict):
        return data
    data = dict(data)
    if "anchor" in data:
        data["reference_phase"] = data.pop("anchor")
    networks = data.get("networks")
    if isinstance(networks, dict):
        data["networks"] = {
            name: {"control_points" if key == "knots" else key: value for key, value in arguments.items()}
            if isinstance(arguments, dict)
            else arguments
            for name, arguments in networks.items()
        }
    return data


def build_system(recipe: Recipe) -> System:
    """Build the untrained system that a recipe describes, on the CPU, from torch's global random state.

    Raises:
        RecipeError: an unknown system, or arguments or a patch that its networks do not take.
    """
    if recipe.system not in SYSTEMS:
        raise RecipeError(f"recipe {recipe.name}: unknown system {recipe.system!r}{nearest(recipe.system, SYSTEMS)}")
    networks = {part: dict(arguments) for part, arguments in recipe.networks.items()}
    try:
        system = SYSTEMS[recipe.system](networks, dict(recipe.options), 1 + len(recipe.structures))
        if recipe.patch is not None:
            system.check_patch(recipe.patch)
        return system
    except (TypeError, ValueError, KeyError) as error:
        raise RecipeError(f"recipe {recipe.name}: {recipe.system} cannot be built from it ({error})") from error


def _read(path: Path) -> Recipe:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: this recipe cannot be read ({error})") from None
    try:
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise RecipeError(f"{path}: is not valid {kind} ({error})") from None
    return recipe_from(data, str(path))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _assign(data: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    node: Any = data
    for depth, name in enumerate(path):
        node = node[_find(node, name, key, data, path[:depth])]
    node[_find(node, last, key, data, path)] = value


def _find(node: Any, name: str, key: str, data: dict[str, Any], path: list[str]) -> str | int:
    """The index of `name` in a dict, or in a list by number or by the `name` of its entries."""
    if isinstance(node, list):
        names = [entry["name"] if isinstance(entry, dict) else str(i) for i, entry in enumerate(node)]
        if name in names:
            return names.index(name)
        if name.isdecimal() and int(name) < len(node):
            return int(name)
        raise RecipeError(f"unknown recipe key {key!r}: no {name!r} in {'.'.join(path)}{nearest(name, names)}")
    if not isinstance(node, dict):
        raise RecipeError(f"unknown recipe key {key!r}: {'.'.join(path)} is a value and has nothing inside")
    if name in node or name in _optional(data, path):
        return name
    if path == ["options"] and not difflib.get_close_matches(name, node, n=1, cutoff=0.5):
        return name  # a recipe need not name all that its system takes; the system says what it does not
    known = dict.fromkeys([*node, *_optional(data, path)])
    raise RecipeError(f"unknown recipe key {key!r}: no {name!r}{' in ' + '.'.join(path) if path else ''}"
                      f"{nearest(name, known)}")  # fmt: skip


def _optional(data: dict[str, Any], path: list[str]) -> list[str]:
    """Keys that an override may add: a part's rate, or a term that another stage weighs."""
    if path and path[-1] == "learning_rates":
        return list(data["networks"])
    if path and path[-1] == "weights":
        return list(dict.fromkeys(term for stage in data["stages"] for term in stage["weights"]))
    return []
