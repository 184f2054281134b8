import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.volume import Volume
from jssr.errors import ImageError, OutputError
from jssr.io.images import read_grid, read_image, write_image

ROWS = np.arange(20, dtype=np.uint16).reshape(4, 5) * 3000  # beyond 8 and beyond 15 bits


def radiograph(path, photometric="MONOCHROME2", spacing="ImagerPixelSpacing", kind=None, **tags):
    """A computed radiograph as a DICOM file: 16 bits, 0.2 mm between rows and 0.1 between columns."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind or ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = generate_uid(), ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientID, data.SeriesInstanceUID = "CR", "x", generate_uid()
    data.Rows, data.Columns, data.SamplesPerPixel = *ROWS.shape, 1
    data.PhotometricInterpretation, data.PixelRepresentation = photometric, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    for name, value in {spacing: [0.2, 0.1], **tags}.items():
        setattr(data, name, value)
    data.PixelData = ROWS.tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


def test_a_file_says_whether_it_is_flat(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(ROWS), str(tmp_path / "a.png"))
    sitk.WriteImage(sitk.GetImageFromArray(ROWS[None].astype(np.int32)), str(tmp_path / "slice.nii.gz"))
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([ROWS, ROWS + 1])), str(tmp_path / "two.nii.gz"))
    shapes = [read_image(tmp_path / name).grid.shape for name in ("a.png", "slice.nii.gz", "two.nii.gz")]
    assert shapes == [(5, 4), (5, 4), (5, 4, 2)]
    assert np.array_equal(read_image(tmp_path / "a.png").array, ROWS.T)


def test_grey_pictures_saved_as_colour(tmp_path):
    grey = (ROWS // 300).astype(np.uint8)
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", ndim=2).array, grey.T)
    Image.fromarray(grey).save(tmp_path / "a.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "a.jpg").array - grey.T).max() <= 2
    coloured = np.stack([grey, grey, grey // 2], axis=-1)
    Image.fromarray(coloured).save(tmp_path / "b.png")
    with pytest.raises(ImageError, match="colour picture"):
        read_image(tmp_path / "b.png")


def test_dicom_radiographs(tmp_path):
    found = read_image(radiograph(tmp_path / "a.dcm"))
    assert np.array_equal(found.array, ROWS.T)
    assert found.grid.spacing.tolist() == pytest.approx([0.1, 0.2])  # columns, rows
    other = read_image(radiograph(tmp_path / "c.dcm", spacing="PixelSpacing"))
    assert other.grid.spacing.tolist() == pytest.approx([0.1, 0.2])
    (tmp_path / "study").mkdir()
    radiograph(tmp_path / "study" / "one.dcm")
    assert np.array_equal(read_image(tmp_path / "study").array, ROWS.T)  # a folder of one radiograph
    turned = read_image(radiograph(tmp_path / "b.dcm", "MONOCHROME1"))
    assert np.array_equal(turned.array, 65535 - ROWS.T)
    with pytest.raises(ImageError, match="expected a 3D image"):
        read_image(tmp_path / "a.dcm", ndim=3)


PROJECTIONS = ("1.1", "1.1.1", "1.2", "1.3", "12.1", "12.2")
"""Digital radiographs, mammograms, intra-oral ones, angiograms and fluoroscopy."""


@pytest.mark.parametrize("number", ["1", *PROJECTIONS])
def test_the_calibrated_spacing_of_a_radiograph_counts(tmp_path, number):
    kind = f"1.2.840.10008.5.1.4.1.1.{number}"
    calibrated = {"PixelSpacing": [0.16, 0.08], "PixelSpacingCalibrationType": "GEOMETRY"}
    for name, more in (("a", calibrated), ("b", {"PixelSpacing": [0.16, 0.08]})):
        path = radiograph(tmp_path / f"{name}.dcm", kind=kind, **more)
        with collected() as told:
            found = read_image(path)
        assert found.grid.spacing.tolist() == pytest.approx([0.08, 0.16]) and told == []
        assert read_grid(path).same_as(found.grid)


@pytest.mark.parametrize("more", [{}, {"PixelSpacing": [0.2, 0.1]}, {"PixelSpacing": ["", ""]}])
def test_a_spacing_at_the_detector_is_told(tmp_path, more):
    with collected() as told:
        found = read_image(radiograph(tmp_path / "a.dcm", **more))
    assert found.grid.spacing.tolist() == pytest.approx([0.1, 0.2])
    assert len(told) == 1 and "at the detector" in told[0] and str(tmp_path / "a.dcm") in told[0]


def test_equal_spacings_that_were_calibrated(tmp_path):
    more = {"PixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"}
    with collected() as told:
        read_image(radiograph(tmp_path / "a.dcm", **more))
    assert told == []


def test_a_coronal_slice_keeps_its_pixels(tmp_path):
    image = sitk.GetImageFromArray(ROWS[None].astype(np.int32))
    image.SetDirection((1, 0, 0, 0, 0, 1, 0, -1, 0))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    found = read_image(tmp_path / "a.nrrd")
    assert np.array_equal(found.array, ROWS.T) and np.array_equal(found.grid.direction, np.eye(2))


def test_dots_per_inch_are_no_millimetres(tmp_path):
    grey = Image.fromarray((ROWS // 300).astype(np.uint8))
    for name in ("a.jpg", "a.tif", "a.png", "a.bmp"):
        grey.save(tmp_path / name, dpi=(72, 72))
        assert read_image(tmp_path / name).grid.spacing.tolist() == [1, 1]
        assert read_grid(tmp_path / name).spacing.tolist() == [1, 1]


def test_an_oblique_slice_keeps_its_spacing(tmp_path):
    image = sitk.GetImageFromArray(ROWS[None].astype(np.int32))
    c, s = np.cos(np.radians(30)), np.sin(np.radians(30))
    image.SetDirection((1, 0, 0, 0, c, -s, 0, s, c))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    found = read_image(tmp_path / "a.nrrd")
    assert found.grid.spacing.tolist() == pytest.approx([1, 1])
    assert read_grid(tmp_path / "a.nrrd").same_as(found.grid)


def test_pictures_are_written_where_they_can_hold_the_image(tmp_path):
    labels = Volume(torch.from_numpy(ROWS.T.astype(np.int32))[None], Grid.of((5, 4)), "labels")
    write_image(labels, tmp_path / "a.png", "uint16")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), ROWS)
    with pytest.raises(OutputError, match="8 or 16 unsigned bits"):
        write_image(labels, tmp_path / "b.png")
    solid = Volume(torch.zeros(1, 4, 4, 4, dtype=torch.uint8), Grid.of((4, 4, 4)), "labels")
    with pytest.raises(OutputError, match="3D"):
        write_image(solid, tmp_path / "c.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]
