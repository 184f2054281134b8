"""Known motion of real scans: the map is exact, landmarks follow it, and a shift between two scans is found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from known_motion import Motion, lattice, moved_scan, nmi, residual  # noqa: E402

from jssr.core.grid import Grid  # noqa: E402
from jssr.core.volume import Volume  # noqa: E402

GRID = Grid.of((40, 36, 30), (2.0, 2.0, 3.0), (-40.0, -30.0, -45.0))


def blobs(grid, shift=0.0, seed=0):
    """Soft blobs in a body, values about 0 to 200."""
    rng = np.random.default_rng(seed)
    at = grid.world(np.stack(np.meshgrid(*[np.arange(s) for s in grid.shape], indexing="ij"), axis=-1)) - shift
    data = np.zeros(grid.shape)
    for centre, value in zip(rng.uniform(-25, 25, (20, 3)), rng.uniform(20, 150, 20), strict=True):
        data += value * np.exp(-((at - centre) ** 2).sum(axis=-1) / 128)
    return Volume(torch.from_numpy(data.astype(np.float32))[None], grid)


def test_a_moved_ramp_is_the_map_itself():
    # Of a scan whose value is its x coordinate, the moved scan holds the x of where each point comes from.
    x = np.broadcast_to((np.arange(40) * 2.0 - 40)[:, None, None], GRID.shape).astype(np.float32)
    ramp = Volume(torch.from_numpy(x.copy())[None], GRID)
    away = Motion(2.0, 12.0, 1.0, 2.0).draw(ramp, -1e9, np.random.default_rng(0))
    inner = GRID.cropped([8] * 3, [s - 16 for s in GRID.shape])
    moved = moved_scan(ramp, inner, away, 0.0, np.random.default_rng(0))
    index = np.stack(np.meshgrid(*[np.arange(s) for s in inner.shape], indexing="ij"), axis=-1)
    assert np.allclose(moved.array, away(inner.world(index))[..., 0], atol=0.02)


def test_the_bend_has_the_length_that_was_asked_for():
    body = blobs(GRID)
    bend = Motion(3.0, 10.0).draw(body, 20.0, np.random.default_rng(1))
    vectors = bend.millimetres()[np.asarray(body.array) > 20.0]
    assert np.sqrt((vectors**2).sum(-1).mean()) == pytest.approx(3.0, rel=1e-3)
    assert np.abs(vectors.mean(axis=0)).max() < 1e-3  # and no shift


def test_landmarks_are_where_the_map_leads():
    scan = blobs(GRID)
    away = Motion(3.0, 15.0).draw(scan, 20.0, np.random.default_rng(2))
    fixed, moving = lattice(scan, scan, GRID, away, (20.0, 20.0))
    assert len(fixed.names) > 20 and fixed.names == moving.names
    assert np.allclose(away(moving.xyz), fixed.xyz)
    assert np.ptp(moving.xyz[:, 0] % 12.0) < 1e-6  # every 12 mm


@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_a_shift_between_two_scans_is_found(shift, monkeypatch):
    monkeypatch.setattr("known_motion.POINTS", 4000)
    moving = blobs(GRID, np.array([shift, 0.0, 0.0]))
    darker = moving.with_data(300.0 - moving.data)  # another contrast
    assert residual(blobs(GRID), darker, (0.0, 250.0)) == pytest.approx(shift, abs=0.7)


def test_mutual_information_by_hand():
    a = np.repeat([0.0, 1.0], 50)
    spans = ((0.0, 1.0), (0.0, 1.0))
    assert nmi(a, 1 - a, spans) == pytest.approx(2.0)  # each tells the other
    assert nmi(a, np.tile([0.0, 1.0], 50), spans) == pytest.approx(1.0)  # independent
