"""Every recipe file of `projects/` loads, builds, and equals what shipped under its name with 0.1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from jssr.errors import CheckpointError, RecipeError
from jssr.recipes import MOVED
from jssr.recipes.load import build_system, load_recipe, recipe_from
from jssr.recipes.weights import load_system, save_weights

OF_0_1 = json.loads((Path(__file__).parent / "recipes-0.1.json").read_text())


@pytest.mark.parametrize("name", MOVED)
def test_a_recipe_file_is_the_recipe_that_shipped(name: str, projects: Path) -> None:
    made = load_recipe(projects / MOVED[name])
    before = recipe_from(OF_0_1[name], name)
    assert made.changed(network={"project": None}) == before
    assert build_system(made).networks == tuple(made.network.networks)


def test_an_old_name_says_where_the_recipe_is() -> None:
    with pytest.raises(RecipeError, match=r"dirnet-compact: .* name projects/jrsnet/dirnet\.py"):
        load_recipe("dirnet-compact")


BROKEN = {
    "raises": ("1 / 0", "cannot be run .ZeroDivisionError"),
    "lacks": ("", "has no function recipe"),
    "fails": ("def recipe():\n    raise KeyError('x')", "failed .KeyError"),
    "other": ("def recipe():\n    return {}", "must return a jssr Recipe, got dict"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_has_no_recipe_is_refused(kind: str, tmp_path: Path) -> None:
    text, words = BROKEN[kind]
    path = tmp_path / f"project_that_{kind}.py"
    path.write_text(text)
    with pytest.raises(RecipeError, match=words):
        load_recipe(path)


def test_a_module_of_the_same_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("def recipe(): ...")
    with pytest.raises(RecipeError, match="another module 'json' is loaded already"):
        load_recipe(tmp_path / "json.py")


SYSTEM = """
import torch
from jssr.recipes.jssr import jssr_compact
from jssr.systems.base import Alignment, System

class Still(System):
    networks = ("Phi",)
    outputs = {"displacement": "Phi"}

    def __init__(self):
        super().__init__()
        self.Phi = torch.nn.Linear(1, 1)

    def losses(self, batch, group):
        return {"size": lambda: self.Phi.weight.sum()}

    def align(self, moving, fixed, moving_mask, fixed_mask):
        return Alignment(torch.zeros(1, 3, *fixed.shape[2:]))

def recipe():
    stage = {"name": "s", "steps": 1, "train": {"main": ["Phi"]}, "weights": {"size": 1}}
    return jssr_compact().changed(
        name="still", network={"system": "still", "networks": {"Phi": {}}, "options": {}, "structures": ()},
        training={"stages": [stage], "learning_rates": {"Phi": 1.0}}, inference={"one_piece": ()},
    )

def build(networks, options, classes):
    return Still()
"""


def test_a_system_of_a_file_runs_only_where_the_user_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "still_project.py"
    file.write_text(SYSTEM)
    made = load_recipe(file)
    system = build_system(made)
    save_weights(tmp_path / "w.safetensors", system, made)
    monkeypatch.setattr("jssr.recipes.project._BUILDERS", {})  # as in another process
    with pytest.raises(
        CheckpointError, match=r"defined in .*still_project\.py, .* --checkpoint .*still_project\.py:RUN"
    ):
        load_system(tmp_path / "w.safetensors")
    loaded, recipe, _ = load_system(f"{file}:{tmp_path / 'w.safetensors'}")
    assert torch.equal(loaded.get_parameter("Phi.weight"), system.get_parameter("Phi.weight"))
    assert recipe.network.system == "still"


def test_weights_of_0_1_say_which_file_their_system_is_in(
    tmp_path: Path, projects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load_recipe(projects / "jrsnet" / "dirnet.py", ["network.networks.Phi.width=4"])
    old = made.changed(network={"project": None})
    save_weights(tmp_path / "w.safetensors", build_system(made), old)
    monkeypatch.setattr("jssr.recipes.project._BUILDERS", {})
    with pytest.raises(CheckpointError, match=r"'dirnet' is defined in projects/jrsnet/dirnet\.py"):
        load_system(tmp_path / "w.safetensors")
