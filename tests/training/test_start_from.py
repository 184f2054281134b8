import pytest
import torch
from tiny_jssr import tiny_recipe, tiny_weights

from jssr.errors import CheckpointError
from jssr.recipes.load import build_system
from jssr.training.checkpoint import start_from


def test_parts_of_the_same_name_begin_with_the_weights(tmp_path):
    weights = tiny_weights(tmp_path)
    stage = {"name": "a", "steps": 1, "train": {"main": ["Phi"]}, "weights": {"reg": 1}}
    networks, rates = {"Phi": tiny_recipe().network.networks["Phi"]}, {"Phi": 1e-3}
    part = tiny_recipe(networks=networks, structures=(), stages=(stage,), learning_rates=rates)
    torch.manual_seed(9)
    system, alone = build_system(tiny_recipe()), build_system(part)
    assert start_from(system, weights, ("liver", "spleen")) == list(system.networks)
    before = {name: value.clone() for name, value in alone.state_dict().items()}
    assert start_from(alone, weights, ()) == ["Phi"]
    now = alone.state_dict()
    assert any(not torch.equal(now[name], value) for name, value in before.items())
    assert all(torch.equal(now[name], system.state_dict()[name]) for name in now)


def test_a_segmentor_of_other_structures_is_refused(tmp_path):
    weights = tiny_weights(tmp_path)
    with pytest.raises(
        CheckpointError, match="its segmentor knows liver, spleen, the recipe's structures are liver, aorta"
    ):
        start_from(build_system(tiny_recipe()), weights, ("liver", "aorta"))


def test_a_register_that_was_shown_other_costs_is_refused(tmp_path):
    phi = {part: {"width": 4, "blocks": 1} for part in ("Phi1", "Phi2", "Phi3")}
    stage = {"name": "a", "steps": 1, "train": {"register": list(phi)}, "weights": {"sim3": 1}}
    same = {
        "system": "macjnet", "networks": phi, "structures": (), "stages": (stage,),
        "learning_rates": dict.fromkeys(phi, 1e-3),
    }  # fmt: skip

    def macmind(distance):
        return {"similarity": "macmind", "settings": {"distance": distance}, "costs": "macmind"}

    by_mi, by_mac = {"similarity": "mi", "costs": "mind-ssc"}, macmind(1)
    for options, others in ((by_mi, macmind(1)), (by_mac, by_mi), (by_mac, macmind(2))):
        system = build_system(tiny_recipe(**same, options=options))
        weights = tiny_weights(tmp_path, **same, options=others)
        with pytest.raises(CheckpointError, match="its Phi1 was shown costs of another descriptor"):
            start_from(system, weights, ())
        alike = tiny_weights(tmp_path, **same, options={**options, "carried": True})
        assert start_from(system, alike, ()) == list(phi)


def test_other_shapes_and_other_parts_are_refused(tmp_path):
    weights = tiny_weights(tmp_path)
    networks = {**tiny_recipe().network.networks, "Phi": {"widths": [6, 4], "convs": [1, 1]}}
    with pytest.raises(CheckpointError, match="its Phi has another shape"):
        start_from(build_system(tiny_recipe(networks=networks)), weights, ("liver", "spleen"))
    other = build_system(
        tiny_recipe(
            system="dual", networks={"M": {"widths": [2, 2, 2]}}, structures=(), learning_rates={"M": 1e-3},
            stages=({"name": "a", "steps": 1, "train": {"main": ["M"]}, "weights": {"size": 1}},),
        )
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="has the networks G, Phi, S, none of M"):
        start_from(other, weights, ())
