"""Recipes and weights of 0.1, whose keys lay side by side, are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jssr.recipes import RECIPES
from jssr.recipes.header import read_info
from jssr.recipes.load import build_system, load_recipe, recipe_from
from jssr.recipes.shipped import SHIPPED, shipped_weights
from jssr.recipes.upgrade import current_header, current_recipe
from jssr.recipes.weights import load_system, plain_tensors, tensors_checksum

OF_0_1 = json.loads((Path(__file__).parent / "recipes-0.1.json").read_text())


@pytest.mark.parametrize("name", [name for name in RECIPES if name in OF_0_1])
def test_a_recipe_of_0_1_is_that_of_today(name: str) -> None:
    today = RECIPES[name]()
    if name == "discrete":  # its instance optimisation is another one since: 12 steps became 24 a level
        assert today.inference.refine == 24
        today = today.changed(inference={"refine": 12})
    if name in ("discrete", "rigid"):  # small scans get a finer working grid since
        assert today.preprocessing.fewest_voxels == 200_000
        today = today.changed(preprocessing={"fewest_voxels": None})
    assert recipe_from(OF_0_1[name], name) == today


def test_words_of_0_1_are_read() -> None:
    old = {"name": "x", "system": "jrsnet", "anchor": "venous", "flat": 64, "networks": {"G": {"knots": 8}}}
    assert current_recipe(old) == {
        "name": "x",
        "network": {"system": "jrsnet", "networks": {"G": {"control_points": 8}}},
        "preprocessing": {"pixels": 64, "reference_phase": "venous"},
    }
    assert current_header({"parts": ["G"], "recipe": None}) == {"networks": ["G"], "recipe": None}
    assert current_recipe([1]) == [1] and current_recipe({"name": "new"}) == {"name": "new"}


@pytest.mark.parametrize("system", SHIPPED)
def test_shipped_weights_have_the_recipe_of_today(system: str) -> None:
    _, recipe, header = load_system(shipped_weights(system), system)
    assert header["networks"] and set(header["networks"]) <= set(recipe.network.networks)
    assert recipe.preprocessing == load_recipe(recipe.name).preprocessing


def test_weights_with_a_header_of_0_1_load(tmp_path: Path) -> None:
    old = {**OF_0_1["dual-compact"], "networks": {"M": {"widths": [2, 2, 2]}}, "anchor": "ct"}
    del old["reference_phase"]
    system = build_system(recipe_from(old, "old"))
    tensors = plain_tensors(system.state_dict())
    header = {"format": 1, "version": "0.1.0", "system": "dual", "parts": ["M"], "recipe": old}
    header["checksum"] = tensors_checksum(tensors)
    save_file(tensors, tmp_path / "old.safetensors", {"jssr": json.dumps(header)})
    assert read_info(tmp_path / "old.safetensors")["networks"] == ["M"]
    loaded, recipe, _ = load_system(tmp_path / "old.safetensors")
    assert recipe.preprocessing.reference_phase == "ct" and recipe.training.stages[0].name == "begin"
    assert all(torch.equal(value, tensors[name]) for name, value in loaded.state_dict().items())
