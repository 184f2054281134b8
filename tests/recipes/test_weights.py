"""Weights files whose header does not say what it should: one line, and no memory for what it claims."""

from __future__ import annotations

import json
import struct

import pytest
from tiny_jssr import tiny_recipe, tiny_weights

import jssr
from jssr.errors import CheckpointError, RecipeError
from jssr.recipes.load import build_system
from jssr.recipes.weights import load_system, read_info


def changed(folder, change):
    """Tiny weights whose header of `jssr` was changed, with the lengths set right."""
    path = tiny_weights(folder)
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    ours = json.loads(header["__metadata__"]["jssr"])
    change(ours)
    header["__metadata__"]["jssr"] = json.dumps(ours)
    made = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(made)) + made + data[8 + length :])
    return path


@pytest.mark.parametrize("networks", [True, "G", [1], {"G": 1}])
def test_networks_that_are_no_names(tmp_path, networks):
    path = changed(tmp_path, lambda header: header.update(networks=networks))
    with pytest.raises(CheckpointError, match="no valid header"):
        read_info(path)


def test_a_recipe_that_is_none_is_refused_by_info_too(tmp_path):
    path = changed(tmp_path, lambda header: header["recipe"].update(preprocessing=True))
    for read in (jssr.info, load_system):
        with pytest.raises(CheckpointError, match="tiny.safetensors: its recipe cannot be used"):
            read(path)


@pytest.mark.parametrize(
    ("widths", "says"), [([-1, 4], "cannot be built"), ([10**6, 10**6], "parameters, expected at most")]
)
def test_widths_that_no_network_has(tmp_path, widths, says):
    path = changed(tmp_path, lambda header: header["recipe"]["network"]["networks"]["Phi"].update(widths=widths))
    with pytest.raises(CheckpointError, match=says):
        load_system(path)
    recipe = tiny_recipe()
    networks = {**recipe.network.networks, "Phi": {**recipe.network.networks["Phi"], "widths": widths}}
    with pytest.raises(RecipeError, match=says):
        build_system(recipe.model_copy(update={"network": recipe.network.model_copy(update={"networks": networks})}))
