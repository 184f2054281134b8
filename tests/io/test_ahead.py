"""Images read in a thread are those that are read at once."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.volume import volume_of
from jssr.errors import ImageError
from jssr.io.ahead import read_ahead
from jssr.io.images import read_image, write_image
from jssr.registration.inputs import image_of


@pytest.fixture
def files(tmp_path):
    for k in range(2):
        values = np.random.default_rng(k).normal(size=(6, 5, 4)).astype(np.float32)
        write_image(volume_of(values, Grid.of((6, 5, 4), 2.0)), tmp_path / f"{k}.nii.gz")
    return [tmp_path / "0.nii.gz", str(tmp_path / "1.nii.gz")]


def test_both_are_read(files):
    for reading, path in zip(read_ahead(*files), files, strict=True):
        found, alone = image_of(reading), read_image(path)
        assert found.name == str(path) == str(reading.path) and found.grid.same_as(alone.grid)
        assert (found.array == alone.array).all()


def test_what_is_no_path_stays(files):
    volume = read_image(files[0])
    assert read_ahead(volume, (volume.array, np.eye(4)))[0] is volume


def test_an_error_comes_when_the_image_is_wanted(files, tmp_path):
    missing, other = read_ahead(tmp_path / "none.nii.gz", files[0])
    with pytest.raises(ImageError, match=r"none\.nii\.gz: no such file"):
        missing.volume()
    assert other.volume().grid.shape == (6, 5, 4)


def test_what_is_to_be_known_is_told_to_who_asks(tmp_path):
    path = tmp_path / "placeless.nii"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(60.0, dtype=np.float32).reshape(3, 4, 5)), str(path))
    raw = bytearray(path.read_bytes())
    raw[252:256] = bytes(4)  # qform_code and sform_code
    path.write_bytes(raw)
    (reading,) = read_ahead(path)
    with collected() as told:
        reading.volume()
    assert len(told) == 1 and "has no place" in told[0]
