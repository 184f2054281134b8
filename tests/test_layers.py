"""Every module can be imported, and arrows between layers go one way (docs/architecture)."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import jssr

ROOT = Path(jssr.__file__).parent
BASE = {"errors", "core"}
LEFT = BASE | {"io", "nets", "losses", "systems"}
# Layer -> what it may import of jssr. A name with a dot allows that module only.
MAY_IMPORT = {
    "errors": set(),
    "core": {"core", "errors"},
    "io": BASE | {"io"},
    "nets": BASE | {"nets"},
    "losses": BASE | {"losses"},
    "systems": BASE | {"nets", "losses", "systems"},
    "processes": {"errors"},
    "data": BASE | {"io", "data", "processes", "systems.base"},
    "recipes": LEFT | {"data", "engine", "recipes"},
    "tools": BASE | {"io", "tools"},
    "engine": LEFT | {"data", "processes", "engine", "recipes", "evaluate", "tools"},
    "evaluate": BASE | {"io", "data", "evaluate"},
    "view": BASE | {"io", "data", "processes", "engine", "evaluate", "view"},
}
FILES = sorted(p for p in ROOT.rglob("*.py"))


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """Dotted names inside jssr that a file imports, wherever in the file, `jssr.` taken off."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*start, *([node.module] if node.module else [])])
            names = [f"{whole}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("jssr.") for name in names if name.startswith("jssr."))


def forbidden(path):
    """The imports of a file that run against the arrows."""
    layer = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if layer not in MAY_IMPORT:  # the top: cli, the Python API
        return []
    allowed = MAY_IMPORT[layer]
    return [name for name in imported(path) if not {name, *_heads(name)} & (allowed | {"__version__"})]


def _heads(name):
    parts = name.split(".")
    return {parts[0], ".".join(parts[:2])}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_import(path):
    if path.name != "__main__.py":
        importlib.import_module(module_name(path))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_arrows_go_one_way(path):
    assert forbidden(path) == []


def test_systems_share_only_their_base():
    for path in (ROOT / "systems").glob("*.py"):
        if path.name != "__init__.py":
            others = {name.split(".")[1] for name in imported(path) if name.startswith("systems.")}
            assert others <= {"base", path.stem}, path


def test_every_layer_is_known():
    top = {p.name for p in ROOT.iterdir() if (p / "__init__.py").is_file()}
    assert top <= {*MAY_IMPORT, "cli"}, "a new folder: say in MAY_IMPORT what it may import"


def test_the_check_sees_a_wrong_arrow(tmp_path, monkeypatch):
    folder = tmp_path / "jssr" / "core"
    folder.mkdir(parents=True)
    (folder / "bad.py").write_text("def f():\n    from jssr.io import images\n    from ..systems.base import System\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path / "jssr")
    assert forbidden(folder / "bad.py") == ["io.images", "systems.base.System"]
