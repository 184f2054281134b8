from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.phantom.inverse import solve_inverse
from jssr.phantom.motion import Motion, MotionRanges, draw_breaths, make_motion, make_sliding, still

ANCHOR = Grid.of((64, 52, 36), (6.0, 5.6, 7.0), (-189.0, -143.0, -122.0))
PADDED = ANCHOR.cropped((-2, -2, -7), (68, 56, 50))
STILL_OTHERWISE = MotionRanges(smooth=(0.0, 0.0), shift=0.0, turn=0.0, moved_share=0.0)


def world(grid: Grid) -> NDArray[np.float64]:
    return grid.world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1))


@pytest.fixture(scope="module")
def motion(coarse_toy) -> Motion:  # type: ignore[no-untyped-def]
    sliding = make_sliding(coarse_toy.grid, coarse_toy.cavity_depth, coarse_toy.mobility)
    return make_motion(np.random.default_rng(3), sliding, PADDED, -18.0)


def test_breathing_moves_the_liver_and_not_the_wall(coarse_toy) -> None:  # type: ignore[no-untyped-def]
    sliding = make_sliding(coarse_toy.grid, coarse_toy.cavity_depth, coarse_toy.mobility)
    motion = make_motion(np.random.default_rng(0), sliding, PADDED, -12.0, STILL_OTHERWISE)
    # A fully mobile point deep inside travels the whole breath down, a part of it forwards; spine and flank stay.
    inside, spine, flank = np.array([[-60.0, -30, 0], [0, 75, 0], [-165, 0, 0]])
    assert motion(inside)[2] - inside[2] == pytest.approx(-12, abs=0.6)
    assert -6.0 < motion(inside)[1] - inside[1] < -1.0
    assert abs(motion(spine)[2] - spine[2]) < 3.0
    assert abs(motion(flank)[2] - flank[2]) < 0.1


def test_slides_within_a_centimetre_of_the_wall(toy) -> None:  # type: ignore[no-untyped-def]
    sliding = make_sliding(toy.grid, toy.cavity_depth, toy.mobility, layer=9.0)
    motion = make_motion(np.random.default_rng(0), sliding, PADDED, -12.0, STILL_OTHERWISE)
    # The wall is at x = -0.82 * 170 = -139.4: at y = z = 0 almost all of the step lies within 14 mm about it.
    line = np.array([[-150.0, 0, 0], [-123.0, 0, 0]])
    step = motion(line)[:, 2] - line[:, 2]
    assert abs(step[0]) < 2.0
    assert step[1] < -9.0


def test_no_fold(motion: Motion) -> None:
    assert float(ff.jacobian_determinant(motion.forward.u[None]).min()) > 0.05


def test_inverse_undoes_the_motion(motion: Motion, coarse_toy) -> None:  # type: ignore[no-untyped-def]
    scan = Grid.of((60, 50, 32), (6.2, 5.5, 7.3), (-184.0, -137.0, -110.0))
    at = motion.pull(scan, coarse_toy.grid)
    origin = coarse_toy.grid.world(np.moveaxis(at[0].numpy(), 0, -1))
    inside = coarse_toy.grid.contains(origin)
    assert inside.mean() > 0.8
    assert np.linalg.norm(motion(origin) - world(scan), axis=-1)[inside].max() < 0.02


def test_truth_is_the_motion_itself(motion: Motion, coarse_toy) -> None:  # type: ignore[no-untyped-def]
    truth = motion.truth(ANCHOR)
    assert truth.grid.same_as(ANCHOR)
    inside = np.random.default_rng(0).uniform([-150, -110, -100], [150, 110, 100], (200, 3))
    assert np.abs(truth(inside) - motion(inside)).max() < 1e-3
    assert np.abs(truth(coarse_toy.landmarks.xyz) - motion(coarse_toy.landmarks.xyz)).max() < 1e-3


def test_still_does_nothing() -> None:
    motion = still(PADDED)
    points = np.array([[1.0, 2.0, 3.0]])
    assert np.allclose(motion(points), points)
    at = motion.pull(ANCHOR, PADDED)
    assert torch.allclose(at, ff.identity(ANCHOR.shape) + torch.tensor([2.0, 2.0, 7.0]).view(1, 3, 1, 1, 1), atol=1e-4)


def test_same_stream_same_motion(coarse_toy) -> None:  # type: ignore[no-untyped-def]
    sliding = make_sliding(coarse_toy.grid, coarse_toy.cavity_depth, coarse_toy.mobility)
    first, second = (make_motion(np.random.default_rng(5), sliding, PADDED, 7.0) for _ in range(2))
    assert torch.equal(first.forward.u, second.forward.u)


def test_solver_against_a_field_with_a_known_inverse() -> None:
    # Pure shear u_x = 0.9 y: the inverse of (x + 0.9 y, y) is (x - 0.9 y, y), exact for linear reading.
    grid = ff.identity((12, 12, 4))[0]
    u = torch.zeros(3, 12, 12, 4)
    u[0] = 0.9 * grid[1]
    goal = torch.tensor([[9.0, 8.0], [2.0, 5.5], [1.0, 2.0]])
    found = solve_inverse(u, goal, goal.clone(), 1e-4)
    assert torch.allclose(found, torch.tensor([[9 - 1.8, 8 - 4.95], [2.0, 5.5], [1.0, 2.0]]), atol=2e-4)


def test_breaths_spread_and_saturate() -> None:
    ranges = MotionRanges(breath=8.0, breath_limit=20.0)
    drawn = np.array(
        [
            list(draw_breaths(np.random.default_rng(i), {"delay": np.random.default_rng(1000 + i)}, ranges).values())[0]
            for i in range(600)
        ]
    )
    assert np.abs(drawn).max() < 20.0
    assert abs(drawn.mean()) < 1.0
    assert 5.0 < drawn.std() < 8.5
