"""The docs are true: links lead somewhere, commands and options exist, the README is short."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

ROOT = Path(__file__).parents[1]
ARCHIVE = ROOT / "docs" / "notebook"  # stands as it was written
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LIVE = [page for page in PAGES if ARCHIVE not in page.parents]
README_LINES = 120
FOREIGN = {"--fout"}
"""Options of other programs (FSL's fnirt)."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    inside = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in inside if not (page.parent / link).exists()] == []


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


# Commands and options


@cache
def commands() -> dict[str, set[str]]:
    """Command ("" for the program itself) to its options."""
    program: Any = typer.main.get_command(importlib.import_module("jssr.cli").app)
    options = {name: _options(command) for name, command in program.commands.items()}
    return options | {"": _options(program)}


def _options(command: Any) -> set[str]:
    named = {word for p in command.params for word in (*p.opts, *p.secondary_opts) if word.startswith("-")}
    return named | {"--help"}


def lines_of_code(text: str) -> Iterator[str]:
    """Command lines in fenced blocks and inline code, each joined to one line, without comments."""
    for block in re.findall(r"```[a-z]*\n(.*?)```", text, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            yield re.sub(r"\s#.*", "", line).strip()
    for inline in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", re.sub(r"```.*?```", "", text, flags=re.S)):
        yield " ".join(inline.split())


def wrong_words(line: str) -> list[str]:
    """What in `jssr COMMAND --option ...` does not exist."""
    words = re.sub(r"'[^']*'", "QUOTED", line).split()[1:]
    own: list[str] = []
    while words and words[0].startswith("--"):
        own.append(words.pop(0))
    wrong = [word for word in own if word not in commands()[""]]
    if not words or not re.fullmatch(r"[a-z]+", words[0]):
        return wrong  # `jssr --debug COMMAND ...`, `jssr ...`
    command = words.pop(0)
    if command not in commands():
        return [*wrong, command]
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return wrong + [f"{command} {word}" for word in options if word not in commands()[command]]


@pytest.mark.parametrize("page", LIVE, ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    every = set().union(*commands().values())
    wrong = []
    for line in lines_of_code(page.read_text(encoding="utf-8")):
        if re.match(r"jssr\s", line):
            wrong += wrong_words(line)
        elif re.match(r"--[a-z]", line) and line.split()[0].partition("=")[0] not in every | FOREIGN:
            wrong.append(line.split()[0])
    assert wrong == []


def test_the_check_sees_what_is_wrong() -> None:
    assert wrong_words("jssr registr a b -o out") == ["registr"]
    assert wrong_words("jssr register a b -o out --sytem rigid") == ["register --sytem"]
    assert wrong_words("jssr --debug register a b -o out --system rigid") == []
