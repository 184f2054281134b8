"""The glossary's unwanted words are no words of the code's identifiers."""

from __future__ import annotations

import io
import keyword
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ROOT / "src" / "jssr"

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
ALLOWED = {
    "back": "the back of the body, the way back of a gradient",
    "class": "Python's, DICOM's SOP class, and classes of a segmentor",
    "flow": "FlowNet and the flow layer are names of papers; blood's flow void",
    "labels": "a kind of scan",
    "map": "map_coordinates, a label map, a map of features",
    "measure": "what a number of a result is measured by, and the verb",
    "part": "a network of a system in the code of `systems`",
    "reference": "the reference phase",
    "source": "DICOM's source images, where a file comes from",
    "floating": "floating point",
    "target": "the phantom's target population, the grid that is resampled to",
    "turn": "a rotation",
    "x": "an axis",
    "y": "an axis",
}
"""Words of the third column that have a right sense elsewhere."""
IN_A_ROW = [
    *("core/bridges", "core/field", "core/transform", "nets/residual", "phantom/scanner"),
    *("preprocessing/intensity", "core/full_size", "report/planes", "systems/discrete"),
]
PLACES = {
    "anchor": {"report/letters.py:anchor"},  # Pillow's word for where a text is placed
    "flat": {f"{place}.py:flat" for place in IN_A_ROW},  # an array in one row
}
"""Identifiers that hold such a word in a right sense."""


def unwanted() -> list[str]:
    """Single words of the glossary's third column."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    cells = [row.split("|")[3] for row in text.splitlines() if row.startswith("|") and row.count("|") == 4]
    items = [item.strip() for cell in cells for item in re.split(r"[,/]", re.sub(r"\([^)]*\)", "", cell))]
    return sorted({item for item in items if re.fullmatch(r"[a-z]+", item) and item != "not"})


@cache
def identifiers() -> dict[str, set[str]]:
    """Word to the places `FILE:IDENTIFIER` in which it occurs."""
    found: dict[str, set[str]] = {}
    for path in CODE.rglob("*.py"):
        place = path.relative_to(CODE).as_posix()
        for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
            if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
                for word in WORD.findall(token.string):
                    found.setdefault(word.lower().removesuffix("s"), set()).add(f"{place}:{token.string}")
    return found


@pytest.mark.parametrize("word", [word for word in unwanted() if word not in ALLOWED])
def test_unwanted_words_are_no_identifiers(word: str) -> None:
    places = identifiers().get(word.removesuffix("s"), set())
    if word == "tau":  # the papers' symbol
        places = {place for place in places if not place.startswith("systems/")}
    assert sorted(places - PLACES.get(word, set())) == []


def test_allowed_words_are_in_the_glossary() -> None:
    assert set(ALLOWED) <= set(unwanted())
