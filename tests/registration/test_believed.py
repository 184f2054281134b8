"""Which structures are believed."""

import pytest
import torch

from jssr.core.grid import Grid
from jssr.recipes.config import Inference
from jssr.registration.believed import believed

GRID = Grid.of((10, 10, 10), (10.0, 10.0, 10.0))  # a voxel is 1 ml
NAMES = {1: "liver", 2: "spleen"}


def made(**boxes: tuple[slice, float]) -> torch.Tensor:
    """Probabilities: liver and spleen in a cube each, at a confidence."""
    p = torch.zeros(1, 3, 10, 10, 10)
    p[:, 0] = 1.0
    for k, name in NAMES.items():
        if name in boxes:
            where, confidence = boxes[name]
            rest = (1 - confidence) * torch.tensor([0.6, 0.4, 0.4])
            p[0, :, where, where, where] = rest.view(3, 1, 1, 1)
            p[0, k, where, where, where] = confidence
    return p


def believe(p: torch.Tensor, **limits: object):
    return believed(p, GRID, torch.ones(1, 1, 10, 10, 10), NAMES, Inference(**limits))


def test_without_limits_everything_is_believed():
    p = made(liver=(slice(2, 4), 0.5), spleen=(slice(6, 8), 0.5))
    found = believe(p)
    assert torch.equal(found.probabilities, p) and not found.taken_back and not found.warnings("a")


def test_a_small_whole_structure_is_taken_back_and_told():
    found = believe(made(liver=(slice(2, 4), 0.8), spleen=(slice(5, 9), 0.8)), least_ml={"liver": 9.0, "spleen": 9.0})
    labels = found.probabilities[0].argmax(dim=0)
    assert set(labels.unique().tolist()) == {0, 2} and int((labels == 2).sum()) == 64
    assert "8 ml" in found.taken_back["liver"] and "liver (8 ml, at least 9 expected)" in found.warnings("a")[0]
    assert not found.nothing


def test_a_small_structure_at_the_border_may_go_on_beyond_it():
    found = believe(made(liver=(slice(0, 2), 0.8)), least_ml={"liver": 9.0})
    assert not found.taken_back
    found = believe(made(liver=(slice(0, 2), 0.8)), least_ml={"liver": 45.0})  # 8 ml are less than a fifth
    assert "8 ml, at least 9 expected" in found.taken_back["liver"]
    data = torch.ones(1, 1, 10, 10, 10)
    data[..., 5:] = 0  # the scan ends in the middle of the grid
    inner = made(liver=(slice(3, 5), 0.8))
    assert not believed(inner, GRID, data, NAMES, Inference(least_ml={"liver": 9.0})).taken_back


def test_what_the_network_doubts_is_taken_back_at_any_size_and_goes_to_no_other_structure():
    found = believe(made(liver=(slice(0, 8), 0.44)), least_confidence=0.5)
    assert "probability 0.440" in found.taken_back["liver"]
    assert found.nothing and (found.probabilities[0].argmax(dim=0) == 0).all()
    assert any("Unknown: leg.nii shows nothing" in w for w in found.warnings("leg.nii"))


def test_limits_name_structures_of_the_recipe():
    from jssr.recipes.config import Network, Recipe

    with pytest.raises(ValueError, match="'ear' is none of the structures"):
        Recipe(
            name="x",
            network=Network(system="discrete", structures=("liver",)),
            inference=Inference(least_ml={"ear": 1}),
        )
