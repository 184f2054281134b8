"""Every module can be imported, arrows between rooms go one way, there are no circles, and docs/architecture.md places
every file."""

from __future__ import annotations

import ast
import importlib
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import jssr

ROOT = Path(jssr.__file__).parent
DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"
FILES = sorted(ROOT.rglob("*.py"))
TOP = ("__init__.py", "__main__.py", "_version.py")
"""Files of the package itself: its public names, its command, its version."""


def rooms():
    """The rooms of docs/architecture.md from bottom to top: a room may import itself and those before it."""
    table = re.findall(r"^\| `(\w+)/?` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return tuple(reversed(table))


def module_name(path, root=None):
    parts = path.relative_to((root or ROOT).parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path, known):
    """Modules of jssr that a file imports, wherever in the file."""
    package = module_name(path, _root(path)).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "jssr")
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*start, *([node.module] if node.module else [])])
            if whole.split(".")[0] == "jssr":
                for alias in node.names:
                    name = f"{whole}.{alias.name}"
                    yield name if name in known else whole


def _root(path):
    return next(parent for parent in path.parents if parent.name == "jssr")


def room_of(module):
    return module.split(".")[1] if "." in module else ""


def arrows(files):
    known = {module_name(path, _root(path)) for path in files}
    return {module_name(path, _root(path)): set(imported(path, known)) for path in files}


def arrows_back(files, order):
    """(module, what it imports) of every import of a room above its own."""
    place = {name: k for k, name in enumerate(order)}
    return [
        (module, other)
        for module, others in arrows(files).items()
        for other in sorted(others)
        if room_of(module) in place and room_of(other) in place and place[room_of(other)] > place[room_of(module)]
    ]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_import(path):
    if path.name != "__main__.py":
        importlib.import_module(module_name(path))


def test_arrows_go_one_way():
    assert arrows_back(FILES, rooms()) == []


def test_there_is_no_circle():
    graph = {module: others - {module} for module, others in arrows(FILES).items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_systems_share_only_their_base():
    for module, others in arrows(FILES).items():
        if room_of(module) == "systems" and module != "jssr.systems":
            own = {name for name in others if room_of(name) == "systems"}
            assert own <= {"jssr.systems.base", module}, module


def test_the_document_places_every_file():
    text = DOCUMENT.read_text(encoding="utf-8")
    placed = set(re.findall(r"^\| `([\w/]+\.py)` \|", text, re.MULTILINE))
    files = {str(path.relative_to(ROOT)) for path in FILES if path.name not in TOP}
    files = {name for name in files if not name.endswith("__init__.py")}
    assert files - placed == set(), "say in docs/architecture.md what these files are for"
    assert placed - files == set(), "docs/architecture.md places files that are not there"
    assert {name.split("/")[0].removesuffix(".py") for name in files} == set(rooms())


def test_the_check_sees_a_wrong_arrow(tmp_path):
    folder = tmp_path / "jssr"
    (folder / "core").mkdir(parents=True)
    (folder / "io").mkdir()
    (folder / "io" / "images.py").write_text("")
    (folder / "core" / "bad.py").write_text("def f():\n    from ..io import images\n")
    files = list(folder.rglob("*.py"))
    assert arrows_back(files, ("core", "io")) == [("jssr.core.bad", "jssr.io.images")]
