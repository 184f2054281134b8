"""Training on painted phantoms: `projects/painted.py`, `projects/body`, `projects/register`."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from project_files import project
from torch import nn

from jssr.core import field as ff
from jssr.phantom.regions import Tissue
from jssr.recipes.weights import load_system

painted = project("painted", "painted.py")
couples = project("couples", "couples.py")
body, register = project("body_train", "body/train.py"), project("register_train", "register/train.py")


def block() -> torch.Tensor:
    """A liver on the right and a spleen on the left of muscle."""
    codes = torch.full((60, 50, 200), int(Tissue.MUSCLE), dtype=torch.uint8)
    codes[5:28, 10:40] = int(Tissue.LIVER)
    codes[32:55, 10:40] = int(Tissue.SPLEEN)
    return codes


@pytest.fixture
def small(monkeypatch):
    """Small pictures and networks."""
    for module in (body, register):
        recipe = module.RECIPE
        monkeypatch.setattr(module, "RECIPE", recipe.changed(training={"patch": (32, 32, 32)}))
    monkeypatch.setattr(
        body, "network", lambda: body.VNet(18, (4, 6), (1, 1), 3, stem=2, head=4, leaky=True, shuffle=True)
    )
    levels = [[2, 1, 1, 1], [1, 1, 2, 1]]
    monkeypatch.setattr(
        register, "network", lambda finer=False: register.CostRegister([*levels, [1, 1, 1, 1]][: 3 if finer else 2], 4)
    )


def files(folder: Path) -> list[Path]:
    np.savez_compressed(folder / "000.npz", tissue=block().numpy())
    return [folder / "000.npz"]


def test_the_rate_rises_and_falls():
    plan = painted.Plan(steps=150, rate=1.0, warmup=50)
    assert plan.rate_at(0) == pytest.approx(0.02) and plan.rate_at(50) == pytest.approx(1.0)
    assert plan.rate_at(100) == pytest.approx(0.505) and plan.rate_at(150) == pytest.approx(0.01)


def test_a_run_that_is_resumed_ends_where_an_undisturbed_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(painted.Plan, "rate_at", lambda self, step: 0.01)
    seen = []

    def example(bodies, step):
        assert bodies[0].shape == block().shape
        return (torch.full((1, 1, 4, 4, 4), float(step)),)

    def loss_of(net, image):
        seen.append(float(image.mean()))
        return (net(image) - 1).square().mean()

    ends = {}
    for name, stops in (("whole", (4,)), ("resumed", (2, 4))):
        (tmp_path / name).mkdir()
        make = partial(painted.Examples, files(tmp_path), example)
        for steps in stops:
            torch.manual_seed(0)
            painted.train(tmp_path / name, nn.Conv3d(1, 1, 1), make, loss_of, painted.Plan(steps, 0.01))
        net = nn.Conv3d(1, 1, 1)
        assert painted.averaged(tmp_path / name, net) == 4
        ends[name] = net.weight.detach().clone()
    assert seen == [0, 1, 2, 3] * 2
    assert torch.equal(ends["whole"], ends["resumed"])
    assert [line.split(",")[0] for line in (tmp_path / "resumed" / "losses.csv").read_text().split()] == ["2", "4"]


def test_classes_of_a_picture_are_the_recipes_structures(small):
    for step in range(6):
        image, classes = body.picture([block()], step)
        assert image.shape == (1, *image.shape[1:]) and image.shape[2:] == classes.shape[1:]
        assert set(classes.unique().tolist()) <= {0, 1, 2}  # muscle is no structure


def test_the_loss_of_a_certain_and_right_segmentor_is_nothing_and_absent_classes_do_not_count():
    classes = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    classes[:, :2] = 3
    right = nn.functional.one_hot(classes, 18).movedim(-1, 1).float() * 50
    assert float(body.loss_of(lambda _: right, classes, classes)) < 1e-3
    flat = torch.zeros(1, 18, 4, 4, 4)
    # Cross-entropy log 18; dice of class 3: (2 * 32 / 18 + 1) / (64 / 18 + 32 + 1).
    by_hand = np.log(18) + 1 - (64 / 18 + 1) / (64 / 18 + 33)
    assert float(body.loss_of(lambda _: flat, classes, classes)) == pytest.approx(by_hand, abs=1e-4)


def test_the_segmentor_trains_and_is_exported(small, tmp_path):
    torch.manual_seed(0)
    make = partial(painted.Examples, files(tmp_path), body.picture)
    painted.train(tmp_path, body.network(), make, body.loss_of, painted.Plan(2, 1e-3))
    body.RECIPE = body.RECIPE.changed(
        network={
            "networks": {
                "S": {
                    "widths": [4, 6],
                    "convs": [1, 1],
                    "kernel": 3,
                    "stem": 2,
                    "head": 4,
                    "leaky": True,
                    "shuffle": True,
                }
            }
        }
    )
    body.export(tmp_path)
    system, recipe, header = load_system(tmp_path / "weights.safetensors", "segmentor")
    assert header["step"] == 2 and recipe.network.structures[0] == "liver"
    p = system.segment(torch.zeros(1, 1, 16, 16, 16))
    assert p.shape == (1, 18, 16, 16, 16) and torch.allclose(p.sum(dim=1), torch.ones(1, 16, 16, 16), atol=1e-4)


def test_errors_of_the_register_are_distances_from_the_truth(small):
    truth = torch.zeros(1, 3, 8, 8, 8)
    truth[:, 0], truth[:, 1] = 3.0, 4.0

    still = [torch.zeros(1, 3, 4, 4, 4)]
    errors = register.errors_of(still, torch.zeros(1, 2, 8, 8, 8), truth, torch.ones(1, 1, 8, 8, 8))
    assert float(errors[0]) == pytest.approx(5.0, abs=1e-2)  # voxels of the images, also on a grid half as fine


def test_the_register_pays_for_folds(small):
    class Folded(nn.Module):
        """Every fourth plane lies a voxel and a half too far: one cell in four is turned inside out by half a voxel."""

        def __init__(self, by):
            super().__init__()
            self.u = torch.zeros(1, 3, 9, 9, 9)
            self.u[:, 0, 1::4] = by

        def rounds(self, images):
            return [self.u]

    nothing = torch.zeros(1, 1, 9, 9, 9)  # a mask without a voxel: the errors are 0
    images, truth = torch.zeros(1, 2, 9, 9, 9), torch.zeros(1, 3, 9, 9, 9)
    assert float(register.loss_of(Folded(0.5), images, truth, nothing)) == 0.0
    # 2 of 8 cells along the axis have the determinant 1 - 1.5 = -0.5, which is 0.6 below the least.
    paid = float(register.loss_of(Folded(1.5), images, truth, nothing))
    assert paid == pytest.approx(register.FOLDS * 2 / 8 * 0.6, rel=1e-5)


def test_the_register_learns_from_a_pair(small):
    torch.manual_seed(0)
    net = register.network()
    example = register.pair([block()], 1)
    assert example[0].shape == (1, 2, 32, 32, 32) and example[1].shape == (1, 3, 32, 32, 32)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(8):
        loss = register.loss_of(net, *example)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_a_finer_level_is_begun_anew_and_left_out_of_what_is_kept(small):
    known, finer = register.network(), register.network(finer=True)
    with torch.no_grad():
        for p in known.parameters():
            p.add_(1.0)
    own = finer.weighers[2].state_dict()
    register.give(finer, known.state_dict())
    assert torch.equal(finer.sharpness[:2], known.sharpness) and len(finer.sharpness) == 3
    for level in range(2):
        for one, other in zip(finer.weighers[level].parameters(), known.weighers[level].parameters(), strict=True):
            assert torch.equal(one, other)
    assert all(torch.equal(v, own[k]) for k, v in finer.weighers[2].state_dict().items())
    again = register.network()
    register.give(again, finer.state_dict())
    assert all(torch.equal(v, known.state_dict()[k]) for k, v in again.state_dict().items())


@pytest.fixture
def real(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "train", register)
    return project("register_real", "register/real.py")


def test_a_real_pair_is_bent_by_the_field_that_is_to_be_found(real):
    def blob(seed: int) -> torch.Tensor:
        return ff.smooth(torch.randn(1, 1, 40, 36, 32, generator=torch.Generator().manual_seed(seed)), 3.0) * 5

    one = blob(0).clamp(-1, 1)
    known = [couples.Couple(one, one, torch.ones_like(one))]
    for step in range(4):
        images, truth, mask = real.example(known, step)
        moving, fixed = images[:, :1], images[:, 1:]
        inside = mask > 0
        before, after = ((i - fixed)[inside].abs().mean() for i in (moving, ff.warp(moving, truth)))
        assert after < 0.05 < before and inside.float().mean() > 0.1
    again = real.example(known, 0)
    assert torch.equal(again[0], real.example(known, 0)[0])


def test_a_real_pair_fits_the_registers_grids(real):
    one = torch.rand(1, 1, 18, 21, 19)
    images, truth, mask = real.example([couples.Couple(one, one, torch.ones_like(one))], 0)
    assert images.shape == (1, 2, 16, 20, 16) and truth.shape == (1, 3, 16, 20, 16) and mask.shape == (1, 1, 16, 20, 16)
    assert max(level.stride * level.pool for level in register.CostRegister().levels) == real.WHOLE


def test_every_second_step_is_painted_and_patients_are_dealt(real, tmp_path):
    one = torch.zeros(1, 1, 16, 16, 16)
    known = [couples.Couple(one, one, one + 1), block()]
    assert real.either(1, known, 0)[0].shape == (1, 2, 16, 16, 16)
    assert real.either(1, known, 1)[0].shape == (1, 2, 32, 32, 32)
    for name in ("STS_001", "STS_019", "STS_020"):
        (tmp_path / "sts_ctmr" / name).mkdir(parents=True)
    assert couples.patients(tmp_path) == ["STS_001", "STS_020"]


def test_a_scan_without_organs_costs_what_is_taken_for_one(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "train", body)
    real = project("body_real", "body/real.py")
    known = [torch.rand(1, 1, 16, 16, 16) * 2 - 1, block()]
    image, classes = real.example(1, known, 1)
    assert image.shape == (1, 1, 16, 16, 16) and image.abs().max() <= 1 and (classes == -1).all()
    assert real.example(1, known, 0)[1].min() >= 0
    logits = torch.zeros(1, 18, 16, 16, 16)
    by_hand = -np.log(3 / 18)  # background, pelvis and femurs are right
    assert float(real.loss_of(lambda _: logits, image, classes)) == pytest.approx(by_hand, abs=1e-5)
    logits[:, 17] = 20.0  # a femur
    assert float(real.loss_of(lambda _: logits, image, classes)) < 1e-4
    logits[:, 1] = 40.0  # a liver
    assert float(real.loss_of(lambda _: logits, image, classes)) == pytest.approx(20.0, abs=1e-3)
