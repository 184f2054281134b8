"""Gauss-Newton steps on mutual information find motions that are known exactly."""

import numpy as np
import pytest
from blobs import HERE, THERE, scan
from body import turned

from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.preprocessing.linear import fit
from jssr.preprocessing.small_scan import SmallScan, samples


def missed(found, true, grid=HERE):
    inner = 0.7 * grid.corners()
    return float(np.linalg.norm(Affine(found)(inner) - true(inner), axis=1).max())


@pytest.mark.parametrize("change", [lambda image: image, lambda image: -image, lambda image: (2 * image).cos()])
def test_a_known_rigid_motion_is_found_to_a_twentieth_of_a_voxel_whatever_the_contrast(change):
    true = turned(7.0, (6.0, -9.0, 4.0), axis=1)
    found, value = fit(samples(scan(HERE), 10_000, 0), scan(THERE, true, change), np.eye(4), tolerance=0.005)
    assert missed(found, true) < 0.2 and value > 0.3
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)


def test_an_affine_transform_is_found_too():
    true = Affine(np.array([[1.1, 0.05, 0, 4], [0, 0.93, -0.04, -3], [0.02, 0, 1.05, 5], [0, 0, 0, 1]]))
    found, _ = fit(samples(scan(HERE), 10_000, 0), scan(THERE, true), np.eye(4), "affine", tolerance=0.005)
    assert missed(found, true) < 0.3


def test_where_scans_hardly_meet_nothing_is_moved():
    far = scan(Grid.of(THERE.shape, THERE.spacing, THERE.origin + 500))
    found, value = fit(samples(scan(HERE), 1000, 0), far, np.eye(4))
    assert value == 0.0 and np.array_equal(found, np.eye(4))


def test_equal_scans_stay_where_they_are():
    found, _ = fit(samples(scan(HERE), 10_000, 0), scan(HERE), np.eye(4))
    assert missed(found, Affine.identity()) < 0.05


def test_points_of_one_place_move_nothing_far():
    one = scan(HERE)
    mask = one.mask.clone().zero_()
    mask[tuple(size // 2 for size in mask.shape)] = True
    points = samples(SmallScan(one.image, mask, one.grid), 1000, 0)
    found, _ = fit(points, scan(THERE), np.eye(4))
    assert np.isfinite(found).all() and abs(np.linalg.det(found[:3, :3]) - 1) < 1e-6
