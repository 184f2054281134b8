"""Padding by its stored value, in every type and coding, made air."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dicom_series import write_volume

from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.volume import volume_of
from jssr.io.dicom.read import read_series

SHAPE = (16, 12, 4)
HU = np.random.default_rng(5).integers(-900, 1200, SHAPE).astype(np.float32)


def padded(folder, stored, where=np.s_[:3], modality="CT", coding=None, signed=True, intercept=0, bits=16, **tags):
    """A scan whose first columns hold the words `stored`, 16 bits each."""
    words = np.rint(HU - intercept).astype(np.int64) & 0xFFFF
    if bits < 16:
        words &= 2**bits - 1
    words[where] = stored & 0xFFFF
    write_volume(folder, volume_of(HU, Grid.of(SHAPE, 2.0)), modality)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.PixelRepresentation, ds.RescaleIntercept, ds.RescaleSlope = int(signed), str(intercept), "1"
        ds.BitsStored, ds.HighBit = bits, bits - 1
        for name, value in tags.items():
            ds.add_new(pydicom.datadict.tag_for_keyword(name), "US" if value >= 0 else "SS", value)
        plane = np.ascontiguousarray(words[..., int(ds.InstanceNumber) - 1].T).astype("<u2")
        ds.PixelData = plane.tobytes()
        if coding:
            ds.compress(getattr(pydicom.uid, coding))
        ds.save_as(path)
    return folder


@pytest.mark.parametrize(
    ("stored", "how"),
    [
        (-2000, {"PixelPaddingValue": 63536}),  # the other sign's type, as GE writes it
        (-2000, {"PixelPaddingValue": -2000}),
        (-32768, {"PixelPaddingValue": -32768}),
        (63536, {"PixelPaddingValue": 63536, "signed": False, "intercept": -1024}),
        (
            63536,
            {"PixelPaddingValue": 63536, "signed": False, "intercept": -1024, "bits": 12},
        ),  # beyond the stored bits
        (0xF830, {"PixelPaddingValue": 0xF830, "bits": 12}),
        (3000, {"PixelPaddingValue": 2990, "PixelPaddingRangeLimit": 3071}),
        (3000, {"PixelPaddingValue": 3071, "PixelPaddingRangeLimit": 2990}),
        (-2000, {"PixelPaddingValue": 63536, "coding": "RLELossless"}),
    ],
)
def test_padding_of_ct_becomes_air(tmp_path, stored, how):
    found = read_series(padded(tmp_path / "ct", stored, **how)).array
    assert np.all(found[:3] == -1000)
    assert np.array_equal(found[3:], HU[3:])


def test_air_that_is_padding_stays(tmp_path):
    found = read_series(padded(tmp_path / "ct", 0, PixelPaddingValue=0, signed=False, intercept=-1024)).array
    assert np.all(found[:3] == -1024) and np.array_equal(found[3:], HU[3:])


def test_a_padding_value_inside_the_patient_is_no_padding(tmp_path):
    inside = np.s_[5:9, 4:8]
    with collected() as told:
        found = read_series(padded(tmp_path / "ct", 0, inside, PixelPaddingValue=0)).array
    assert np.all(found[inside] == 0) and "padding value" in told[0]


def test_padding_of_mr(tmp_path):
    found = read_series(padded(tmp_path / "mr", -32768, modality="MR", PixelPaddingValue=-32768)).array
    assert np.all(found[:3] == HU[3:].min()) and np.array_equal(found[3:], HU[3:])


def test_bits_above_the_stored_ones(tmp_path):
    """Of a signed 12-bit slice the sign is in bit 11; what stands above it means nothing."""
    folder = padded(tmp_path / "ct", -800, bits=12)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        words = np.frombuffer(ds.PixelData, "<u2") & 0x0FFF
        ds.PixelData = (words | (np.arange(words.size) % 16 << 12)).astype("<u2").tobytes()
        ds.save_as(path)
    found = read_series(folder).array
    assert np.all(found[:3] == -800) and np.array_equal(found[3:], HU[3:])
