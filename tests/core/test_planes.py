"""Planes in the order of a file are what the parts of full size are, and what they are at single voxels."""

import numpy as np
import pytest
import torch

from jssr.core import field as ff
from jssr.core import full_size, kernels, voxel_kernels
from jssr.core.full_size import STEP_MM, FullTransform
from jssr.core.grid import Grid
from jssr.core.late import held, last_slabs, part_of, planes_of
from jssr.core.planes import Lines, pulled
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Volume
from jssr.metrics.transforms import regularity
from jssr.registration.full_size import _pulled

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="the loops are not compiled")

OWN = Grid.of((12, 11, 9), 4.0, (3.0, -5.0, 8.0))
FIXED = Grid.of((31, 21, 17), (1.3, 1.9, 2.1), (4.0, 30.0, 9.0), [[0, 0, 1], [0, -1, 0], [1, 0, 0]])
"""Its first axis runs along the third of the field, its second against the second."""
TURN = np.radians(20.0)
MOVING = Grid.of(
    (19, 33, 22), (2.1, 1.2, 1.7), (6.0, -9.0, 5.0),
    [[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]],
)  # fmt: skip
WHOLE = tuple(slice(0, s) for s in FIXED.shape)


@pytest.fixture
def transform():
    u = ff.smooth(torch.randn(1, 3, *OWN.shape, generator=torch.Generator().manual_seed(1)) * 3, 1.5)[0]
    rigid = np.eye(4)
    rigid[:3, :3] = [[0.995, -0.0998, 0], [0.0998, 0.995, 0], [0, 0, 1]]
    rigid[:3, 3] = (2.0, -1.0, 3.0)
    return FullTransform(Displacement(u, OWN), Affine(rigid))


@pytest.fixture
def computed(transform, monkeypatch):
    """The displacement and its inverse, neither of them held."""
    monkeypatch.setattr(full_size, "HELD", 100)
    u = full_size.computed(FIXED, 3, transform.on, lambda voxels: transform.at(FIXED, voxels), transform.planes(FIXED))
    return Displacement(u, FIXED), transform.inverse(MOVING)


def in_file(field):
    """All of it, in millimetres, in the order of memory."""
    return np.concatenate(list(last_slabs(field, "u")), axis=-1)


@pytest.mark.parametrize("which", [0, 1])
def test_planes_are_the_parts(computed, which, monkeypatch):
    field = computed[which]
    monkeypatch.setattr("jssr.core.late.PLANES", 2000)  # several slabs
    ours = in_file(field)
    inner = tuple(slice(0, s) for s in field.grid.shape)
    theirs = np.einsum("ij,j...->i...", field.grid.affine[:3, :3], part_of(field, "u", inner))
    assert ours.shape == theirs.shape and np.array_equal(ours, np.rint(ours / STEP_MM) * STEP_MM)
    apart = np.abs(ours - theirs)
    # A sum that lies between two steps may be rounded to either; beyond the field there may be no inverse.
    assert np.quantile(apart, 0.995) < 1e-3 and (apart < 1.01 * STEP_MM).mean() > 0.998
    assert np.abs(ours).max() > 3


@pytest.mark.parametrize("which", [0, 1])
def test_single_voxels_are_those_of_the_parts(computed, which):
    field = computed[which]
    voxels = np.random.default_rng(0).integers(0, field.grid.shape, (200, 3))
    inner = tuple(slice(0, s) for s in field.grid.shape)
    theirs = part_of(field, "u", inner)[(slice(None), *voxels.T)].T
    apart = np.abs((held(field, "u").at(voxels) - theirs) @ field.grid.affine[:3, :3].T)
    assert np.median(apart) < 1e-3 and np.quantile(apart, 0.99) < 0.02


def test_a_displacement_is_the_map_of_the_chain(transform, computed):
    voxels = np.array([[0, 0, 0], [30, 20, 16], [12, 7, 5]])
    points = FIXED.world(voxels)
    by_hand = transform.rigid(transform.field(points)) - points
    ours = in_file(computed[0])[(slice(None), *voxels.T)].T
    assert np.abs(ours - by_hand).max() <= STEP_MM / 2 + 1e-4


def test_a_pulled_image_is_that_of_the_parts(transform):
    values = ff.smooth(torch.randn(1, 1, *MOVING.shape, generator=torch.Generator().manual_seed(2)), 1.0)[0] * 100
    moving = Volume(values, MOVING)
    _, theirs, seen = _pulled(transform, moving, -7.0, FIXED)
    back = np.linalg.inv(MOVING.affine)
    mm = transform.planes(FIXED)(3, 17)
    ours = pulled(values, back @ FIXED.affine, back[:3, :3], mm, 3, -7.0).numpy().transpose(0, 3, 2, 1)
    theirs, seen = theirs[..., 3:].numpy(), seen[..., 3:].numpy()
    assert np.array_equal(ours == -7.0, ~seen) and 0.2 < seen.mean() < 0.999
    assert np.abs(ours - theirs).max() < 1.0 and np.abs(ours - theirs).mean() < 0.01


def test_regularity_in_the_order_of_a_file(transform, computed):
    held_field = Displacement(transform.on(FIXED)[0], FIXED)
    assert planes_of(computed[0], "u") is not None and planes_of(held_field, "u") is None
    ours, theirs = regularity(computed[0]), regularity(held_field)
    assert ours.folds == pytest.approx(theirs.folds, abs=0.02)
    assert ours.log_jacobian_sd == pytest.approx(theirs.log_jacobian_sd, abs=1e-4)


def test_sums_of_the_log_jacobian_are_those_of_numpy():
    u = torch.randn(3, 6, 7, 21, generator=torch.Generator().manual_seed(3)) * 0.35
    determinant = ff.jacobian_determinant(u[None])[0].double().numpy()
    kept = determinant[determinant > 0]
    folds, total, squares = voxel_kernels.regularity(u)
    assert folds == (determinant <= 0).sum() > 5
    assert (total, squares) == pytest.approx((np.log(kept).sum(), (np.log(kept) ** 2).sum()), rel=1e-5)
    # In millimetres, with other axes, it is the same.
    linear = np.array([[0, 1.5, 0], [-2.0, 0, 0.1], [0, 0.2, 3.0]])
    mm = torch.einsum("ij,j...->i...", torch.from_numpy(linear).float(), u)
    assert voxel_kernels.regularity(mm, linear) == pytest.approx((folds, total, squares), rel=1e-4)


def test_a_grid_across_the_field_has_no_lines():
    assert FullTransform(Displacement(torch.zeros(3, *OWN.shape), OWN), Affine.identity()).planes(MOVING) is None
    with pytest.raises(ValueError, match="lies across"):
        Lines(torch.zeros(3, *OWN.shape), np.linalg.inv(OWN.affine) @ MOVING.affine, MOVING.shape)
