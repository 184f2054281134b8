"""Structure sets that are contradictory or damaged are refused in one line."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pydicom
import pytest
from dicom_objects import numbers, structure_set
from dicom_series import write_volume

from jssr.core.grid import Grid
from jssr.core.volume import volume_of
from jssr.errors import GeometryError, ImageError
from jssr.io.dicom.contours import read_structures
from jssr.io.dicom.files import in_words
from jssr.io.dicom.shapes import shape_of
from jssr.io.dicom.structures import write_structure_set

GRID = Grid.of((10, 9, 8), (2.0, 2.0, 3.0), (-9.0, -8.0, -12.0))
ANGLES = np.linspace(0, 2 * np.pi, 13)[:-1]


def tube(radius):
    return [
        ("CLOSED_PLANAR", np.c_[radius * np.cos(ANGLES), radius * np.sin(ANGLES), np.full(12, z)])
        for z in (-6.0, -3.0, 0.0)
    ]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    home = tmp_path_factory.mktemp("set")
    folder = write_volume(home / "ct", volume_of(np.zeros(GRID.shape, np.float32), GRID))
    series = [pydicom.dcmread(p) for p in sorted(folder.iterdir())]
    return structure_set(home / "rs.dcm", {"Bladder": tube(6.0), "Rectum": tube(4.0)}, series)


def refused(plain, tmp_path, change, *words):
    made = pydicom.dcmread(plain)
    change(made)
    made.save_as(tmp_path / "rs.dcm")
    with pytest.raises(ImageError) as caught:
        read_structures(tmp_path / "rs.dcm")
    said = str(caught.value)
    assert "\n" not in said and "rs.dcm" in said and "Error" not in said
    assert all(word in said for word in words), said


def scaled(made):
    contours = made.ROIContourSequence[1].ContourSequence
    contours[1].ContourData = numbers(np.array(contours[1].ContourData, float) * 1e5)


def one_point(made):
    data = np.array(made.ROIContourSequence[0].ContourSequence[2].ContourData, float)
    data[5] = -4e4
    made.ROIContourSequence[0].ContourSequence[2].ContourData = numbers(data)


def test_a_structure_larger_than_any_body(plain, tmp_path):
    refused(plain, tmp_path, scaled, "'Rectum'", "800 m along x", "at most 2.5 m")
    refused(plain, tmp_path, one_point, "'Bladder'", "along z")


def test_contours_without_a_point_are_left_out_and_told(plain, tmp_path):
    """As some programs and templates leave them."""
    made = pydicom.dcmread(plain)
    first, second, _ = made.ROIContourSequence[1].ContourSequence
    first.NumberOfContourPoints, first.ContourData = 0, []
    del second.NumberOfContourPoints, second.ContourData
    made.save_as(tmp_path / "rs.dcm")
    found = read_structures(tmp_path / "rs.dcm")
    assert [len(one.closed) for one in found.structures] == [3, 1]
    assert len(found.warnings) == 1 and "2 contours of 'Rectum' hold no point" in found.warnings[0]


def test_a_working_grid_of_too_many_voxels():
    """Planes 0.2 mm apart over 2 m, each 1.8 m wide: 3.6 m2 of pixels of 0.25 mm2 on 10 000 planes."""
    square = np.array([(-900.0, -900.0), (900.0, -900.0), (900.0, 900.0), (-900.0, 900.0)])
    planes = [np.c_[square, np.full(4, z)] for z in np.arange(0, 2000, 0.2)]
    with pytest.raises(GeometryError, match="Table: .*voxels, expected at most"):
        shape_of(planes, Grid.of((10, 10, 10), 0.5), "Table")


def test_two_structures_of_one_number(plain, tmp_path):
    def same(made):
        made.StructureSetROISequence[0].ROINumber = 2

    def twice(made):
        made.ROIContourSequence[0].ReferencedROINumber = 2

    refused(plain, tmp_path, same, "'Bladder' and 'Rectum'", "number 2")
    refused(plain, tmp_path, twice, "'Rectum'", "2 sets of contours")


def test_what_is_missing_is_said_by_its_keyword(plain, tmp_path):
    def unnumbered(made):
        del made.StructureSetROISequence[0].ROINumber

    def unreferred(made):
        del made.ROIContourSequence[1].ReferencedROINumber

    refused(plain, tmp_path, unnumbered, "ROINumber is missing")
    refused(plain, tmp_path, unreferred, "ReferencedROINumber is missing")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("(0062,000A)"), "SegmentIdentificationSequence is missing"),
        (KeyError(pydicom.tag.Tag("PixelSpacing")), "PixelSpacing is missing"),
        (AttributeError("'FileDataset' object has no attribute 'Rows'"), "Rows is missing"),
        (AttributeError("'NoneType' object has no attribute 'get'"), "an attribute is missing"),
        (TypeError("'NoneType' object is not iterable"), "an attribute has no value, or too few"),
        (ValueError("could not convert string to float: b'x'"), "an attribute holds text in place of a number"),
        (ValueError("cannot reshape array of size 5 into shape (2,4)"), "its pixels do not fill its frames"),
        (ValueError("The length of the pixel data\n is odd"), "The length of the pixel data is odd"),
    ],
)
def test_errors_of_libraries_in_words(error, words):
    assert in_words(error) == words


def test_remarks_of_libraries_stay_away(plain, tmp_path, caplog):
    """pydicom warns of an escape sequence that it does not know, highdicom of a name without a caret."""
    made = pydicom.dcmread(plain)
    made.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    made.PatientName = "Single"
    made.StructureSetLabel = "PLAN"
    made.save_as(tmp_path / "odd.dcm")
    data = (tmp_path / "odd.dcm").read_bytes()
    (tmp_path / "odd.dcm").write_bytes(data.replace(b"Bladder", b"\x1b$9Bla1"[:7]))
    series = [pydicom.dcmread(p) for p in sorted((plain.parent / "ct").iterdir())]
    for header in series:
        header.PatientName = "Single"
    caplog.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_structures(tmp_path / "odd.dcm")
        drawn = [(one, [(None, "CLOSED_PLANAR", xyz) for xyz in one.closed]) for one in found.structures]
        write_structure_set(drawn, found.header, series, tmp_path / "out.dcm", 7)
    assert not caplog.records
    assert not re.search(r"[\x00-\x1f]", found.structures[0].name)
    assert [one.name for one in read_structures(tmp_path / "out.dcm").structures][1] == "Rectum"
    with pytest.warns(UserWarning):  # or there is nothing to keep away
        assert pydicom.dcmread(tmp_path / "odd.dcm").StructureSetROISequence[0].ROIName
