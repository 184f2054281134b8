"""The docs are true: links lead somewhere, commands and options exist, the README is short."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import typer

from jssr.recipes import RECIPES
from jssr.recipes.load import build_system, load_recipe
from jssr.registration.schema import ResultModel, StudyModel
from jssr.systems.base import Batch

ROOT = Path(__file__).parents[1]
ARCHIVE = ROOT / "docs" / "notebook"  # stands as it was written
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "projects").rglob("*.md")),
]
LIVE = [page for page in PAGES if ARCHIVE not in page.parents]
README_LINES = 120
NEW_FILES = {"add-a-system.md", "add-a-metric.md", "add-a-descriptor.md"}
"""Pages that tell the reader to write a file."""
FOREIGN = {"--absout", "--cout", "--fout"}
"""Options of other programs (FSL's fnirt and convertwarp)."""


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


# Recipes and files


@pytest.mark.parametrize("page", LIVE, ids=name_of)
def test_recipes_exist(page: Path) -> None:
    words = re.findall(r"(?<![\w/.-])[a-z0-9-]+-compact(?![\w.-])", page.read_text(encoding="utf-8"))
    assert set(words) <= set(RECIPES)


@pytest.mark.parametrize("page", LIVE, ids=name_of)
def test_files_of_the_repository_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?<![\w/.])(?:src|tests|benchmarks|projects|findings|docs)/[\w./-]*\w", text)
    named = [name for name in named if not re.search(r"/[A-Z]+(/|$)", name)]  # a placeholder
    assert [name for name in named if not (ROOT / name).exists() and page.name not in NEW_FILES] == []


def overridden() -> Iterator[tuple[str, list[str]]]:
    """Recipe and overrides of every documented command with `--set`."""
    for page in LIVE:
        for line in lines_of_code(page.read_text(encoding="utf-8")):
            words = shlex.split(line) if line.startswith(("jssr train", "jssr check")) else []
            if "--set" in words:
                recipe = words[words.index("--recipe") + 1] if "--recipe" in words else words[2]
                yield recipe, [words[i + 1] for i, word in enumerate(words) if word == "--set"]


@pytest.mark.parametrize(("recipe", "overrides"), list(overridden()))
def test_overrides_are_keys_of_the_recipe(recipe: str, overrides: list[str], monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    load_recipe(recipe, overrides)


def test_stages_of_every_recipe_are_listed() -> None:
    page = (ROOT / "docs" / "how-to" / "train.md").read_text(encoding="utf-8")
    listed = {
        name: [(stage, int(steps)) for stage, steps in re.findall(r"`(\w+)` (\d+)", row)]
        for name, row in re.findall(r"^\| `([\w-]+)` \| (`\w+` \d+.*) \|$", page, re.M)
    }
    stages = {name: [(s.name, s.steps) for s in make().training.stages] for name, make in RECIPES.items()}
    assert listed == {name: found for name, found in stages.items() if found}


def test_the_recipe_file_extends_a_recipe(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "train.md").read_text(encoding="utf-8")
    file = tmp_path / "mine.toml"
    file.write_text(re.findall(r"```toml\n(.*?)```", page, re.S)[0], encoding="utf-8")
    base, recipe = load_recipe("jssr-compact"), load_recipe(file)
    aligns = [next(s for s in one.training.stages if s.name == "align") for one in (base, recipe)]
    assert (recipe.name, recipe.network.structures, aligns[1].steps) == ("mine", ("liver", "spleen"), 4000)
    assert aligns[1].weights == {**aligns[0].weights, "smooth": 0.5} != aligns[0].weights
    assert recipe.training.learning_rates == base.training.learning_rates
    build_system(recipe)


# result.json


def keys_of(page: str) -> set[str]:
    """Dotted keys in the first columns of the page's tables, without the table of states."""
    text = re.sub(r"## States.*?(?=\n## )", "", page, flags=re.S)
    cells = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    return {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}


def keys_in_schema(model: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of a pydantic model, its models included; only one of two scans and of all grids."""
    for name, field in model.model_fields.items():
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if hasattr(kind, "model_fields")]
        yield prefix + name
        for kind in inner:
            yield from keys_in_schema(kind, f"{prefix}{name}.")


def test_every_key_of_a_result_is_explained() -> None:
    page = (ROOT / "docs" / "reference" / "result.md").read_text(encoding="utf-8")
    explained = keys_of(page)
    schema = {*keys_in_schema(ResultModel), *keys_in_schema(StudyModel)}
    same = (("moving.", "fixed."), ("fixed.grid.", "network_grid."))  # said once
    wanted = set()
    for key in schema:
        for start, instead in same:
            key = instead + key.removeprefix(start) if key.startswith(start) else key
        wanted.add(key)
    groups = {key for key in wanted if any(other.startswith(key + ".") for other in wanted)}
    assert wanted - groups - explained == set()
    assert explained - wanted == set()


@pytest.mark.parametrize("page", LIVE, ids=name_of)
def test_tests_that_guard_a_row_exist(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    assert [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text("utf-8")] == []


def test_every_row_of_the_inputs_names_its_test() -> None:
    page = (ROOT / "docs" / "reference" / "inputs.md").read_text(encoding="utf-8")
    rows = [row for row in page.splitlines() if row.startswith("| ") and not row.startswith(("| ---", "| input"))]
    assert len(rows) > 40 and [row for row in rows if "`tests/" not in row.split(" | ")[-1]] == []


# What pages take from docstrings


@pytest.mark.parametrize("page", LIVE, ids=name_of)
def test_documented_objects_exist(page: Path) -> None:
    for name in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.M):
        module, _, attribute = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute, None)
            assert found is not None or importlib.util.find_spec(name) is not None, name
        except ModuleNotFoundError as error:
            raise AssertionError(name) from error


def test_the_example_of_a_system_learns() -> None:
    page = (ROOT / "docs" / "how-to" / "add-a-system.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", page, re.S)[0], names)  # noqa: S102
    recipe = names["recipe"]()
    system = names["build"](recipe.network.networks, {}, 1)
    assert set(system.losses(Batch(), "main")) == set(recipe.training.stages[0].weights)
    moving, fixed = torch.rand(2, 1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    terms = system.losses(Batch(moving=moving, fixed=fixed), "main")
    sum(weight * terms[name]() for name, weight in recipe.training.stages[0].weights.items()).backward()
    assert sum(float(p.grad.abs().sum()) for p in system.parameters() if p.grad is not None) > 0
    found = system.align(moving, fixed, None, None)
    assert found.displacement.shape == (1, 3, 16, 16, 16)
