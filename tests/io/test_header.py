"""Files that ITK would read without a word, or with many: truncated, damaged, badly spaced, mislabelled."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from jssr.errors import ImageError
from jssr.io.header import check_file
from jssr.io.images import read_image

ENDINGS = ["nii", "nii.gz", "mha", "nrrd"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of one image in each format."""
    folder = tmp_path_factory.mktemp("whole")
    values = np.random.default_rng(0).normal(size=(20, 21, 22)).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((1, 2, 3))
    out = {}
    for ending in ENDINGS:
        sitk.WriteImage(image, str(folder / f"a.{ending}"))
        out[ending] = (folder / f"a.{ending}").read_bytes()
    sitk.WriteImage(image, str(folder / "packed.mha"), useCompression=True)
    out["packed.mha"] = (folder / "packed.mha").read_bytes()
    return out


@pytest.mark.parametrize("kind", [*ENDINGS, "packed.mha"])
def test_whole_files_pass(tmp_path, whole, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(whole[kind])
    check_file(path)
    assert read_image(path).grid.shape == (22, 21, 20)


@pytest.mark.parametrize("share", [0.0, 0.004, 0.5, 0.999])
@pytest.mark.parametrize("kind", [*ENDINGS, "packed.mha"])
def test_truncated(tmp_path, whole, kind, share, capfd):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(whole[kind][: int(len(whole[kind]) * share)])
    with pytest.raises(ImageError, match="truncated") as caught:
        read_image(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # and no library says anything of its own


@pytest.mark.parametrize("ending", ENDINGS)
def test_not_an_image(tmp_path, ending, capfd):
    path = tmp_path / f"a.{ending}"
    path.write_text("this is a letter, not a scan\n" * 50)
    with pytest.raises(ImageError, match="is not a"):
        read_image(path)
    assert capfd.readouterr() == ("", "")


def test_damaged_in_the_middle(tmp_path, whole):
    data = bytearray(whole["nii.gz"])
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.nii.gz").write_bytes(data)
    with pytest.raises(ImageError, match="damaged"):
        read_image(tmp_path / "a.nii.gz")


def test_plain_nifti_named_gz_is_fine(tmp_path, whole):
    (tmp_path / "a.nii.gz").write_bytes(whole["nii"])
    assert read_image(tmp_path / "a.nii.gz").grid.shape == (22, 21, 20)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("spacing", [0.0, -2.0, float("nan"), float("inf")])
def test_nifti_spacing_must_be_positive(tmp_path, whole, spacing, packed):
    data = bytearray(whole["nii"])
    data[80:84] = struct.pack("<f", spacing)  # pixdim[1]
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(bytes(data)) if packed else data)
    with pytest.raises(ImageError, match="must be positive"):
        read_image(path)


@pytest.mark.parametrize("spacing", [b"0", b"-1", b"nan"])
def test_meta_spacing_must_be_positive(tmp_path, whole, spacing):
    (tmp_path / "a.mha").write_bytes(
        whole["mha"].replace(b"ElementSpacing = 1 ", b"ElementSpacing = " + spacing + b" ")
    )
    with pytest.raises(ImageError, match="must be positive"):
        read_image(tmp_path / "a.mha")


def test_nrrd_spacing_must_be_positive(tmp_path, whole):
    (tmp_path / "a.nrrd").write_bytes(whole["nrrd"].replace(b"(1,0,0)", b"(0,0,0)"))
    with pytest.raises(ImageError, match="not positive"):
        read_image(tmp_path / "a.nrrd")


def test_impossible_size(tmp_path, whole):
    data = bytearray(whole["nii"])
    data[42:44] = struct.pack("<h", -5)
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(ImageError, match="damaged NIfTI header"):
        read_image(tmp_path / "a.nii")


def test_meta_header_without_its_data(tmp_path):
    image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(4, 5, 6)))
    sitk.WriteImage(image, str(tmp_path / "a.mhd"))
    assert read_image(tmp_path / "a.mhd").grid.shape == (6, 5, 4)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(ImageError, match="a.raw is missing"):
        read_image(tmp_path / "a.mhd")


def test_nifti_2_is_measured_too(tmp_path):
    header = bytearray(544)
    header[0:12] = struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n"
    header[12:16] = struct.pack("<2h", 16, 32)  # float32
    header[16:80] = struct.pack("<8q", 3, 4, 5, 6, 1, 1, 1, 1)
    header[104:168] = struct.pack("<8d", 1, 1, 2, 3, 1, 1, 1, 1)
    header[168:176] = struct.pack("<q", 544)
    values = np.arange(120, dtype=np.float32).tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(header) + values)
    check_file(tmp_path / "a.nii")
    (tmp_path / "a.nii").write_bytes(bytes(header) + values[:-4])
    with pytest.raises(ImageError, match="476 of 480 bytes"):
        check_file(tmp_path / "a.nii")


NAN = float("nan")


@pytest.mark.parametrize(
    ("offset", "data", "says"),
    [
        (252, struct.pack("<hh", 0, 1) + struct.pack("<f", NAN) * 6 + struct.pack("<12f", *[NAN] * 12), "sform"),
        (252, struct.pack("<hhfff", 1, 0, NAN, 0, 0), "qform"),
        (70, struct.pack("<h", 1234), "1234"),
    ],
)
def test_a_damaged_header_is_refused_in_one_line(tmp_path, whole, capfd, offset, data, says):
    content = bytearray(whole["nii"])
    content[offset : offset + len(data)] = data
    path = tmp_path / "a.nii"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=says):
        read_image(path)
    assert capfd.readouterr() == ("", "")
