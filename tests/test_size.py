"""Files, functions and signatures stay small enough to read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import jssr

FILES = sorted(Path(jssr.__file__).parent.rglob("*.py"))
LINES_OF_A_FILE, LINES_OF_A_FUNCTION, ARGUMENTS = 350, 60, 10


def functions(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def arguments(node):
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


def too_large(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if lines > LINES_OF_A_FILE:
        yield f"{path}: {lines} lines"
    for node in functions(path):
        length = node.end_lineno - node.lineno + 1
        if length > LINES_OF_A_FUNCTION:
            yield f"{path}: {node.name} has {length} lines"
        if len(arguments(node)) > ARGUMENTS:
            yield f"{path}: {node.name} has {len(arguments(node))} arguments; let options travel as an object"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sizes(path):
    assert list(too_large(path)) == []


def test_the_check_sees_what_is_too_large(tmp_path):
    many = ", ".join(f"a{k}" for k in range(11))
    file = tmp_path / "x.py"
    file.write_text(f"def f({many}):\n" + "    pass\n" * 60)
    assert len(list(too_large(file))) == 2
