"""What a DICOM file announces must fit into it, before a library takes memory for it."""

from __future__ import annotations

import struct

import numpy as np
import pydicom
import pytest
from dicom_series import write_volume
from pydicom.uid import ImplicitVRLittleEndian

from jssr.core.grid import Grid
from jssr.core.volume import volume_of
from jssr.errors import ImageError
from jssr.io.elements import check_elements
from jssr.io.images import read_image

GRID = Grid.of((8, 6, 5), (2.0, 2.0, 3.0))


@pytest.fixture
def file(tmp_path):
    values = np.random.default_rng(0).integers(0, 99, GRID.shape).astype(np.float32)
    return sorted(write_volume(tmp_path / "ct", volume_of(values, GRID)).iterdir())[2]


def refused(path, *says):
    with pytest.raises(ImageError) as caught:
        check_elements(path)
    for word in (path.name, *says):
        assert word in str(caught.value)


def announce(path, element, length):
    """The file with another length of its element of four bytes of length."""
    data = path.read_bytes()
    at = data.index(element) + len(element) + 2
    path.write_bytes(data[:at] + struct.pack("<I", length) + data[at + 4 :])


def test_whole_files_pass_in_both_codings(file, tmp_path):
    check_elements(file)
    found = pydicom.dcmread(file)
    found.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    found.save_as(tmp_path / "implicit.dcm", implicit_vr=True, little_endian=True)
    check_elements(tmp_path / "implicit.dcm")


def test_sequences_of_undefined_length_and_fragments_pass(file, tmp_path):
    found = pydicom.dcmread(file)
    inner = pydicom.Dataset()
    inner.CodeValue = "1"
    inner.is_undefined_length_sequence_item = True
    found.AnatomicRegionSequence = [inner]
    found["AnatomicRegionSequence"].is_undefined_length = True
    found.compress(pydicom.uid.RLELossless)
    found.save_as(tmp_path / "a.dcm")
    assert b"\xff\xff\xff\xff" in (tmp_path / "a.dcm").read_bytes()
    check_elements(tmp_path / "a.dcm")


def test_zeros_that_fill_a_block_pass(file):
    file.write_bytes(file.read_bytes() + bytes(300))
    check_elements(file)


@pytest.mark.parametrize("length", [98, 2**31])
def test_an_element_that_ends_behind_the_file(file, length):
    announce(file, b"\xe0\x7f\x10\x00OW", length)  # 96 bytes are there
    refused(file, "do not fit", f"{file.stat().st_size} bytes")


def test_what_is_no_element(file):
    file.write_bytes(file.read_bytes() + b"\x09\x00\x01\x00LO\xff\x00more")
    refused(file, "do not fit")


def test_pixels_that_do_not_fill_their_rows(file):
    found = pydicom.dcmread(file)
    found.Rows = 60000
    found.save_as(file)
    refused(file, "96 of 960000 bytes of pixels")
    with pytest.raises(ImageError, match="96 of 960000"):
        read_image(file)


def test_a_damaged_slice_of_a_series_is_named(file):
    file.write_bytes(file.read_bytes() + b"\x09\x00\x01\x00LO\xff\x00more")
    with pytest.raises(ImageError, match=file.name):
        read_image(file.parent)
