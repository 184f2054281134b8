"""Images in and out, against SimpleITK and against bad input."""

from __future__ import annotations

import resource
from contextlib import contextmanager

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from jssr.core.bridges import to_sitk
from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.volume import Volume
from jssr.errors import ImageError, OutputError
from jssr.io.images import read_grid, read_image, stored_dtype, write_image

AXES = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix()
GRID = Grid.of((7, 6, 5), (0.8, 1.1, 2.5), (-12.5, 30.25, 900.0), AXES)
VALUES = np.random.default_rng(0).uniform(-1000, 1500, GRID.shape).astype(np.float32)


def save(path, array, grid=GRID):
    image = sitk.GetImageFromArray(array)
    if grid is not None:
        image.SetSpacing(grid.spacing.tolist())
        image.SetOrigin(grid.origin.tolist())
        image.SetDirection(grid.direction.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


def refused(path, words, **options):
    with pytest.raises(ImageError, match=words) as caught:
        read_image(path, **options)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha", "mhd"])
def test_round_trip(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    write_image(Volume(torch.from_numpy(VALUES)[None], GRID), path)
    again = read_image(path)
    assert again.grid.same_as(GRID, 1e-4) and np.array_equal(again.array, VALUES)
    assert read_grid(path).same_as(GRID, 1e-4)
    # And SimpleITK sees the same voxel at the same place.
    image = sitk.ReadImage(str(path))
    assert image[1, 2, 3] == VALUES[1, 2, 3]
    assert np.allclose(image.TransformIndexToPhysicalPoint((1, 2, 3)), GRID.world((1, 2, 3)), atol=1e-3)


def test_axes_are_itks_index(tmp_path):
    array = np.zeros((5, 6, 7), np.int16)  # numpy from SimpleITK is k, j, i
    array[4, 2, 1] = 9
    volume = read_image(save(tmp_path / "a.nii.gz", array))
    assert volume.data.shape == (1, 7, 6, 5) and volume.data.dtype == torch.float32
    assert volume.data[0, 1, 2, 4] == 9 and volume.data.sum() == 9
    assert volume.name.endswith("a.nii.gz") and volume.data.is_contiguous()


def test_numeric_range_is_the_files(tmp_path):
    array = np.array([[[-1024, 3071]] * 2] * 2, np.int16)
    volume = read_image(save(tmp_path / "a.nii.gz", array, None))
    assert (volume.data.min(), volume.data.max()) == (-1024, 3071)
    assert stored_dtype(tmp_path / "a.nii.gz") == np.int16


@pytest.mark.parametrize(
    ("stored", "read"),
    [("uint8", torch.uint8), ("int16", torch.int16), ("uint16", torch.int32), ("float32", torch.int32)],
)
def test_labels_are_integers(tmp_path, stored, read):
    array = np.zeros((5, 6, 7), stored)
    array[1:3] = 104
    volume = read_image(save(tmp_path / "a.nii.gz", array), kind="labels")
    assert volume.kind == "labels" and volume.data.dtype == read
    assert volume.data.unique().tolist() == [0, 104]
    assert stored_dtype(tmp_path / "a.nii.gz") == np.dtype(stored)


def test_labels_of_one_value_are_fine(tmp_path):
    assert read_image(save(tmp_path / "a.nii.gz", np.zeros((5, 6, 7), np.uint8)), kind="labels").data.sum() == 0


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd"])
@pytest.mark.parametrize(("value", "words"), [(0.5, "not whole numbers"), (np.nan, "NaN|not whole numbers")])
def test_labels_must_be_whole(tmp_path, value, words, ending):
    array = np.zeros((5, 6, 7), np.float32)
    array[0, 0, 0] = value
    refused(save(tmp_path / f"a.{ending}", array), words, kind="labels")


def test_written_types(tmp_path):
    path = tmp_path / "a.nii.gz"
    for data, kind, stored in [
        (torch.ones(1, *GRID.shape, dtype=torch.uint8), "labels", "uint8"),
        (torch.ones(1, *GRID.shape, dtype=torch.int64), "labels", "int32"),
        (torch.ones(1, *GRID.shape, dtype=torch.bool), "labels", "uint8"),
        (torch.ones(1, *GRID.shape), "image", "float32"),
    ]:
        write_image(Volume(data, GRID, kind), path)
        assert stored_dtype(path) == np.dtype(stored)


def test_integers_are_rounded_and_clipped(tmp_path):
    data = torch.zeros(1, 2, 2, 2)
    data.view(-1)[:4] = torch.tensor([1.6, -1.6, 4e4, -4e4])
    write_image(Volume(data, Grid.of((2, 2, 2))), tmp_path / "a.nii.gz", like_dtype=np.int16)
    assert read_image(tmp_path / "a.nii.gz").data.view(-1)[:4].tolist() == [2, -2, 32767, -32768]


def test_several_channels_become_a_vector_image(tmp_path):
    data = torch.arange(2 * 210).view(2, *GRID.shape).float()
    write_image(Volume(data, GRID), tmp_path / "a.nii.gz")
    assert sitk.ReadImage(str(tmp_path / "a.nii.gz"))[1, 2, 3] == tuple(data[:, 1, 2, 3].tolist())
    refused(tmp_path / "a.nii.gz", "2 values per voxel")


def test_two_dimensions(tmp_path):
    flat = np.arange(12, dtype=np.uint8).reshape(3, 4)
    path = save(tmp_path / "a.png", flat, None)
    assert read_image(path, ndim=2).array.tolist() == flat.T.tolist()
    refused(path, "is 2D .4 x 3.; expected a 3D image", ndim=3)


def test_one_slice_is_2d(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.arange(12, dtype=np.uint8).reshape(1, 3, 4), None)
    assert read_image(path, ndim=2).grid.shape == (4, 3)
    refused(path, "is 2D .4 x 3 x 1.", ndim=3)
    assert read_grid(path).shape == (4, 3)


def test_4d_is_refused_unless_of_one_frame(tmp_path):
    frames = [sitk.GetImageFromArray(VALUES.T + i) for i in range(3)]
    sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / "a.nii.gz"))
    refused(tmp_path / "a.nii.gz", "is 4D .7 x 6 x 5 x 3.; expected 3D")
    sitk.WriteImage(sitk.JoinSeries(frames[:1]), str(tmp_path / "b.nii.gz"))
    assert np.array_equal(read_image(tmp_path / "b.nii.gz").array, VALUES)
    assert read_grid(tmp_path / "b.nii.gz").shape == (7, 6, 5)


def test_3d_where_2d_is_due(tmp_path):
    refused(save(tmp_path / "a.nii.gz", VALUES.T), "expected 2D", ndim=2)


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mha"])  # ITK reads NaN of a NIfTI as 0
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_is_refused(tmp_path, bad, ending):
    array = VALUES.T.copy()
    array[0, 0, :2] = bad
    refused(save(tmp_path / f"a.{ending}", array), "2 of 210 voxels are NaN or infinite")


def test_constant_is_refused(tmp_path):
    refused(save(tmp_path / "a.nii.gz", np.full((5, 6, 7), 3, np.int16)), "every voxel is 3")


def test_missing_and_empty(tmp_path):
    refused(tmp_path / "no.nii.gz", "no such file")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "is empty")


def test_shear_in_which_no_two_axes_are_perpendicular_is_refused(tmp_path):
    path = save(tmp_path / "a.nrrd", VALUES.T, None)
    header = path.read_bytes().replace(b"(0,1,0)", b"(0.4,1,0)").replace(b"(0,0,1)", b"(0.3,0.2,1)")
    path.write_bytes(header)
    refused(path, "not perpendicular")


def sheared_affine(degrees, order=(0, 1, 2), down=False):
    """LPS mm of slices at 4 mm, each shifted along the rows' direction against the one before; `order` says which of
    columns, rows, slices each axis of the array is."""
    steps = np.array([[2.0, 0, 0], [0, 2.5, 0], [0, 4 * np.tan(np.radians(degrees)), 4.0]])
    affine = np.eye(4)
    affine[:3, :3] = steps[list(order)].T * [1, 1, -1 if down else 1]
    affine[:3, 3] = -20.0, 30.0, 100.0
    return affine


def save_sheared(path, array, affine):
    """By nibabel, or by SimpleITK."""
    if path.name.endswith((".nii", ".nii.gz")):
        ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        image = nib.Nifti1Image(array, None)
        image.set_sform(ras, 1)
        image.set_qform(ras, 1, strip_shears=True)
        nib.save(image, path)
        return path
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    image = sitk.GetImageFromArray(array.T)
    image.SetSpacing(steps.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / steps).ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("ending", ["nii.gz", "nii", "nrrd", "mha", "mhd"])
@pytest.mark.parametrize(
    ("degrees", "order", "down"), [(20, (0, 1, 2), False), (-12.5, (0, 1, 2), True), (15, (2, 0, 1), False)]
)
def test_a_tilted_gantry_is_made_upright_in_every_format(tmp_path, ending, degrees, order, down):
    """A linear function of the place in mm, which interpolation keeps."""
    shape = np.array((14, 12, 9))[list(order)]
    affine = sheared_affine(degrees, order, down)
    at = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    values = (at @ [3.0, 5.0, 2.0] + 1000).astype(np.float32)
    path = save_sheared(tmp_path / f"a.{ending}", values, affine)
    with collected() as told:
        found, grid = read_image(path), read_grid(path)
    tilt = [words for words in told if "tilted gantry" in words]
    assert len(tilt) == 1 and f"{abs(degrees):.1f} degrees" in tilt[0] and str(path) in tilt[0]
    assert grid.same_as(found.grid) and np.allclose(np.sort(found.grid.spacing), (2.0, 2.5, 4.0))
    expected = found.grid.world(np.moveaxis(np.indices(found.grid.shape), 0, -1)) @ [3.0, 5.0, 2.0] + 1000
    inside = found.array > values.min()
    inner = ndimage.binary_erosion(inside, np.ones((3, 3, 1)))
    assert inner.sum() > 0.4 * values.size and abs(inside.sum() / values.size - 1) < 0.1
    assert np.abs(found.array - expected)[inner].max() < 0.01


def test_labels_on_a_tilted_scan_stay_labels_on_its_upright_grid(tmp_path):
    affine = sheared_affine(20)
    labels = np.zeros((14, 12, 9), np.uint8)
    labels[3:9, 4:8, :] = 200
    scan = save_sheared(tmp_path / "scan.nii.gz", np.random.default_rng(0).normal(size=labels.shape), affine)
    path = save_sheared(tmp_path / "labels.nii.gz", labels, affine)
    with collected():
        found, image = read_image(path, "labels"), read_image(scan)
    assert found.grid.same_as(image.grid) and np.unique(found.array).tolist() == [0, 200]
    middle = found.grid.world(np.argwhere(found.array > 0)).mean(axis=0)
    assert np.abs(middle - (np.argwhere(labels) @ affine[:3, :3].T + affine[:3, 3]).mean(axis=0)).max() < 0.5


def test_from_sitk_is_to_sitk_reversed():
    image = to_sitk(VALUES[None], GRID)
    again = Volume.from_sitk(image)
    assert again.grid.same_as(GRID) and np.array_equal(again.array, VALUES)


@pytest.mark.parametrize("name", ["a.nii.gz.nii", "b.nii.nii.gz", "c.img.nii", "d.hdr.nii.gz"])
def test_a_name_with_two_endings_is_the_files_own_name(tmp_path, name):
    volume = Volume(torch.arange(24.0).view(1, 2, 3, 4), Grid((2, 3, 4), np.eye(4)))
    write_image(volume, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert torch.equal(read_image(tmp_path / name).data, volume.data)


def test_unknown_ending(tmp_path):
    with pytest.raises(OutputError, match="unknown kind"):
        write_image(Volume(torch.zeros(1, 2, 2, 2), Grid.of((2, 2, 2))), tmp_path / "a.xyz")


def test_nan_is_not_written(tmp_path):
    data = torch.full((1, 2, 2, 2), float("nan"))
    with pytest.raises(OutputError, match="NaN"):
        write_image(Volume(data, Grid.of((2, 2, 2))), tmp_path / "a.nii.gz")
    assert not list(tmp_path.iterdir())


@contextmanager
def small_disk():
    """No file may grow beyond 20 kB: what a full disk looks like to a writer. Not a fixture: pytest reports before
    those end, maybe to a file that is larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mha", "nrrd"])
def test_full_disk_leaves_the_old_file(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(b"old")
    with (
        small_disk(),
        pytest.raises(
            OutputError, match=f"a.{ending}: could not be written completely: check whether the disk is full"
        ),
    ):
        write_image(Volume(torch.rand(1, 30, 30, 30), Grid.of((30, 30, 30))), path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
