"""Recipes by name or from a file, with overrides, and the systems that they describe."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ValidationError

from jssr.errors import RecipeError, nearest, requires
from jssr.recipes import MOVED, RECIPES
from jssr.recipes.augmentation import Augment, Deform
from jssr.recipes.config import Recipe, Stage
from jssr.recipes.project import builder_of, recipe_of_file
from jssr.recipes.upgrade import SECTIONS, current_recipe
from jssr.systems.base import System

if TYPE_CHECKING:
    from omegaconf import DictConfig

_COMMON, _MOST = 1024, 1e9
"""A number in a network's arguments up to which nobody counts its parameters, and how many it may have."""


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a built-in recipe, or one from a .toml, .yaml, .json or .py file, with `key=value` overrides applied.

    A .py file is run (`jssr.recipes.project`). Another file may begin with `extends`, the name of a built-in recipe or
    the path of a file from its own folder, and then names only what differs.

    Raises:
        RecipeError: no such recipe, an unreadable file, an unknown key (the nearest is named), an unfit value.
    """
    path = Path(name_or_path)
    if str(name_or_path) in RECIPES:
        recipe = RECIPES[str(name_or_path)]()
    elif path.suffix == ".py":
        recipe = recipe_of_file(path)
    elif str(name_or_path) in MOVED and not path.exists():
        file = f"projects/{MOVED[str(name_or_path)]}"
        raise RecipeError(f"{name_or_path}: this recipe is a file of jssr's repository now; name {file}")
    elif path.suffix in (".json", ".toml", ".yaml", ".yml") or path.exists():
        recipe = _read(path)
    else:
        raise RecipeError(f"{name_or_path}: no built-in recipe and no file of that name{nearest(str(path), RECIPES)}")
    return override(recipe, overrides)


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Apply `key=value` texts. Keys are dotted (`network.networks.G.width`, `training.stages.joint.steps`), values are
    YAML, of which JSON is a part. Only keys that the recipe has can be set.

    Raises:
        RecipeError: as `load_recipe`.
    """
    if not overrides:
        return recipe
    requires("train", "omegaconf")
    from omegaconf import OmegaConf

    config = OmegaConf.create(_open(recipe))
    OmegaConf.set_struct(config, True)
    OmegaConf.set_struct(config.network.options, False)
    for text in overrides:
        key, equals, _ = text.partition("=")
        if not equals:
            raise RecipeError(f"{text!r}: an override is key=value, for example training.batch=2")
        _assign(config, key.strip(), text)
    data = _closed(cast(dict[str, Any], OmegaConf.to_container(config, resolve=False)))
    _follow_structures(data, {text.partition("=")[0].strip() for text in overrides})
    return recipe_from(data, ", ".join(overrides))


def _follow_structures(data: dict[str, Any], given: Container[str]) -> None:
    """Drop the pieces of structures that the changed recipe does not have, unless they are `given`."""
    for key in ("one_piece", "two_pieces"):
        if f"inference.{key}" not in given:
            structures, kept = data["network"].get("structures"), data["inference"].get(key)
            if isinstance(structures, list) and isinstance(kept, list):  # what is wrong with others, the recipe says
                data["inference"][key] = [name for name in kept if name in structures]


def recipe_from(data: object, source: str) -> Recipe:
    """Make a recipe of plain data; `source` says in errors where it came from.

    Raises:
        RecipeError: one line about the first thing that is wrong.
    """
    try:
        return Recipe.model_validate(current_recipe(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(key) for key in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _fields_at(first["loc"][:-1])
            raise RecipeError(f"{source}: unknown key {where!r}{nearest(str(first['loc'][-1]), known)}") from None
        problem = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{source}: {where + ': ' if where else ''}{problem}") from None


def _fields_at(path: Sequence[int | str]) -> Iterable[str]:
    """The keys that a recipe takes at a place."""
    if len(path) > 2 and path[1] == "stages":
        return Stage.model_fields
    models: dict[str, type[BaseModel]] = {**SECTIONS, "augment": Augment, "deform": Deform}
    return models[str(path[-1])].model_fields if path else Recipe.model_fields


def build_system(recipe: Recipe) -> System:
    """Build the untrained system that a recipe describes, on the CPU, from torch's global random state.

    Raises:
        RecipeError: an unknown system, or arguments or a patch that its networks do not take.
    """
    network, patch = recipe.network, recipe.training.patch
    build = builder_of(network, recipe.name)
    networks = {name: dict(arguments) for name, arguments in network.networks.items()}
    try:
        _check_size(lambda: build(networks, dict(network.options), 1 + len(network.structures)), networks)
        system = build(networks, dict(network.options), 1 + len(network.structures))
        if patch is not None:
            system.check_patch(patch)
        return system
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise RecipeError(f"recipe {recipe.name}: {network.system} cannot be built from it ({error})") from error


def _check_size(build: Callable[[], System], networks: object) -> None:
    """Refuse networks that no memory holds, before it is taken; those of sizes as papers have them pass unseen."""
    if _largest(networks) <= _COMMON:
        return
    import torch

    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in build().parameters())
    if count > _MOST:
        raise ValueError(f"its networks have {count:.3g} parameters, expected at most {_MOST:.0e}")


def _largest(value: object) -> float:
    """The largest number in arguments of networks."""
    if isinstance(value, dict | list | tuple):
        inner = value.values() if isinstance(value, dict) else value
        return max((_largest(one) for one in inner), default=0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def _read(path: Path, extending: tuple[Path, ...] = ()) -> Recipe:
    """The recipe of a file; `extending` are the files that it is read for, which it may not extend."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: this recipe cannot be read (no such file)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: this recipe cannot be read ({error})") from None
    try:
        data = _parsed(text, path.suffix)
    except ValueError as error:
        kind = {".toml": "TOML", ".yaml": "YAML", ".yml": "YAML"}.get(path.suffix, "JSON")
        raise RecipeError(f"{path}: is not valid {kind} ({' '.join(str(error).split())})") from None
    if isinstance(data, dict) and "extends" in data:
        data = _extended(data, path, (*extending, path.resolve()))
    return recipe_from(data, str(path))


def _extended(data: dict[str, Any], path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """The recipe that a file's `extends` names, as plain data, with the file's own values. Tables are merged, stages by
    their name."""
    changes = {"name": path.stem} | {key: value for key, value in data.items() if key != "extends"}
    name, other = data["extends"], path.parent / str(data["extends"])
    if isinstance(name, str) and name in RECIPES:
        base = RECIPES[name]()
    elif isinstance(name, str) and other.suffix in (".json", ".toml", ".yaml", ".yml"):
        if other.resolve() in extending:
            raise RecipeError(f"{path}: extends {name}, which extends this file: name another recipe")
        base = _read(other, extending)
    else:
        expected = "a built-in recipe or a .toml, .yaml or .json file"
        raise RecipeError(f"{path}: extends: expected {expected}, got {name!r}{nearest(str(name), RECIPES)}")
    old = base.model_dump(mode="json")
    old["training"]["stages"] = _by_name(old["training"]["stages"])
    if isinstance(training := changes.get("training"), dict) and "stages" in training:
        changes["training"] = {**training, "stages": _by_name(training["stages"])}
    found = _merged(old, changes)
    pieces = changes.get("inference")
    if isinstance(found["inference"], dict) and isinstance(found["network"], dict):
        _follow_structures(found, {f"inference.{key}" for key in pieces} if isinstance(pieces, dict) else ())
    return found


def _by_name(stages: object) -> object:
    """A list of stages as a table, name to stage; other data stays."""
    if isinstance(stages, list) and all(isinstance(one, dict) and "name" in one for one in stages):
        return {one["name"]: {key: value for key, value in one.items() if key != "name"} for one in stages}
    return stages


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: _merged(old.get(key), value) for key, value in new.items()}


def _parsed(text: str, suffix: str) -> object:
    if suffix in (".yaml", ".yml"):
        requires("train", "omegaconf")
        from omegaconf import OmegaConf
        from yaml import YAMLError

        try:
            return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        except YAMLError as error:
            raise ValueError(str(error)) from error
    return tomllib.loads(text) if suffix == ".toml" else json.loads(text)


def _open(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain data, its stages by name; keys that an override may add are None: a network's rate, or a term
    that another stage weighs."""
    data = recipe.model_dump(mode="json")
    training, networks = data["training"], recipe.network.networks
    terms = [term for stage in recipe.training.stages for term in stage.weights]
    training["stages"] = _by_name(training["stages"])
    training["learning_rates"] = dict.fromkeys(networks) | training["learning_rates"]
    for stage in training["stages"].values():
        stage["weights"] = dict.fromkeys(terms) | stage["weights"]
        stage["learning_rates"] = dict.fromkeys(networks) | stage["learning_rates"]
    return data


def _closed(data: dict[str, Any]) -> dict[str, Any]:
    """The same without the keys that nobody has set."""
    training = data["training"]
    stages = training.get("stages")
    named = stages.values() if isinstance(stages, dict) else ()
    for owner in (training, *(stage for stage in named if isinstance(stage, dict))):
        for key in ("learning_rates", "weights"):
            if isinstance(owner.get(key), dict):
                owner[key] = {name: value for name, value in owner[key].items() if value is not None}
    return data


def _assign(config: DictConfig, key: str, text: str) -> None:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    parent, _, name = key.rpartition(".")
    options = list(OmegaConf.select(config, "network.options") or ())
    if parent == "network.options" and name not in options and difflib.get_close_matches(name, options, cutoff=0.5):
        raise _unknown(config, key)  # a recipe need not name all that its system takes; the system refuses the rest
    try:
        value = OmegaConf.select(OmegaConf.from_dotlist([text]), key)
        if key in SECTIONS and not OmegaConf.is_dict(value):
            raise RecipeError(f"{text!r}: {key} is a section of the recipe: set one of its keys, as {key}.KEY=VALUE")
        OmegaConf.update(config, key, value, merge=False)
    except (OmegaConfBaseException, YAMLError, TypeError) as error:
        if isinstance(error, YAMLError):
            raise RecipeError(f"{text!r}: the value is not valid YAML") from None
        raise _unknown(config, key) from None


def _unknown(config: DictConfig, key: str) -> RecipeError:
    """The error for a key that the recipe lacks. Keys of the same end are nearest."""
    from omegaconf import OmegaConf

    def keys(node: object, at: str = "") -> Iterator[str]:
        for name, value in node.items() if isinstance(node, dict) else ():
            yield f"{at}{name}"
            yield from keys(value, f"{at}{name}.")

    known = list(keys(OmegaConf.to_container(config, resolve=False)))
    near = [one for one in known if one.endswith(f".{key}")] or difflib.get_close_matches(key, known, 1, 0.6)
    if near:
        return RecipeError(f"unknown recipe key {key!r}; did you mean {near[0]!r}?")
    parent = key.rpartition(".")[0]
    while parent and parent not in known:
        parent = parent.rpartition(".")[0]
    beside = [one for one in known if one.rpartition(".")[0] == parent]
    return RecipeError(f"unknown recipe key {key!r}; known: {', '.join(beside or [parent])}")
