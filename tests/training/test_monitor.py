from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest
import torch
from toy_system import Blobs, build, recipe

from jssr.metrics.warnings import copy_ratio
from jssr.systems.base import Alignment, Batch
from jssr.training.monitor import Monitor, figures, foreground_fraction, inspect, look, mean_displacement, problems

ALL = frozenset({"G", "Phi", "S", "D"})
MAKES = {"displacement": "Phi", "synthesised": "G", "segmentation": "S"}
PAIR = frozenset({"pair"})


def grey(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def test_copy_ratio_by_hand() -> None:
    moving, fixed = grey(0.0, 0.0, 0.0, 1.0), grey(1.0, 0.5, 0.0, 1.0)
    # |x - y| = 1.5 in all, |g - y| = 0.1 + 0.2.
    assert copy_ratio(grey(0.9, 0.3, 0.0, 1.0), moving, fixed) == pytest.approx(0.2)
    assert copy_ratio(fixed, moving, fixed) == 0.0
    assert copy_ratio(moving, moving, fixed) == 1.0
    # Outside the mask nothing counts: 0.2 of 0.5.
    assert copy_ratio(grey(9.0, 0.3, 0.0, 1.0), moving, fixed, grey(0, 1, 1, 1)) == pytest.approx(0.4)
    assert math.isnan(copy_ratio(fixed, fixed, fixed))


def test_mean_displacement_by_hand() -> None:
    tau = torch.zeros(1, 2, 2, 2)
    tau[0, :, 0, 0] = torch.tensor([3.0, 4.0])
    assert mean_displacement(tau) == pytest.approx(5 / 4)
    mask = torch.zeros(1, 1, 2, 2)
    mask[..., 0, :] = 1
    assert mean_displacement(tau, mask) == pytest.approx(5 / 2)


def test_foreground_fraction_by_hand() -> None:
    probabilities = torch.tensor([[0.6, 0.2, 0.1, 0.4], [0.3, 0.7, 0.1, 0.3], [0.1, 0.1, 0.8, 0.3]]).view(1, 3, 1, 4)
    assert foreground_fraction(probabilities) == 0.5


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        ({"copy_ratio": 0.04}, {"copies"}),
        ({"mean_displacement_voxels": 0.009}, {"still"}),
        ({"foreground_fraction": 0.0}, {"blank"}),
        ({"foreground_fraction": 1.0}, {"blank"}),
        ({"folded_percent": 6.0}, {"folds"}),
        ({"copy_ratio": math.nan}, {"nan"}),
        (
            {"copy_ratio": 0.3, "mean_displacement_voxels": 0.5, "foreground_fraction": 0.03, "folded_percent": 0.1},
            set(),
        ),
        ({}, set()),
    ],
)
def test_problems(found: dict[str, float], kinds: set[str]) -> None:
    assert set(problems(found)) == kinds


def collapsed(batch: Batch) -> Alignment:
    """A generator that copies y, a register that does nothing, a segmentor that sees nothing."""
    assert batch.fixed is not None
    blank = torch.cat([torch.ones_like(batch.fixed), torch.zeros_like(batch.fixed)], 1)
    tau = torch.zeros(1, 2, *batch.fixed.shape[2:])
    return Alignment(tau, batch.fixed.clone(), blank, blank)


def test_a_collapsed_system_is_seen() -> None:
    batch = Blobs().batch(0, PAIR)
    found = figures(collapsed(batch), batch, MAKES, ALL)
    assert found == {
        "mean_displacement_voxels": 0.0,
        "folded_percent": 0.0,
        "copy_ratio": 0.0,
        "foreground_fraction": 0.0,
    }
    assert set(problems(found)) == {"copies", "still", "blank"}


def test_one_blank_segmentor_of_two_is_seen() -> None:
    batch = Blobs().batch(0, PAIR)
    alignment = collapsed(batch)
    alignment.fixed_segmentation = alignment.fixed_segmentation.clone()
    alignment.fixed_segmentation[:, 1, 4:6] = 2.0  # what lies there is no background
    assert 0 < foreground_fraction(alignment.fixed_segmentation) < 0.5
    assert "blank" in problems(figures(alignment, batch, MAKES, ALL))
    alignment.moving_segmentation = alignment.fixed_segmentation
    assert "blank" not in problems(figures(alignment, batch, MAKES, ALL))


def test_what_is_not_trained_yet_is_not_judged() -> None:
    batch = Blobs().batch(0, PAIR)
    assert set(figures(collapsed(batch), batch, MAKES, frozenset({"S"}))) == {"foreground_fraction"}
    assert set(figures(collapsed(batch), batch, MAKES, frozenset({"Phi"}))) == {
        "mean_displacement_voxels",
        "folded_percent",
    }


def test_the_same_image_twice_accuses_nobody() -> None:
    batch = Blobs().batch(0, PAIR)
    batch.moving = batch.fixed
    assert set(problems(figures(collapsed(batch), batch, MAKES, ALL))) == {"blank"}


def test_folds_are_counted() -> None:
    batch = Blobs().batch(0, PAIR)
    alignment = collapsed(batch)
    alignment.displacement[0, 0, 6:] = -3.0  # between rows 5 and 6 (one of 11 rows of cells) the map runs back
    assert figures(alignment, batch, MAKES, ALL)["folded_percent"] == pytest.approx(100 / 11)


def test_inspect_restores_modes_and_takes_no_gradient() -> None:
    system = build(recipe().network.networks, {}, 2)
    system.S.eval()
    batch = Blobs().batch(0, PAIR)
    found = inspect(system, batch, ALL)
    assert set(found) == {"mean_displacement_voxels", "folded_percent", "copy_ratio", "foreground_fraction"}
    assert system.G.training and not system.S.training
    assert not look(system, batch).displacement.requires_grad
    assert set(inspect(system, Blobs().batch(0, frozenset({"supervised"})), ALL)) == {"foreground_fraction"}
    assert inspect(system, Blobs().batch(0, frozenset({"supervised"})), frozenset({"G"})) == {}


def test_warns_once_and_only_when_it_lasts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monitor = Monitor(tmp_path / "warnings.json", patience=3)
    copies, fine = {"copy_ratio": 0.01}, {"copy_ratio": 0.5}
    with caplog.at_level(logging.WARNING):
        for step, found in enumerate([copies, copies, fine, copies, copies]):
            monitor.update(step, found)
        assert not caplog.records and not (tmp_path / "warnings.json").exists()
        for step in (5, 6, 7):
            monitor.update(step, copies)
        monitor.update(8, {"mean_displacement_voxels": math.inf})
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["step 5", "step 8"]
    said = json.loads((tmp_path / "warnings.json").read_text())
    assert [(warning["kind"], warning["step"]) for warning in said] == [("copies", 5), ("nan", 8)]
    resumed = Monitor(tmp_path / "warnings.json")
    resumed.resume(step=6)
    assert [warning["kind"] for warning in resumed.warnings] == ["copies"]
