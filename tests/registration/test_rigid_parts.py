"""Parts that stay rigid: exactly, whatever is around them."""

import numpy as np
import pytest
import torch

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.registration import rigid_parts
from jssr.registration.rigid_parts import RigidParts, kept

SPACING = (2.0, 2.0, 3.0)
SHAPE = (40, 36, 28)
GRID = Grid.of(SHAPE, SPACING)
SIZE = torch.tensor(SPACING).view(1, 3, 1, 1, 1)
BOX = (slice(12, 20), slice(10, 18), slice(8, 16))


def _parts(*boxes):
    out = torch.zeros(1, 1, *SHAPE, dtype=torch.int32)
    for number, box in enumerate(boxes, start=1):
        out[(0, 0, *box)] = number
    return out


def _bent(millimetres=3.0, seed=0):
    """A smooth field in mm that is nowhere rigid."""
    u = ff.smooth(torch.randn(1, 3, *SHAPE, generator=torch.Generator().manual_seed(seed)), 5.0)
    return u / u.abs().max() * 3 * millimetres


def _stretch(field, part, after=None):
    """Greatest relative change of a length between voxels of a part."""
    at = np.argwhere(part)[:: max(1, int(part.sum()) // 40)]
    p = GRID.world(at)
    q = p + field[0].numpy()[(slice(None), *at.T)].T @ GRID.direction.T
    q = q if after is None else after(q)
    before, now = (np.linalg.norm(x[:, None] - x, axis=-1) for x in (p, q))
    far = before > 0
    return np.abs(now[far] / before[far] - 1).max()


def _folds(field):
    return int((ff.jacobian_determinant(field / SIZE) <= 0).sum())


BORDER = (slice(0, 6), slice(20, 36), slice(0, 28))
NEAR = (slice(21, 28), slice(10, 18), slice(8, 16))  # one voxel away
TOUCHING = (slice(20, 28), slice(10, 18), slice(8, 16))


@pytest.mark.parametrize(
    "boxes", [(BOX,), (BOX, BORDER), (BOX, NEAR), (BOX, TOUCHING)], ids=["one", "border", "near", "touching"]
)
def test_parts_are_rigid_and_the_field_far_from_them_stays(boxes):
    field, parts = _bent(2.0), _parts(*boxes)
    assert _stretch(field, parts[0, 0].numpy() == 1) > 0.02
    found, warnings = RigidParts(parts, GRID, Affine.identity(3)).settled(field)
    assert _folds(field) == 0
    for number in range(1, len(boxes) + 1):
        assert _stretch(found, parts[0, 0].numpy() == number) < 1e-4
    assert _folds(found) == 0
    far = torch.ones(SHAPE, dtype=torch.bool)
    for box in boxes:  # 20 mm and the ring of a voxel
        far[tuple(slice(max(0, b.start - 13), b.stop + 13) for b in box)] = False
    assert torch.equal(found[0][:, far], field[0][:, far])
    assert all("touch" in w for w in warnings)


def test_the_motion_is_the_one_that_comes_nearest():
    angle = 0.1
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    p = np.argwhere(np.ones(SHAPE)) * SPACING
    u = ((p - 30) @ turn.T + 30 + [2, -1, 0.5] - p).T.reshape(1, 3, *SHAPE)
    field = torch.from_numpy(u).float()
    held = RigidParts(_parts(BOX), GRID, Affine.identity(3)).held(field)
    assert (held.on(field) - field).abs().max() < 1e-3  # a rigid motion stays what it is


def test_it_is_the_full_transform_that_is_rigid():
    matrix = np.eye(4)
    matrix[:3, :3] = [[1.1, 0.05, 0], [0, 0.95, 0.1], [0, 0, 1.05]]
    after, parts = Affine(matrix), _parts(BOX)
    found, _ = RigidParts(parts, GRID, after).settled(_bent())
    assert _stretch(found, parts[0, 0].numpy() == 1) > 0.03
    assert _stretch(found, parts[0, 0].numpy() == 1, after) < 1e-4
    known = Displacement(_bent(seed=1)[0] / SIZE[0], GRID)
    found, _ = RigidParts(parts, GRID, after, known).settled(_bent())
    assert _stretch(found, parts[0, 0].numpy() == 1, lambda x: known(after(x))) < 1e-3


def test_a_part_of_one_voxel_shifts_and_a_line_does_not_turn_around_itself():
    field = torch.zeros(1, 3, *SHAPE)
    field[:, 0] = 1.5
    for box in ((slice(9, 10),) * 3, (slice(4, 30), slice(9, 10), slice(9, 10))):
        found, warnings = RigidParts(_parts(box), GRID, Affine.identity(3)).settled(field)
        assert (found - field).abs().max() < 1e-4
        assert warnings == ()


def test_a_part_outside_of_the_moving_scan_is_told_and_follows_its_surroundings():
    mask = torch.ones(1, 1, *SHAPE)
    mask[:, :, :26] = 0
    parts, field = _parts(BOX, (slice(30, 36), slice(4, 10), slice(4, 10))), _bent(1.0)
    found, warnings = RigidParts(parts, GRID, Affine.identity(3)).settled(field, mask)
    assert warnings == (rigid_parts.OUTSIDE.format(n=1, all=2),)
    assert _stretch(found, parts[0, 0].numpy() == 1) < 1e-4
    middle = (0, slice(None), *(slice(b.start, b.stop) for b in BOX))
    assert (found[middle].mean((1, 2, 3)) - field[middle].mean((1, 2, 3))).abs().max() < 0.05


def test_parts_that_press_on_each_other_move_as_one_and_that_is_told():
    field = torch.zeros(1, 3, *SHAPE)
    field[:, 0, :20], field[:, 0, 20:] = 4.0, -4.0  # two blocks pushed into each other by four voxels
    parts = _parts(BOX, TOUCHING)
    found, warnings = RigidParts(parts, GRID, Affine.identity(3)).settled(ff.smooth(field, 3.0))
    assert warnings[0] == rigid_parts.JOINED.format(n=1)
    assert _stretch(found, parts[0, 0].numpy() > 0) < 1e-4


def test_what_is_held_is_the_same_on_a_lattice():
    held = RigidParts(_parts(BOX), GRID, Affine.identity(3)).held(_bent())
    where = (slice(1, None, 3),) * 3
    axes = [torch.arange(1, s, 3, dtype=torch.float32) for s in SHAPE]
    assert torch.equal(held.at(where, axes, 1).share, held.share[(slice(None), slice(None), *where)])
    assert held.at(where, [torch.tensor([5.0])] * 3, 2).share.item() == pytest.approx(
        held.share[..., 10:12, 10:12, 10:12].mean().item(), abs=1e-5
    )
    assert float(held.share[(0, 0, *BOX)].min()) == 1.0
    assert bool(kept(_parts(BOX))[(0, 0, *BOX)].all())
