"""A transform known before takes the place of the headers' geometry; masks say what counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from body import labels_of, middle_grid, scan, turned

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Volume
from jssr.errors import ImageError
from jssr.preprocessing.known_start import moved_by, rigid_from, seen_through
from jssr.preprocessing.prepare import prepare_pair

GRID = middle_grid((48, 40, 30), (6.5, 6.5, 6.5))
WINDOW = (-200.0, 200.0)


def _ramp(grid: Grid) -> Volume:
    """An image whose value is x + 1000 in mm of its own space."""
    x = grid.world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))[..., 0]
    return Volume(torch.from_numpy(x + 1000).float()[None], grid)


def _shift(mm: float, grid: Grid = GRID) -> Displacement:
    """Fixed to moving points: along x."""
    vectors = np.zeros((*grid.shape, 3))
    vectors[..., 0] = mm
    return Displacement.from_millimetres(vectors, grid)


def test_a_scan_is_put_where_a_linear_transform_says() -> None:
    start = turned(30, (12, 0, -7))
    turned_grid = moved_by(_ramp(GRID), start).grid
    np.testing.assert_allclose(start(turned_grid.corners()), GRID.corners(), atol=1e-9)
    sheared = np.eye(4)
    sheared[0, 1], sheared[0, 3] = 0.3, 5.0  # x' = x + 0.3 y + 5
    moved = moved_by(_ramp(GRID), Affine(sheared))
    p = moved.grid.world(np.stack(np.meshgrid(*map(np.arange, moved.grid.shape), indexing="ij"), axis=-1))
    expected, there = 1000 + p[..., 0] + 0.3 * p[..., 1] + 5, torch.isfinite(moved.data[0]).numpy()
    edge = np.abs(expected - 1000) < np.abs(GRID.corners()[:, 0]).max() - 1e-6
    np.testing.assert_allclose(moved.array[there & edge], expected[there & edge], atol=1e-2)
    assert 0.6 < there.mean() < 1 and moved.grid.contains(Affine(sheared).inverse()(GRID.corners())).all()


def test_a_scan_is_seen_through_a_field_without_data_where_it_leads_out() -> None:
    seen = seen_through(_ramp(GRID), _shift(30.0), GRID)
    middle = seen.grid.index([[0.0, 0, 0]]).round().astype(int)[0]
    at = seen.grid.world(middle)
    assert float(seen.data[(0, *middle)]) == pytest.approx(1030 + at[0], abs=1e-2)
    right = seen.grid.index(np.array([[GRID.corners()[:, 0].max() - 10, 0, 0]])).round().astype(int)[0]
    assert bool(torch.isnan(seen.data[(0, *right)]))


def test_the_rigid_step_goes_on_from_a_known_turn() -> None:
    fixed, motion = scan(GRID, seed=0), turned(75, (0, 0, 8))
    moving = scan(GRID, motion, enhanced=False, seed=1)
    start = turned(70, (5, 0, 0))
    found = rigid_from(fixed, moving, start)
    corners = middle_grid((2, 2, 2), (120.0, 100.0, 100.0)).corners()
    assert np.abs(found.transform(corners) - motion(corners)).max() < 2.0
    pair = prepare_pair(fixed, moving, 6.5, WINDOW, initial=start)
    assert np.allclose(pair.transform.matrix, found.transform.matrix, atol=1e-6)
    assert pair.start is start and pair.initial is None
    told = prepare_pair(fixed, moving, 6.5, WINDOW, rigid=False, initial=motion)
    assert told.rigid is None and np.array_equal(told.transform.matrix, motion.matrix)


def test_a_field_is_looked_through_and_no_rigid_step_is_made() -> None:
    fixed = scan(GRID, seed=0)
    away = np.eye(4)
    away[0, 3] = 40.0
    moving = scan(GRID, Affine(away), seed=0)
    field = _shift(40.0)
    pair = prepare_pair(fixed, moving, 6.5, WINDOW, initial=field)
    assert pair.rigid is None and pair.initial is field and pair.before is field
    both = (pair.fixed_mask * pair.moving_mask) > 0
    apart = prepare_pair(fixed, moving, 6.5, WINDOW, rigid=False)
    there = (apart.fixed_mask * apart.moving_mask) > 0
    assert (pair.fixed - pair.moving)[both].abs().mean() < 0.3 * (apart.fixed - apart.moving)[there].abs().mean()


def test_masks_say_what_counts_and_leave_the_images_whole() -> None:
    fixed, moving = scan(GRID, seed=0), scan(GRID, enhanced=False, seed=1)
    liver = labels_of(GRID)
    plain = prepare_pair(fixed, moving, 6.5, WINDOW, rigid=False, finer=lambda grid, _: grid.respaced(4.0))
    pair = prepare_pair(
        fixed, moving, 6.5, WINDOW, rigid=False, masks=(liver, None), finer=lambda grid, _: grid.respaced(4.0)
    )
    assert torch.equal(pair.fixed, plain.fixed) and torch.equal(pair.moving_mask, plain.moving_mask)
    assert 0.02 < float(pair.fixed_mask.mean()) < 0.2 and bool((plain.fixed_mask == 1).all())
    assert pair.data is not None and torch.equal(pair.data[0], plain.fixed_mask)
    assert pair.finer is not None and plain.finer is not None
    assert torch.equal(pair.finer[0].image, plain.finer[0].image)
    assert float(pair.finer[0].mask.mean()) == pytest.approx(float(pair.fixed_mask.mean()), rel=0.1)


def test_a_mask_of_which_nothing_is_left_is_refused() -> None:
    fixed, moving = scan(GRID, seed=0), scan(GRID, seed=1)
    dot = Volume(torch.zeros(1, *GRID.shape, dtype=torch.uint8), GRID, "labels", "dot.nii.gz")
    dot.data[0, 24, 20, 15] = 1
    with pytest.raises(ImageError, match=r"dot.nii.gz: nothing of this mask is left"):
        prepare_pair(fixed, moving, 20.0, WINDOW, rigid=False, masks=(dot, None))
