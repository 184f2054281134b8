from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor, nn
from toy_system import Blobs, Toy, build, recipe

from jssr.errors import TrainingError
from jssr.recipes.config import Recipe, Stage, Training
from jssr.systems.base import Alignment, Batch, System, Terms
from jssr.training.optimisers import make_optimiser
from jssr.training.steps import NotFinite, Stepper, check_fit


class Number(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))


class Duel(System):
    """Two numbers: the critic minimises (D - G)^2, the main group G D and, if weighed, G^2."""

    networks = ("G", "D")

    def __init__(self) -> None:
        super().__init__()
        self.G, self.D = Number(2.0), Number(1.0)
        self.called: list[str] = []

    def term(self, name: str, value: Tensor) -> Tensor:
        self.called.append(name)
        return value

    def losses(self, batch: Batch, group: str) -> Terms:
        g, d = self.G.value, self.D.value
        if group == "critic":
            return {"critic": lambda: self.term("critic", (d - g).square())}
        return {"product": lambda: self.term("product", g * d), "square": lambda: self.term("square", g * g)}

    def align(self, *_: Any) -> Alignment:
        raise NotImplementedError


def duel(
    weights: dict[str, float], clip: float | None = None, clip_by: Any = "group", **train: tuple[str, ...]
) -> tuple[Duel, Stepper, Stage]:
    stage = Stage(
        name="s", steps=2, train=train or {"critic": ("D",), "main": ("G",)}, weights={"critic": 1.0, **weights}
    )
    settings = Training(
        stages=(stage,),
        learning_rates={"G": 0.1, "D": 0.25},
        optimiser="sgd",
        betas=(0.0, 0.9),
        clip=clip,
        clip_by=clip_by,
    )
    system = Duel()
    return system, stepper_of(settings, system), stage


def stepper_of(settings: Training, system: System, scaler: torch.amp.GradScaler | None = None) -> Stepper:
    plugins = [] if scaler is None else [MixedPrecision("16-mixed", "cpu", scaler)]
    fabric = Fabric(accelerator="cpu", devices=1, plugins=plugins)
    fabric.launch()
    return Stepper(fabric, settings, system, make_optimiser(settings, system), None)


def test_groups_alternate_as_by_hand() -> None:
    system, play, stage = duel({"product": 3.0})
    figures = play.step(0, stage, [Batch()])
    # Critic first: dD = 2 (1 - 2) = -2, D = 1 + 0.25 * 2 = 1.5. Then main sees the new D: dG = 3 * 1.5, G = 2 - 0.45.
    assert system.D.value.item() == pytest.approx(1.5)
    assert system.G.value.item() == pytest.approx(1.55)
    assert figures == {
        "critic/critic": pytest.approx(1.0),
        "critic/grad_norm": pytest.approx(2.0),
        "main/product": pytest.approx(3.0),
        "main/grad_norm": pytest.approx(4.5),
    }
    assert system.called == ["critic", "product"]  # the square has no weight and is never computed
    play.step(1, stage, [Batch()])
    # dD = 2 (1.5 - 1.55) = -0.1, D = 1.525; dG = 4.575, G = 1.55 - 0.4575.
    assert system.D.value.item() == pytest.approx(1.525)
    assert system.G.value.item() == pytest.approx(1.0925)


def test_clipping_is_of_one_players_norm() -> None:
    system, play, stage = duel({"product": 3.0, "square": 1.0}, clip=1.0)
    figures = play.step(0, stage, [Batch()])
    # D: gradient -2 clipped to -1, D = 1.25. G: 3 * 1.25 + 2 * 2 = 7.75 clipped to 1, G = 1.9.
    assert figures["main/grad_norm"] == pytest.approx(7.75)
    assert system.D.value.item() == pytest.approx(1.25, abs=1e-5)
    assert system.G.value.item() == pytest.approx(1.9, abs=1e-5)


def test_clipping_by_network_holds_none_back_for_another() -> None:
    """G and D are one group. The gradients of 0.5 G D + G^2 are 0.5 * 1 + 2 * 2 = 4.5 for G and 0.5 * 2 = 1 for D."""
    weights = {"product": 0.5, "square": 1.0, "critic": 0.0}
    together, play, stage = duel(weights, 1.5, main=("G", "D"))
    norm = play.step(0, stage, [Batch()])["main/grad_norm"]
    assert norm == pytest.approx((4.5**2 + 1) ** 0.5)
    assert together.D.value.item() == pytest.approx(1 - 0.25 * 1.5 / norm, abs=1e-5)
    apart, play, stage = duel(weights, 1.5, "network", main=("G", "D"))
    assert play.step(0, stage, [Batch()])["main/grad_norm"] == pytest.approx(norm)
    assert apart.D.value.item() == pytest.approx(1 - 0.25, abs=1e-5)  # 1 is below 1.5: as it is
    assert apart.G.value.item() == pytest.approx(2 - 0.1 * 1.5, abs=1e-5)


def test_two_batches_are_one_of_their_mean() -> None:
    system, play, stage = duel({"product": 3.0})
    figures = play.step(0, stage, [Batch(), Batch()])  # the same twice: the mean is what one gives
    assert system.G.value.item() == pytest.approx(1.55)
    assert figures["main/product"] == pytest.approx(3.0)


def test_one_forward_pass_serves_both_players_and_no_more() -> None:
    settings = recipe()
    system = build(settings.network.networks, {}, 2)
    play = stepper_of(settings.training, system)
    batch = Blobs().batch(0, frozenset({"pair"}))
    play.step(4, settings.training.stages[1], [batch])
    assert system.generated == 1
    assert batch.memo == {}


def test_parts_of_no_player_stand_still_and_are_in_evaluation_mode() -> None:
    settings = recipe()
    system = build(settings.network.networks, {}, 2)
    before = {name: value.clone() for name, value in system.state_dict().items()}
    play = stepper_of(settings.training, system)
    play.step(4, settings.training.stages[1], [Blobs().batch(0, frozenset({"pair"}))])
    changed = {
        name.split(".")[0] for name, value in system.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"G", "Phi", "D"}
    assert not system.S.training and system.G.training
    # After the critic's update nothing asks for D's gradients any more.
    assert not system.D.weight.requires_grad and system.G[0].weight.requires_grad


def test_fresh_optimisers_forget_at_the_start_of_the_stage_only() -> None:
    settings = recipe()
    stages = (*settings.training.stages[:2], settings.training.stages[2].model_copy(update={"fresh_optimisers": True}))
    settings = settings.changed(training={"stages": stages})
    system = build(settings.network.networks, {}, 2)
    play = stepper_of(settings.training, system)
    everything = frozenset({"pair", "supervised"})
    ages = []
    for step, stage in ((7, stages[1]), (8, stages[1]), (9, stages[2]), (10, stages[2])):
        play.step(step, stage, [Blobs().batch(step, everything)])
        ages.append(int(play.optimiser.state[system.D.weight]["step"]))
    assert ages == [1, 2, 1, 2]


def test_dropout_depends_on_the_step_and_not_on_the_past() -> None:
    def sup(step: int, noise: int) -> float:
        settings = recipe()
        system = build(settings.network.networks, {}, 2)
        torch.manual_seed(noise)
        batch = Blobs().batch(0, frozenset({"supervised"}))
        return stepper_of(settings.training, system).step(step, settings.training.stages[0], [batch])["main/sup"]

    assert sup(0, noise=1) == sup(0, noise=2) != sup(1, noise=1)


@pytest.mark.parametrize(("g", "words"), [(float("inf"), "the loss term product is not finite")])
def test_a_loss_that_is_not_finite_is_named(g: float, words: str) -> None:
    system, play, stage = duel({"product": 3.0}, main=("G",))
    system.G.value.data.fill_(g)
    with pytest.raises(NotFinite, match=f"step 1, stage s, optimiser group main: {words}"):
        play.step(0, stage, [Batch()])


def test_a_gradient_that_is_not_finite_is_told() -> None:
    settings = recipe()
    system = build(settings.network.networks, {}, 2)
    batch = Blobs().batch(0, frozenset({"supervised"}))
    system.S[2].weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NotFinite, match="group main: the gradient is not finite"):
        stepper_of(settings.training, system).step(0, settings.training.stages[0], [batch])


def test_an_overflow_under_the_fp16_scale_costs_one_update() -> None:
    system, play, stage = duel({"product": 3.0})
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    play = stepper_of(play.training, system, scaler)
    overflow = system.G.value.register_hook(lambda gradient: gradient * float("inf"))
    figures = play.step(0, stage, [Batch()])
    assert figures["main/grad_norm"] == float("inf")
    assert system.G.value.item() == 2.0 and system.D.value.item() == pytest.approx(1.5)
    assert scaler.get_scale() == 32.0
    overflow.remove()
    figures = play.step(1, stage, [Batch()])
    # dD = 2 (1.5 - 2), D = 1.75; dG = 3 * 1.75, G = 2 - 0.525: the scale is out of every number.
    assert figures["main/grad_norm"] == pytest.approx(5.25)
    assert system.D.value.item() == pytest.approx(1.75) and system.G.value.item() == pytest.approx(1.475)


def test_endless_overflow_is_an_error() -> None:
    system, play, stage = duel({"product": 3.0}, main=("G",))
    play = stepper_of(play.training, system, torch.amp.GradScaler("cpu"))
    system.G.value.data.fill_(float("nan"))
    with pytest.raises(NotFinite, match="step 21, .* the gradient is not finite"):
        system.G.value.register_hook(lambda gradient: gradient * float("nan"))
        for step in range(99):
            play.step(step, stage, [Batch()])


def test_terms_that_move_nothing_are_an_error() -> None:
    system, play, stage = duel({"product": 3.0}, critic=("D",))
    system.losses = lambda batch, group: {"critic": lambda: system.G.value * 1.0}  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match="do not depend on the networks"):
        system.G.value.requires_grad_(True)
        play.update(0, stage, "critic", [Batch()])


def refit(**changes: object) -> tuple[Recipe, Toy]:
    settings = recipe()
    stage = settings.training.stages[1].model_copy(update=changes)
    training = settings.training.model_copy(update={"stages": (stage,)})  # unchecked, as a misfit must be
    settings = settings.model_copy(update={"training": training})
    return settings, build(settings.network.networks, {}, 2)


def test_check_fit_lists_the_figures() -> None:
    assert check_fit(*refit()) == ["critic/critic", "critic/grad_norm", "main/gan", "main/reg", "main/grad_norm"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": {"critic": 1.0, "rge": 1.0, "gan": 1.0}}, "unknown term 'rge'; did you mean 'reg'"),
        ({"weights": {"reg": 1.0}}, "weights no term of group 'critic'; known: critic"),
        ({"train": {"main": ("G", "Phy")}, "weights": {"reg": 1.0}}, "'Phy', which toy lacks; did you mean 'Phi'"),
    ],
)
def test_check_fit_finds_misfits_before_computing(changes: dict[str, object], words: str) -> None:
    settings, system = refit(**changes)
    with pytest.raises(TrainingError, match=words.replace("?", r"\?")):
        check_fit(settings, system)
    assert system.generated == 0
