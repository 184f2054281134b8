import numpy as np
import pytest

from jssr.core.grid import Grid
from jssr.core.volume import volume_of
from jssr.recipes.shipped import SHIPPED, WEIGHTS, shipped_weights, weights_at
from jssr.registration import model as subject
from jssr.registration.model import aligning_model, load_model, segmenting_model


def scan(shape):
    return volume_of(np.arange(np.prod(shape), dtype=np.float32).reshape(shape), Grid.of(shape))


@pytest.mark.parametrize("system", SHIPPED)
def test_what_ships_is_there_with_its_card(system):
    path = shipped_weights(system)
    assert path.with_suffix(".md").is_file()
    for found in (load_model(system), load_model(checkpoint=system)):
        assert found.recipe.network.system == found.header["system"] == system
        assert found.source == f"shipped {path.name}"


@pytest.mark.parametrize("name", sorted(path.stem for path in WEIGHTS.glob("*.safetensors")))
def test_weights_that_ship_have_a_card_and_go_by_their_name(name):
    assert weights_at(name).with_suffix(".md").is_file()
    found = load_model(checkpoint=name)
    assert found.recipe.name == name and found.source == f"shipped {name}.safetensors"
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 16e6


@pytest.mark.parametrize(
    ("shape", "given", "taken"),
    [
        ((4, 4, 4), (None, None), ("segmentor", None)),
        ((4, 4), (None, None), ("jrsnet", None)),
        ((4, 4), ("jssr", None), ("jssr", None)),
        ((4, 4), (None, "run"), (None, "run")),
    ],
)
def test_a_single_scan_is_labelled_by_what_knows_its_kind(shape, given, taken, monkeypatch):
    monkeypatch.setattr(subject, "load_model", lambda system, checkpoint, *_: (system, checkpoint))
    assert segmenting_model(scan(shape), *given) == taken


@pytest.mark.parametrize(
    ("given", "taken"),
    [((None, None), ("discrete", None)), (("jssr", None), ("jssr", None)), ((None, "run"), (None, "run"))],
)
def test_a_pair_is_aligned_by_what_was_chosen_and_else_without_training(given, taken, monkeypatch):
    monkeypatch.setattr(subject, "load_model", lambda system, checkpoint, *_: (system, checkpoint))
    assert aligning_model(*given) == taken
