"""What holds for every built-in recipe and its system."""

import pickle

import pytest
import torch

from jssr.recipes import RECIPES
from jssr.recipes.load import build_system
from jssr.training.optimisers import Average
from jssr.training.steps import check_fit


@pytest.mark.parametrize("name", [name for name in RECIPES if "compact" in name])
def test_every_weight_has_one_name_and_averaging_gives_it_back(name):
    plan = RECIPES[name]()
    torch.manual_seed(0)
    system = build_system(plan)
    check_fit(plan, system)
    tensors = [t for t in system.state_dict().values() if t.numel()]
    assert len({t.data_ptr() for t in tensors}) == len(tensors)
    first = {name: value.clone() for name, value in system.state_dict().items()}
    average = Average(system, 0.9)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.add_(1.0)
    live = {name: value.clone() for name, value in system.state_dict().items()}
    for _ in range(2):
        with average.applied():
            assert all(torch.equal(value, first[name]) for name, value in system.state_dict().items())
        assert all(torch.equal(value, live[name]) for name, value in system.state_dict().items())


@pytest.mark.parametrize("name", [name for name in RECIPES if "compact" in name])
def test_a_system_goes_to_another_process_whole(name):
    system = build_system(RECIPES[name]())
    again = pickle.loads(pickle.dumps(system))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in system.state_dict().items()}
