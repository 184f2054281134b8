from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.transform import Displacement
from jssr.core.volume import Volume, volume_of
from jssr.report.planes import CT_WINDOW, Planes, focus, jacobian_volumes, window, window_of

CENTRE = np.array([12.0, -30.0, 400.0])
# 20 mm to the patient's left, 14 mm to the front (LPS: -y), 24 mm up.
OFFSET = np.array([20.0, -14.0, 24.0])


def grid_round(centre: NDArray[np.float64], direction: NDArray[np.float64], spacing: tuple[float, ...]) -> Grid:
    shape = np.maximum(1, np.round(100 / np.array(spacing))).astype(int)
    first = centre - direction @ ((shape - 1) / 2 * np.array(spacing))
    return Grid.of(tuple(int(s) for s in shape), spacing, tuple(first), direction)


DIRECTIONS = {
    "axial": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "coronal slices": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "sagittal slices": np.array([[0.0, 0, -1], [1, 0, 0], [0, 1, 0]]),
    "oblique": Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix(),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_every_orientation_shows_the_right_sides(name: str) -> None:
    grid = grid_round(CENTRE, DIRECTIONS[name], (2.0, 2.5, 4.0))
    points = grid.world(np.stack(np.meshgrid(*[np.arange(s) for s in grid.shape], indexing="ij"), axis=-1))
    blob = np.exp(-((points - CENTRE - OFFSET) ** 2).sum(axis=-1) / (2 * 6.0**2))
    planes = Planes(grid, tuple(CENTRE + OFFSET), width=100)
    expected = {
        "axial": (20.0, -14.0),  # patient's left on the right; front on top (rows count downwards)
        "coronal": (20.0, -24.0),  # head on top
        "sagittal": (-14.0, -24.0),  # front on the left
    }
    for plane, (right, down) in expected.items():
        picture = planes.cut(volume_of(blob, grid), plane)  # type: ignore[arg-type]
        rows, columns = np.indices(picture.shape)
        middle_row, middle_column = ((s - 1) / 2 for s in picture.shape)
        total = picture.sum()
        assert ((columns - middle_column) * picture).sum() / total * planes.pixel == pytest.approx(right, abs=1.0)
        assert ((rows - middle_row) * picture).sum() / total * planes.pixel == pytest.approx(down, abs=1.0)
        # Round in millimetres whatever the spacing: the spread is 6 mm both ways.
        spread = [np.sqrt((((x - (x * picture).sum() / total) ** 2) * picture).sum() / total) for x in (rows, columns)]
        np.testing.assert_allclose(np.array(spread) * planes.pixel, 6.0, atol=0.9)


def test_pixels_are_square_and_slices_are_shown_whole() -> None:
    planes = Planes(Grid.of((64, 32, 10), (1.0, 1.0, 5.0)), width=128)
    assert planes.pixel == pytest.approx(0.5)
    shapes = {p: planes.sheet(p).shape[:2] for p in planes.names}
    assert shapes == {"axial": (128, 64), "coronal": (128, 100), "sagittal": (64, 100)}


def test_an_aligned_slice_is_the_slice() -> None:
    data = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    grid = Grid.of((8, 8, 8), 2.0)
    picture = Planes(grid, (0.0, 0.0, 9.0), width=8).cut(volume_of(data, grid), "axial")  # 9 mm: between 4 and 5
    np.testing.assert_allclose(picture, data[:, :, 4].T, atol=1e-5)


def test_labels_are_cut_as_core_resamples_them() -> None:
    labels = torch.randint(0, 3, (1, 6, 5, 4), generator=torch.Generator().manual_seed(0)) * 7
    direction = Rotation.from_euler("z", 25, degrees=True).as_matrix()
    volume = Volume(labels, Grid.of((6, 5, 4), (2, 3, 4), direction=direction), "labels")
    planes = Planes(volume.grid, width=60)
    for plane in planes.names:
        cut = planes.cut(volume, plane)
        expected = resample(volume, planes.sheet(plane)).data.reshape(planes.sheet(plane).shape[:2]).numpy().T
        assert cut.dtype == np.int64
        assert (cut != expected).mean() < 0.002  # rounding at equal weights


def test_a_map_to_the_left_reads_to_the_right_of_the_picture() -> None:
    grid = Grid.of((10, 10, 10), 2.0, direction=np.diag([-1.0, -1.0, 1.0]))
    vectors = np.zeros((10, 10, 10, 3))
    vectors[..., 0], vectors[..., 2] = 6.0, 3.0  # LPS mm
    displacement = Displacement.from_millimetres(vectors, grid)
    planes = Planes(grid, width=20)
    still = Displacement(torch.zeros(3, 10, 10, 10), grid)
    for plane, moved in (("axial", (6, 0)), ("coronal", (6, -3)), ("sagittal", (0, -3))):
        change = planes.mapped(displacement, plane) - planes.mapped(still, plane)  # type: ignore[arg-type]
        np.testing.assert_allclose(change.reshape(-1, 2), np.broadcast_to(moved, (400, 2)), atol=1e-4)


def test_jacobian_values_stand_between_the_voxels() -> None:
    u = torch.zeros(3, 4, 3, 3)
    u[0] = torch.tensor([0.0, 1.0, -0.5, -0.5])[:, None, None]
    log_det, folds = jacobian_volumes(Displacement(u, Grid.of((4, 3, 3), (2, 4, 6), (10, 20, 30))))
    assert log_det.grid.shape == (3, 2, 2)
    np.testing.assert_allclose(log_det.grid.origin, (11, 22, 33))
    np.testing.assert_allclose(log_det.array[:, 0, 0], [np.log(2), 0, 0], atol=1e-6)
    assert folds.array[:, 0, 0].tolist() == [0, 1, 0]


def test_a_flat_image_is_shown_as_it_is_stored() -> None:
    data = np.arange(12, dtype=np.float32).reshape(4, 3)  # (x, y)
    grid = Grid.of((4, 3), 1.5)
    planes = Planes(grid, width=4)
    assert planes.names == ("image",)
    np.testing.assert_allclose(planes.cut(volume_of(data, grid), "image"), data.T, atol=1e-5)
    assert [Planes(Grid.of((n, 10), 1.0)).lines for n in (20, 350, 2048)] == [1.0, 10.0, 100.0]
    assert planes.mapped(Displacement(torch.zeros(2, 4, 3), grid), "image").shape == (3, 4, 2)


def test_focus_is_the_middle_of_what_matters() -> None:
    labels = np.zeros((10, 10, 10), np.int16)
    labels[2:5, 2:5, 2:5], labels[8, 8, 8] = 1, 5
    grid = Grid.of((10, 10, 10), 2.0, (100, 0, 0))
    assert focus(volume_of(labels, grid, "labels")) == pytest.approx((106, 6, 6))
    body = np.full((10, 10, 10), -1000.0)
    body[4:7, 4:7, 4:7] = 40.0
    assert focus(volume_of(body, grid)) == pytest.approx((110, 10, 10))
    assert focus(volume_of(np.zeros((10, 10, 10), np.int16), grid, "labels")) == pytest.approx((109, 9, 9))


def test_windows_fit_the_modality() -> None:
    grid = Grid.of((20, 20, 20))
    noise = np.random.default_rng(0).random((20, 20, 20))
    assert window_of(volume_of(noise * 2000 - 1000, grid)) == CT_WINDOW
    assert window_of(volume_of(noise * 2 - 1, grid)) == (-1.0, 1.0)
    low, high = window_of(volume_of(noise * 1000, grid))
    assert (low, high) == (pytest.approx(10, abs=6), pytest.approx(995, abs=6))
    constant = window_of(volume_of(np.full((20, 20, 20), 7.0), grid))
    assert constant[0] == 7.0 < constant[1]
    np.testing.assert_allclose(window([-200.0, -160, 40, 240, 1000], CT_WINDOW), [0, 0, 0.5, 1, 1])
