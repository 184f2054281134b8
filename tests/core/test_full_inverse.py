from __future__ import annotations

import numpy as np
import pytest
import torch

from jssr.core.full_inverse import TOLERANCE_MM
from jssr.core.full_size import FullTransform
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement

OWN = Grid.of((40, 36, 24), 2.0, (-40.0, -36.0, -24.0))
MOVING = Grid.of((50, 52, 18), (1.7, 1.6, 3.1), (-42.0, -40.0, -27.0))


def field(amplitude, length):
    """Vectors in mm: waves of `amplitude` along each axis, of the given wavelength, mm."""
    p = OWN.world(np.stack(np.meshgrid(*map(np.arange, OWN.shape), indexing="ij"), -1))
    k = 2 * np.pi / length
    waves = [np.sin(k * p[..., 1]), np.sin(k * p[..., 2]), np.sin(k * p[..., 0])]
    return Displacement(torch.from_numpy(amplitude / 2.0 * np.stack(waves)).float(), OWN)


def turn(degrees):
    a, out = np.radians(degrees), np.eye(4)
    out[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    out[:3, 3] = (3.0, -2.0, 4.0)
    return Affine(out)


def residual(transform, back, margin=2):
    """|T(T^-1(q)) - q| in mm at the voxels of the moving grid that come from inside the field's grid."""
    q = back.grid.world(np.stack(np.meshgrid(*map(np.arange, back.grid.shape), indexing="ij"), -1)).reshape(-1, 3)
    p = back(q)
    inside = OWN.contains(p)
    assert inside.mean() > 0.3
    return np.linalg.norm(transform.chain(p[inside]) - q[inside], axis=1)


@pytest.mark.parametrize(
    ("amplitude", "length", "degrees"),
    [(1.0, 60.0, 4.0), (6.0, 40.0, 0.0), (5.0, 40.0, 12.0), (4.0, 50.0, 120.0)],
)
def test_every_voxel_comes_back_within_a_twentieth_of_a_millimetre(amplitude, length, degrees):
    whole = FullTransform(field(amplitude, length), turn(degrees))
    off = residual(whole, whole.inverse(MOVING))
    assert off.max() < 0.05
    assert off.mean() < TOLERANCE_MM


def test_what_folds_is_finite_and_leaves_the_rest_alone():
    found = field(1.0, 60.0)
    u = found.u.clone()
    u[0, 20] += 6.0  # plane 20 jumps over those behind it
    whole = FullTransform(Displacement(u, OWN), turn(0.0))
    back = whole.inverse(MOVING)
    assert torch.isfinite(back.u).all()
    off = residual(whole, back)
    assert np.mean(off < 0.05) > 0.9


def test_slabs_do_not_show(monkeypatch):
    whole = FullTransform(field(5.0, 40.0), turn(8.0))
    at_once = whole.inverse(MOVING)
    monkeypatch.setattr("jssr.core.full_size._SLAB", 5 * 52 * 18)
    in_parts = whole.inverse(MOVING)
    # Both are within the tolerance of the same point.
    apart = np.abs(at_once.millimetres() - in_parts.millimetres()).max()
    assert apart < 0.01


def test_a_single_slice_and_a_grid_far_beyond_the_field():
    whole = FullTransform(field(4.0, 50.0), turn(5.0))
    thin = Grid.of((30, 30, 1), (2.0, 2.0, 5.0), (-25.0, -25.0, 2.0))
    off = residual(whole, whole.inverse(thin))
    assert off.max() < 0.05
    wide = Grid.of((30, 30, 30), 10.0, (-150.0, -150.0, -150.0))
    back = whole.inverse(wide)
    q = wide.world(np.stack(np.meshgrid(*map(np.arange, wide.shape), indexing="ij"), -1))
    # Beyond its border the field is the border's, and has an inverse there.
    assert np.linalg.norm(whole.chain(back(q)) - q, axis=-1).max() < 0.05
