from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from jssr.core.bridges import to_sitk
from jssr.core.grid import Grid
from jssr.core.late import Computed, is_computed
from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.errors import OutputError
from jssr.io.images import write_image
from jssr.io.slabs import write_slabs
from jssr.io.transforms import write_displacement

A = np.radians(20.0)
OBLIQUE = Grid.of(
    (7, 6, 5), (1.5, 2.0, 3.0), (-20.0, 11.0, 4.5),
    [[np.cos(A), -np.sin(A), 0], [np.sin(A), np.cos(A), 0], [0, 0, 1]],
)  # fmt: skip
PLANE = Grid.of((7, 6), (1.5, 2.0), (-20.0, 11.0), [[0, -1], [1, 0]])


def pieces(array, cuts):
    return np.split(array, cuts, axis=-1)


@pytest.mark.parametrize("grid", [OBLIQUE, PLANE], ids=["3D", "2D"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
@pytest.mark.parametrize("vectors", [False, True])
def test_the_file_is_itks_byte_for_byte(tmp_path, grid, dtype, vectors):
    channels = grid.ndim if vectors else 1
    array = (100 * np.random.default_rng(0).random((channels, *grid.shape))).astype(dtype)
    like = np.zeros((channels, *[1] * grid.ndim), dtype)
    write_slabs(tmp_path / "ours.nii.gz", grid, like, pieces(array, [1, 3]), "a note")
    image = to_sitk(array, grid)
    image.SetMetaData("ITK_FileNotes", "a note")
    sitk.WriteImage(image, str(tmp_path / "theirs.nii"))
    assert gzip.decompress((tmp_path / "ours.nii.gz").read_bytes()) == (tmp_path / "theirs.nii").read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_written_field_is_read_by_nibabel_and_simpleitk(tmp_path):
    u = np.random.default_rng(1).normal(size=(3, *OBLIQUE.shape)).astype(np.float32)
    from jssr.core.late import pending

    field = Displacement(pending(u), OBLIQUE)
    write_displacement(field, tmp_path / "u.nii.gz")
    vectors = field.millimetres()
    read = np.asarray(nib.load(tmp_path / "u.nii.gz").dataobj)
    assert read.shape == (*OBLIQUE.shape, 1, 3)
    assert np.abs(read[:, :, :, 0] - vectors).max() <= 1 / 2048 + 1e-5
    assert (read * 1024 == np.rint(read * 1024)).all()
    image = sitk.ReadImage(str(tmp_path / "u.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0, 3), read[:, :, :, 0])


def test_a_computed_image_is_written_without_being_held(tmp_path):
    array = np.random.default_rng(2).normal(0, 300, (1, *OBLIQUE.shape)).astype(np.float32)
    asked = []

    def make(where):
        asked.append(where)
        return array[(slice(None), *where)]

    volume = Volume(Computed(array.shape, np.float32, make), OBLIQUE)
    write_image(volume, tmp_path / "image.nii.gz", np.int16)
    assert is_computed(volume, "data") and asked
    found = np.asarray(nib.load(tmp_path / "image.nii.gz").dataobj)
    assert np.array_equal(found, np.rint(array[0]).astype(np.int16))
    # Whoever asks for the voxels has them.
    assert np.array_equal(volume.data.numpy(), array) and not is_computed(volume, "data")


def test_what_is_not_finite_is_not_written_and_what_was_there_stays(tmp_path):
    path = tmp_path / "u.nii.gz"
    path.write_text("before")
    array = np.zeros((1, *OBLIQUE.shape), np.float32)
    array[0, 3, 3, 4] = np.nan
    with pytest.raises(OutputError, match="NaN or infinity"):
        write_slabs(path, OBLIQUE, array[:, :1, :1, :1], pieces(array, [2]))
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1
