"""Candidates of turns and shifts."""

import numpy as np
import pytest
import torch
from blobs import HERE, THERE, scan

from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.losses.similarity import sample_information
from jssr.preprocessing.small_scan import BINS, SmallScan, samples
from jssr.preprocessing.turns import about, candidates, quarter_turns, scores


def test_there_are_24_turns_of_axes_to_axes():
    turns = quarter_turns()
    assert turns.shape == (24, 3, 3) and np.array_equal(turns[0], np.eye(3))
    assert len(np.unique(turns, axis=0)) == 24
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (24, 1, 1)))


def test_turns_are_about_the_middle_and_take_it_to_the_goals():
    middle, goals = np.array([1.0, -2.0, 3.0]), np.array([[0.0, 5.0, 0.0], [7.0, 8.0, 9.0]])
    for k, matrix in enumerate(about(quarter_turns()[:3], middle, goals)):
        np.testing.assert_allclose(Affine(matrix)(middle), goals[k % 2])


def test_a_score_is_the_mutual_information_with_the_nearest_voxels():
    a, b = scan(HERE), scan(THERE)
    points = samples(a, 500, 3)
    moved = about(np.eye(3)[None], np.zeros(3), np.array([[3.0, -2.0, 1.0]]))
    away = about(np.eye(3)[None], np.zeros(3), np.array([[160.0, 0.0, 0.0]]))  # hardly anything meets
    found = scores(np.concatenate([np.eye(4)[None], moved, away]), points, b)
    for k, matrix in enumerate((np.eye(4), moved[0])):
        at = b.positions(matrix, points.points).round().long()
        inside = ((at >= 0) & (at < torch.tensor(THERE.shape).view(3, 1))).all(dim=0)
        value = b.image[at[0, inside], at[1, inside], at[2, inside]]
        expected = (
            sample_information(points.values[inside], value, BINS, few=True) * float(inside.float().mean()) ** 0.5
        )
        assert float(found[k]) == pytest.approx(expected, abs=1e-4)
    assert float(found[2]) == 0.0


@pytest.mark.parametrize("turn", [(0, 0, 180), (180, 0, 0), (90, 0, 0), (0, 90, 25), (20, -25, 15)])
def test_a_scan_is_found_however_it_is_turned_and_shifted(turn):
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    matrix[:3, 3] = (60.0, -80.0, 40.0)
    a, b = scan(HERE), scan(THERE)
    lost = SmallScan(b.image, b.mask, Grid(THERE.shape, matrix @ THERE.affine))
    best = candidates(a, lost, 1)[0]
    inner = 0.7 * HERE.corners()
    off = np.linalg.norm(Affine(best)(inner) - Affine(matrix)(inner), axis=1)
    assert off.mean() < 30.0  # from there on steps lead to the maximum
