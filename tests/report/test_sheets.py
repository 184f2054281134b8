from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.report import sheets
from jssr.report.planes import Planes, jacobian_volumes

TURNS = {
    "axial": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "coronal slices": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "sagittal slices": np.array([[0.0, 0, -1], [1, 0, 0], [0, 1, 0]]),
    "nearly upright": Rotation.from_euler("z", 0.001, degrees=True).as_matrix(),
    "oblique": Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix(),
}


def volume(turn: str, channels: int = 2) -> Volume:
    data = torch.randn(channels, 12, 9, 7, generator=torch.Generator().manual_seed(0))
    return Volume(data, Grid.of((12, 9, 7), (2.0, 2.5, 4.0), (3.0, -8.0, 40.0), TURNS[turn]))


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("axis_off", [0.0, 1.3])
def test_a_sheet_is_what_resample_gives(turn, axis_off):
    scan = volume(turn)
    # Of a grid that lies a little beside and reaches further: some pixels are outside.
    other = Grid.of((16, 12, 9), (1.9, 2.2, 3.7), tuple(scan.grid.origin - axis_off), TURNS[turn])
    planes = Planes(other, width=40)
    for plane in planes.names:
        sheet = planes.sheet(plane)
        values, inside = sheets.read(scan, sheet)
        nowhere = resample(scan, sheet, fill=float("nan")).data.reshape(2, *sheet.shape[:2]).numpy()
        assert (np.isnan(nowhere[0]) != inside).all()
        assert inside.any() and not inside.all()
        np.testing.assert_allclose(
            values[:, inside], nowhere[:, inside], atol=5e-3 if turn == "nearly upright" else 2e-4
        )


def test_upright_axes_are_told_from_oblique_ones():
    sheet = Planes(volume("axial").grid, width=40).sheet("coronal")
    for turn, along in (("axial", [0, None, 1]), ("coronal slices", [0, 1, None]), ("oblique", None)):
        step = np.linalg.inv(volume(turn).grid.affine) @ sheet.affine
        assert sheets._parallel(step, sheet.shape) == along


def test_a_flat_image_is_read_with_its_own_axes():
    data = torch.arange(12.0).reshape(1, 4, 3)
    values, inside = sheets.read(Volume(data, Grid.of((4, 3), 2.0)), Grid.of((3, 4), 2.0, (1.0, 0.0)))
    np.testing.assert_allclose(values[0, :, 0], [1.5, 4.5, 7.5])
    assert inside.tolist() == [[True, True, True, False]] * 3


@pytest.mark.parametrize("turn", ["axial", "oblique"])
def test_the_jacobian_of_a_plane_is_cut_from_that_of_the_field(turn):
    grid = volume(turn).grid
    u = 0.8 * torch.randn(3, *grid.shape, generator=torch.Generator().manual_seed(1))
    field, planes = Displacement(u, grid), Planes(grid, width=40)
    log_det, folds = jacobian_volumes(field)
    for plane in planes.names:
        here, folded = planes.log_jacobian(field, plane)
        whole = planes.cut(log_det, plane, outside=0.0)
        assert (np.abs(here - whole) > 1e-3).mean() < 0.01  # a pixel on the edge of the cells
        assert (folded != (planes.cut(folds, plane) > 0)).mean() < 0.01
        assert folded.any() and not folded.all()
