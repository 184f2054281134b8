"""Headers that promise more voxels than their files can hold."""

from __future__ import annotations

import io

import numpy as np
import pytest
import SimpleITK as sitk

from jssr.errors import ImageError
from jssr.io.header import check_file
from jssr.io.images import read_grid, read_image, write_image
from jssr.io.sizes import check_nrrd, nrrd_fields


@pytest.fixture
def image():
    return sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 99, (6, 7, 8)).astype(np.int16))


def changed(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    return path


def refused(path, *says):
    for check in (check_file, read_image, read_grid):
        with pytest.raises(ImageError) as caught:
            check(path)
        for word in (path.name, *says):
            assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "packed", "old", "new"),
    [
        ("a.nrrd", False, b"sizes: 8 7 6", b"sizes: 8000 7000 6000"),
        ("a.nrrd", True, b"sizes: 8 7 6", b"sizes: 8000 7000 6000"),
        ("a.mha", False, b"DimSize = 8 7 6", b"DimSize = 8000 7000 6000"),
        ("a.mha", True, b"DimSize = 8 7 6", b"DimSize = 8000 7000 6000"),
        ("a.nhdr", False, b"sizes: 8 7 6", b"sizes: 8 7 7"),
        ("a.mhd", False, b"DimSize = 8 7 6", b"DimSize = 8 7 7"),
        ("a.hdr", False, b"\x08\x00\x07\x00\x06\x00", b"\x08\x00\x07\x00\x07\x00"),
        ("a.nii", False, b"\x08\x00\x07\x00\x06\x00", b"\x08\x00\x07\x00\x07\x00"),
        ("a.nii.gz", None, None, None),
    ],
)
def test_more_than_there_is(tmp_path, image, name, packed, old, new):
    path = tmp_path / name
    if packed is None:  # gzip: its length is not known before it is unpacked, but has a bound
        import gzip

        sitk.WriteImage(image, str(tmp_path / "a.nii"))
        plain = bytearray((tmp_path / "a.nii").read_bytes())
        plain[42:48] = np.array([32767] * 3, "<i2").tobytes()
        path.write_bytes(gzip.compress(bytes(plain)))
    else:
        sitk.WriteImage(image, str(path), useCompression=packed)
        assert read_image(path).grid.shape == (8, 7, 6)
        changed(path, old, new)
    refused(path, "truncated", "bytes of voxels")


@pytest.mark.parametrize("new", [b"sizes: 8 7", b"sizes: 8 x 6", b"size: 8 7 6", b"sizes: 8 7 0"])
def test_sizes_of_nrrd_that_are_none(tmp_path, image, new):
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    refused(changed(tmp_path / "a.nrrd", b"sizes: 8 7 6", new), "damaged header")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"NDims = 3", b"NDims = 4"),
        (b"NDims = 3", b"NDims = three"),
        (b"NDims = 3", b"NDims = 3\nNDims = 2"),
        (b"Offset = 0 0 0", b"Offset = 0 0"),
        (b"Offset = 0 0 0", b"Offset = 0 nan 0"),
        (b"TransformMatrix = 1 0 0", b"TransformMatrix = 1 0"),
    ],
)
def test_fields_of_a_metaimage_that_are_none(tmp_path, image, old, new):
    """They are found before its library reads them."""
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    refused(changed(tmp_path / "a.mha", old, new), "damaged header")


def test_a_pair_has_a_spacing_that_is_one(tmp_path, image):
    sitk.WriteImage(image, str(tmp_path / "a.hdr"))
    data = bytearray((tmp_path / "a.hdr").read_bytes())
    data[80:84] = np.float32(-1).tobytes()
    (tmp_path / "a.hdr").write_bytes(data)
    refused(tmp_path / "a.hdr", "spacing", "positive")


@pytest.mark.parametrize(
    ("kind", "each"),
    [("unsigned char", 1), ("uint16_t", 2), ("short int", 2), ("unsigned int", 4), ("long long int", 8), ("double", 8)],
)
def test_the_widths_of_nrrds_types(tmp_path, kind, each):
    """One byte less than 2 x 3 voxels is refused."""
    head = f"NRRD0004\ntype: {kind}\ndimension: 2\nsizes: 2 3\nencoding: raw\n\n".encode()
    for bytes_there in (6 * each, 6 * each - 1):
        (tmp_path / "a.nrrd").write_bytes(head + bytes(bytes_there))
        with (tmp_path / "a.nrrd").open("rb") as file:
            if bytes_there == 6 * each:
                check_nrrd(tmp_path / "a.nrrd", file, True)
            else:
                with pytest.raises(ImageError, match=f"{bytes_there} of {6 * each}"):
                    check_nrrd(tmp_path / "a.nrrd", file, True)


def test_fields_of_nrrd_end_where_the_voxels_begin():
    file = io.BytesIO(b"NRRD0004\n# type: none\nType: short\nSegment0_Name:=a: b\n\nvoxels")
    assert nrrd_fields(file) == {"type": "short"}
    assert file.read() == b"voxels"


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
@pytest.mark.parametrize("end", [-100, -9])
def test_voxels_that_do_not_unpack_are_refused(tmp_path, image, name, end):
    """ITK takes what it got, and goes on."""
    sitk.WriteImage(image, str(tmp_path / name), useCompression=True)
    check_file(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:end] + bytes(-end))
    for check in (check_file, read_image):
        with pytest.raises(ImageError, match=f"{name}: .*(damaged|break off)"):
            check(tmp_path / name)


def test_an_mhd_names_its_data_beside_it(tmp_path, image):
    from jssr.core.volume import Volume

    volume = Volume.from_sitk(image, "image", name="a")
    for _ in range(2):
        write_image(volume, tmp_path / "one" / "a.mhd", np.int16)
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["a.mhd", "a.zraw"]
    (tmp_path / "one").rename(tmp_path / "two")
    assert np.array_equal(read_image(tmp_path / "two" / "a.mhd").array, volume.array)
