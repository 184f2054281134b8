"""Recipes that are Python files of the user's, and the systems that they define.

Such a file has `recipe()`, and `build(networks, options, classes)` where its system does not ship. It is run where the
user names it, as a recipe or before a checkpoint ("FILE.py:RUN"), and never because a weights file names it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jssr.errors import RecipeError, nearest
from jssr.recipes import MOVED
from jssr.recipes.config import Network, Recipe
from jssr.systems import SYSTEMS
from jssr.systems.base import System

_BUILDERS: dict[Path, Callable[..., System]] = {}


def recipe_of_file(path: Path) -> Recipe:
    """Run a Python file and return its recipe. Files beside it can be imported by it, as by a script.

    Raises:
        RecipeError: it cannot be run, or has no `recipe()` that returns a Recipe.
    """
    if not path.is_file():
        raise RecipeError(f"{path}: this recipe cannot be read (no such file)")
    module = _imported(path.resolve(), str(path))
    try:
        recipe = module.recipe()
    except (Exception, SystemExit) as error:
        raise RecipeError(f"{path}: recipe() failed ({type(error).__name__}: {error})") from error
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{path}: recipe() must return a jssr Recipe, got {type(recipe).__name__}")
    if not hasattr(module, "build"):
        return recipe
    _BUILDERS[path.resolve()] = module.build
    return recipe.changed(network={"project": path.as_posix()})


def _imported(path: Path, shown: str) -> Any:
    """The module of a file. It is imported by its own name, so that worker processes find its classes."""
    known = sys.modules.get(path.stem)
    if known is not None:
        if Path(getattr(known, "__file__", None) or "").resolve() == path:
            return known
        raise RecipeError(f"{shown}: another module {path.stem!r} is loaded already; give the file another name")
    sys.path.insert(0, str(path.parent))
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(path.stem)
    except (Exception, SystemExit) as error:
        raise RecipeError(f"{shown}: cannot be run ({type(error).__name__}: {error})") from error
    if not hasattr(module, "recipe"):
        raise RecipeError(f"{shown}: has no function recipe()")
    return module


def builder_of(network: Network, recipe: str) -> Callable[..., System]:
    """`build` of a recipe's system.

    Raises:
        RecipeError: an unknown system, or one of a project file that the user has not named.
    """
    if network.project is None and network.system in SYSTEMS:
        return SYSTEMS[network.system]
    project = network.project
    if project is None and f"{network.system}-compact" in MOVED:  # trained by jssr 0.1
        project = f"projects/{MOVED[f'{network.system}-compact']}"
    if project is None:
        raise RecipeError(f"recipe {recipe}: unknown system {network.system!r}{nearest(network.system, SYSTEMS)}")
    if Path(project).resolve() in _BUILDERS:
        return _BUILDERS[Path(project).resolve()]
    raise RecipeError(
        f"recipe {recipe}: its system {network.system!r} is defined in {project}, which is run only where you name it: "
        f"--checkpoint {project}:RUN"
    )
