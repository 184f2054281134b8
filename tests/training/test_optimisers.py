from __future__ import annotations

import math

import pytest
import torch
from toy_system import build, recipe

from jssr.systems.base import named_tensors
from jssr.training.optimisers import Average, make_optimiser, schedule_factor, set_rates


def test_schedules_by_hand() -> None:
    # 14 steps, 4 of them warm-up: the other 10 fall from 1.
    cosine = recipe(schedule="cosine", warmup_steps=4)
    assert [schedule_factor(cosine.training, step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert schedule_factor(cosine.training, 4) == 1.0
    assert schedule_factor(cosine.training, 9) == pytest.approx(0.5)
    assert schedule_factor(cosine.training, 13) == pytest.approx(0.5 * (1 - 0.9510565), abs=1e-6)  # cos 0.9 pi
    poly = recipe(schedule="poly", warmup_steps=4)
    assert schedule_factor(poly.training, 9) == pytest.approx(0.5358867, abs=1e-6)  # 0.5 ** 0.9
    assert schedule_factor(recipe(schedule="constant", warmup_steps=0).training, 13) == 1.0


def test_a_schedule_by_part_counts_the_stages_that_train_it() -> None:
    settings = recipe(schedule="cosine", warmup_steps=0, schedule_by="network")
    trained = {part: [stage for stage in settings.training.stages if part in stage.networks] for part in ("G", "S")}
    for part, stages in trained.items():
        whole, before = sum(stage.steps for stage in stages), 0
        for stage in stages:
            first = settings.training.first_step(stage)
            assert schedule_factor(settings.training, first, part) == pytest.approx(
                0.5 * (1 + math.cos(math.pi * before / whole))
            )
            before += stage.steps
    by_run = recipe(schedule="cosine", warmup_steps=0)
    assert schedule_factor(by_run.training, 7, "S") == schedule_factor(by_run.training, 7)


def test_rates_are_per_part_and_stage() -> None:
    settings = recipe(schedule="constant", warmup_steps=0)
    optimiser = make_optimiser(settings.training, build(settings.network.networks, {}, 2))

    def rates() -> dict[str, float]:
        return {group["network"]: group["lr"] for group in optimiser.param_groups}

    set_rates(optimiser, settings.training, settings.training.stages[1], 5)
    assert rates() == {"G": 1e-2, "Phi": 1e-2, "S": 0.0, "D": 1e-3}
    set_rates(optimiser, settings.training, settings.training.stages[2], 9)
    assert rates()["S"] == 1e-3


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_a_part_without_gradients_neither_moves_nor_ages(kind: str) -> None:
    settings = recipe(optimiser=kind, schedule="constant", warmup_steps=0, weight_decay=0.1)
    system = build(settings.network.networks, {}, 2)
    optimiser = make_optimiser(settings.training, system)
    set_rates(optimiser, settings.training, settings.training.stages[2], 0)
    system.D.weight.square().sum().backward()
    before = {name: value.clone() for name, value in system.state_dict().items()}
    optimiser.step()
    for name, value in system.state_dict().items():
        assert torch.equal(value, before[name]) == (name != "D.weight")
    assert set(optimiser.state) == {system.D.weight}


def test_average_by_hand_and_swap() -> None:
    settings = recipe()
    system = build(settings.network.networks, {}, 2)
    bias = system.D.bias
    assert bias is not None
    with torch.no_grad():
        bias.fill_(0.0)
        average = Average(system, decay=0.2)
        # First update keeps min(0.2, 2/11) = 0.1818..., the later ones 0.2 (3/12 is above it).
        bias.fill_(11.0)
        average.update(("D",))
        assert average.tensors["D.module.bias"].item() == pytest.approx(9.0)
        bias.fill_(4.0)
        average.update(("D",))
    assert average.tensors["D.module.bias"].item() == pytest.approx(0.2 * 9 + 0.8 * 4)
    assert {name: int(one.n_averaged) for name, one in average.networks.items()} == {"G": 1, "Phi": 1, "S": 1, "D": 3}
    with average.applied():
        assert bias.item() == pytest.approx(5.0)
    assert bias.item() == 4.0 and average.tensors["D.module.bias"].item() == pytest.approx(5.0)
    average.settle()
    assert bias.item() == pytest.approx(5.0)


def test_named_tensors_are_the_parts_own() -> None:
    system = build(recipe().network.networks, {}, 2)
    assert list(named_tensors(system, ("D",))) == ["D.weight", "D.bias"]
    assert named_tensors(system, ("D",))["D.bias"].data_ptr() == system.D.bias.data_ptr()  # type: ignore[union-attr]
