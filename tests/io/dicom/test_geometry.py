"""Stacks of rounded positions and of a tilted gantry, compared with the line they were made from and with SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import write_volume
from scipy import ndimage

from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.volume import volume_of
from jssr.errors import ImageError
from jssr.io.dicom.geometry import stack_of
from jssr.io.dicom.headers import Sources
from jssr.io.dicom.read import read_series
from jssr.io.dicom.series import find_series
from jssr.io.dicom.slices import Slice, slice_of

SHAPE = (24, 20, 12)


def stack(positions, decimals=(6, 6, 6), pixel=(0.8, 0.8)):
    """The stack of slices at these positions; numbers are heights."""
    rows = np.array([[0, 0, p] if np.isscalar(p) else p for p in positions], dtype=float)
    slices = [Slice(Path(f"{i}"), p, np.eye(3)[:2], pixel, (8, 8), 1, 1, decimals) for i, p in enumerate(rows)]
    return stack_of(slices, "scan")


@pytest.mark.parametrize("step", [0.625, 0.75, 1.25, 2.25, 3.3333, 6.25])
@pytest.mark.parametrize("start", [-317.28, 0.04])
def test_positions_rounded_to_a_tenth(step, start):
    true = start + step * np.arange(60)
    grid = stack(np.round(true, 1), (6, 6, 1)).grid()
    assert grid.spacing[2] == pytest.approx(step, abs=1e-3)
    assert np.abs(grid.world(np.c_[np.zeros((60, 2)), np.arange(60)])[:, 2] - true).max() < 0.05


def test_positions_rounded_to_whole_millimetres():
    assert stack(np.floor(2.5 * np.arange(20) + 0.5), (0, 0, 0)).grid().spacing[2] == pytest.approx(2.5, abs=0.01)
    # One of 1 mm that misses looks the same as 1.25 mm, rounded.
    with pytest.raises(ImageError, match="missing|unevenly"):
        stack([0, 1, 2, 4, 5, 6], (0, 0, 0))


@pytest.mark.parametrize("decimals", [0, 1, 2, 6])
@pytest.mark.parametrize("n", [4, 5, 9, 40])
def test_a_missing_slice_is_no_rounding(n, decimals):
    for step in (1.0, 2.5, 5.0):
        heights = np.delete(step * np.arange(n + 1), n // 2)
        with pytest.raises(ImageError, match="missing"):
            stack(heights, (decimals,) * 3)


def test_distances_that_grow_slowly_are_not_even():
    """Each gap is within 1 % of the next one; the slices lie 0.8 mm from the line."""
    with pytest.raises(ImageError, match="unevenly spaced"):
        stack(np.cumsum(np.linspace(2.9, 3.1, 100)))


def test_a_slice_that_is_shifted_sideways():
    places = np.c_[np.zeros((9, 2)), 3 * np.arange(9)]
    places[4, 0] = 20
    with pytest.raises(ImageError, match="shifted sideways"):
        stack(places)


def test_decimals_as_written():
    ds = pydicom.Dataset()
    ds.Rows, ds.Columns = 4, 4
    ds.ImagePositionPatient = ["-12.500000", "3", "1.25e1"]
    assert slice_of(ds, Path("x")).decimals == (1, 0, 1)


def tilted(folder, degrees, along=1, modality="CT"):
    """A smooth scan of a gantry tilted by so much, written as slices whose positions are sheared; and its function."""
    shear = np.tan(np.radians(degrees)) * 4.0
    grid = Grid.of(SHAPE, (2.0, 2.5, 4.0), (-20.0, 30.0, 100.0))
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).astype(float)
    world = index * grid.spacing + grid.origin
    world[..., along] += shear * index[..., 2]
    values = 3 * world[..., 0] + 5 * world[..., 1] + 2 * world[..., 2] - 300  # linear: interpolation is exact
    write_volume(folder, volume_of(np.rint(values).astype(np.float32), grid), modality)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        k = int(ds.InstanceNumber) - 1
        place = [float(v) for v in ds.ImagePositionPatient]
        place[along] += shear * k
        ds.ImagePositionPatient = [f"{v:.6f}" for v in place]
        ds.save_as(path)
    return folder


@pytest.mark.parametrize(("degrees", "along"), [(20, 1), (-12.5, 1), (7, 0)])
def test_a_tilted_gantry_is_made_upright(tmp_path, degrees, along):
    with collected() as told:
        found = read_series(tilted(tmp_path / "ct", degrees, along))
    assert len(told) == 1 and "tilted gantry" in told[0] and f"{abs(degrees):.1f} degrees" in told[0]
    assert np.allclose(found.grid.direction, np.eye(3)) and found.grid.shape[2] == SHAPE[2]
    index = np.stack(np.meshgrid(*map(np.arange, found.grid.shape), indexing="ij"), -1).reshape(-1, 3)
    world = found.grid.world(index)
    expected = (3 * world[:, 0] + 5 * world[:, 1] + 2 * world[:, 2] - 300).reshape(found.grid.shape)
    measured = found.array > -1000  # the rest is air
    assert abs(measured.sum() / np.prod(SHAPE) - 1) < 0.03
    inside = ndimage.binary_erosion(measured, np.ones((3, 3, 1)))  # the outermost pixels reach half a pixel further
    assert np.abs(found.array - expected)[inside].max() < 1.01  # rounded


def test_upright_as_simpleitk_shears_it(tmp_path):
    """Random voxels: the same as SimpleITK's resampling through the shear, from index to index space."""
    folder = tilted(tmp_path / "ct", 18.0)
    values = np.random.default_rng(3).integers(-200, 900, SHAPE).astype(np.int16)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.PixelData = np.ascontiguousarray(values[..., int(ds.InstanceNumber) - 1].T).tobytes()
        ds.save_as(path)
    with collected():
        found = read_series(folder)
    image = sitk.GetImageFromArray(values.T.astype(np.float32))  # at 1 mm from 0: its world is its index
    (series,) = find_series(folder)
    start, step = series.slices[0].position, series.slices[1].position - series.slices[0].position
    affine = np.c_[[2.0, 0, 0], [0, 2.5, 0], step]  # sheared index to world
    inverse = np.linalg.inv(affine)
    transform = sitk.AffineTransform(inverse.ravel().tolist(), (-inverse @ start).tolist())  # world to sheared index
    place = sitk.Image([int(n) for n in found.grid.shape], sitk.sitkFloat32)
    place.SetSpacing(found.grid.spacing.tolist())
    place.SetOrigin(found.grid.origin.tolist())
    expected = sitk.GetArrayFromImage(sitk.Resample(image, place, transform, sitk.sitkLinear, -9999.0)).T
    inside = expected > -9999
    assert inside.sum() > 0.85 * np.prod(SHAPE)
    assert np.abs(found.array - expected)[inside].max() < 0.05


def test_dicom_results_do_not_lie_on_tilted_slices(tmp_path):
    tilted(tmp_path / "fixed", 10)
    write_volume(tmp_path / "moving", volume_of(np.zeros(SHAPE, np.float32), Grid.of(SHAPE, 2.0)))
    (fixed,), (moving,) = find_series(tmp_path / "fixed"), find_series(tmp_path / "moving")
    with pytest.raises(ImageError, match="tilted gantry .10.0 degrees"):
        Sources.of(fixed, moving)
    assert Sources.of(moving, fixed).moving
