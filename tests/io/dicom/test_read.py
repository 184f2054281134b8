"""DICOM series written with pydicom, read back, compared with what was written and with SimpleITK."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_objects import dose
from dicom_series import write_volume
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.volume import volume_of
from jssr.errors import ImageError
from jssr.io.dicom.headers import headers_of
from jssr.io.dicom.phases import name_phases
from jssr.io.dicom.read import read_series
from jssr.io.dicom.series import find_series
from jssr.io.images import read_image

AXES = Rotation.from_euler("xyz", (12, -8, 20), degrees=True).as_matrix()
SHAPE = (6, 5, 4)  # columns, rows, slices
STORED = np.random.default_rng(0).integers(0, 3000, SHAPE).astype(np.uint16)


def write_slice(path, pixels, position, uid, axes=AXES, **tags):
    """One CT slice; `pixels` is (columns, rows) as our tensors have it."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = uid, "1.2.3", "1.2.4"
    ds.Modality, ds.PatientID, ds.SeriesDescription = "CT", "phantom", "venous 3 mm"
    ds.AcquisitionDate, ds.AcquisitionTime = "20200102", "101500.0"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Columns, ds.Rows = pixels.shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
    ds.PixelSpacing = ["0.9", "0.7"]  # distance of rows, then of columns
    ds.ImageOrientationPatient = [f"{v:.8f}" for v in axes[:, :2].T.ravel()]
    ds.ImagePositionPatient = [f"{v:.6f}" for v in position]
    ds.PixelData = np.ascontiguousarray(np.swapaxes(pixels, 0, 1)).tobytes()
    for tag, value in tags.items():
        if value is None:
            delattr(ds, tag)
        else:
            setattr(ds, tag, value)
    ds.save_as(path)


def write_stack(folder, heights=(0, 3, 6, 9), shear=0.0, uid="1.2.840.1", edit=lambda index: {}, origin=(-50, 20, 700)):
    folder.mkdir(exist_ok=True, parents=True)
    for i, height in enumerate(heights):
        position = np.array(origin) + AXES @ (0, shear * height, height)
        # Names against the order in space.
        write_slice(folder / f"{uid}-{90 - i}.dcm", STORED[..., i % 4], position, uid, InstanceNumber=90 - i, **edit(i))
    return folder


def refused(folder, words, series=None):
    with pytest.raises(ImageError, match=words) as caught:
        read_series(folder, series)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_oblique_series(tmp_path):
    volume = read_series(write_stack(tmp_path / "ct"))
    assert volume.grid.shape == SHAPE
    assert np.array_equal(volume.array, STORED.astype(np.float32) - 1024)
    assert np.allclose(volume.grid.spacing, (0.7, 0.9, 3), atol=1e-5)
    assert np.allclose(volume.grid.origin, (-50, 20, 700))
    assert np.allclose(volume.grid.direction, AXES, atol=1e-6)


def test_series_lies_where_itk_says(tmp_path):
    folder = write_stack(tmp_path / "ct")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    volume = read_image(folder)
    for index in [(0, 0, 0), (5, 4, 3), (1, 3, 2)]:
        assert np.allclose(volume.grid.world(index), image.TransformIndexToPhysicalPoint(index), atol=1e-4)
        assert volume.array[index] == image[index]


def test_each_slice_has_its_own_slope(tmp_path):
    folder = write_stack(
        tmp_path / "pet", edit=lambda i: {"RescaleSlope": ["1", "0.25", "0.5", "2"][i], "RescaleIntercept": "0"}
    )
    expected = STORED * np.array([1, 0.25, 0.5, 2])
    assert np.allclose(read_series(folder).array, expected, atol=1e-3)


def test_find_series_tells_what_there_is(tmp_path):
    write_stack(tmp_path / "study" / "a", uid="1.2.840.1")
    write_stack(
        tmp_path / "study" / "b", uid="1.2.840.2", edit=lambda i: {"AcquisitionTime": "095959", "Modality": "MR"}
    )
    write_stack(tmp_path / "study" / "scout", (0, 3), uid="1.2.840.3")
    write_stack(tmp_path / "study" / "c", uid="1.2.840.4", edit=lambda i: {"ImageType": ["ORIGINAL", "LOCALIZER"]})
    (tmp_path / "study" / "notes.txt").write_text("not DICOM")
    second, first = find_series(tmp_path / "study")
    assert (first.uid, first.modality, first.n_slices, first.patient[0]) == ("1.2.840.1", "CT", 4, "phantom")
    assert (first.description, first.acquisition_time) == ("venous 3 mm", "20200102 101500")
    assert (second.uid, second.modality) == ("1.2.840.2", "MR")  # earlier, so first in the list
    assert [p.name for p in first.paths] == [f"1.2.840.1-{90 - i}.dcm" for i in range(4)]
    assert {s.uid for s in find_series(tmp_path / "study", localizers=True)} == {f"1.2.840.{i}" for i in range(1, 5)}


def test_several_series_are_named_and_picked(tmp_path):
    write_stack(tmp_path / "s", uid="1.2.840.1")
    write_stack(tmp_path / "s", uid="1.2.840.2", origin=(0, 0, 0))
    write_stack(tmp_path / "s", (0, 3), uid="1.2.840.3")
    refused(tmp_path / "s", r"holds 2 series; pick one.*1\.2\.840\.1 .*1\.2\.840\.2 ")
    assert np.allclose(read_series(tmp_path / "s", "1.2.840.2").grid.origin, 0)
    assert np.allclose(read_image(tmp_path / "s" / "1.2.840.2").grid.origin, 0)
    assert np.allclose(read_image(tmp_path / "s", series="1.2.840.1").grid.origin, (-50, 20, 700))
    refused(tmp_path / "s", "no series begin with 9.9", "9.9")
    refused(tmp_path / "s", "3 series begin with 1.2", "1.2")


def test_scouts_do_not_count(tmp_path):
    write_stack(tmp_path / "s", uid="1.2.840.1")
    write_stack(tmp_path / "s", (0, 3), uid="1.2.840.3")
    assert read_series(tmp_path / "s").grid.shape == SHAPE
    write_stack(tmp_path / "t", (0, 3))
    refused(tmp_path / "t", "only scouts")


def test_missing_slice(tmp_path):
    folder = write_stack(tmp_path / "ct", (0, 3, 6, 12, 15))
    refused(folder, r"1 slice\(s\) are missing between 1.2.840.1-88.dcm and 1.2.840.1-87.dcm")
    folder = write_stack(tmp_path / "two", (0, 3, 6, 9, 18, 21))
    refused(folder, r"2 slice\(s\) are missing")


def test_uneven_slices(tmp_path):
    refused(write_stack(tmp_path / "ct", (0, 3, 6.1, 9)), "unevenly spaced, 2.90 to 3.10 mm")
    assert read_series(write_stack(tmp_path / "fine", (0, 3.01, 5.99, 9))).grid.spacing[2] == pytest.approx(3)


def test_repeated_slices(tmp_path):
    refused(write_stack(tmp_path / "ct", (0, 3, 3, 6)), "1 slices repeat a position")


def test_mosaics(tmp_path):
    """Siemens puts the slices of a volume beside each other into one picture."""
    kind = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    folder = write_stack(tmp_path / "epi", edit=lambda _: {"ImageType": kind})
    refused(folder, "holds mosaics.*dcm2niix")
    with pytest.raises(ImageError, match="is a mosaic"):
        read_image(next(folder.iterdir()), ndim=2)


def test_colour(tmp_path):
    def colour(_):
        return {
            "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsAllocated": 8,
            "BitsStored": 8, "HighBit": 7, "PixelData": bytes(90),
        }  # fmt: skip

    refused(write_stack(tmp_path / "rgb", edit=colour), "in colour")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PixelSpacing": ["0.9", "0.8"]}, "differ in size or pixel spacing"),
        ({"ImageOrientationPatient": ["1", "0", "0", "0", "0", "-1"]}, "different directions"),
        ({"ImagePositionPatient": None}, "place is not known"),
        ({"NumberOfFrames": 7}, "multi-frame"),
    ],
)
def test_slices_that_differ(tmp_path, tags, words):
    refused(write_stack(tmp_path / "ct", edit=lambda i: tags if i == 2 else {}), words)


def test_truncated_slice(tmp_path):
    folder = write_stack(tmp_path / "ct")
    path = next(folder.glob("*-88.dcm"))
    path.write_bytes(path.read_bytes()[:-20])
    refused(folder, f"{path.name}: is damaged or truncated")


def test_folders_without_dicom(tmp_path):
    with pytest.raises(ImageError, match="no such folder"):
        find_series(tmp_path / "no")
    refused(tmp_path, "is empty")
    (tmp_path / "a.txt").write_text("text")
    refused(tmp_path, "holds no DICOM")


@pytest.mark.parametrize("downwards", [False, True])
def test_enhanced_multi_frame_file(tmp_path, downwards):
    """The same stack in one file, made by highdicom, lies where the slices lay and holds what they held."""
    values = np.random.default_rng(1).integers(-900, 900, SHAPE).astype(np.float32)
    scan = volume_of(values, Grid.of(SHAPE, (0.7, 0.9, 3.0), (-50.0, 20.0, 700.0), AXES))
    write_volume(tmp_path / "slices", scan, SeriesInstanceUID="1.2.3.1")
    slices = [pydicom.dcmread(p) for p in sorted((tmp_path / "slices").iterdir(), reverse=downwards)]
    (tmp_path / "one").mkdir()
    uid = generate_uid()
    hd.legacy.LegacyConvertedEnhancedCTImage(slices, uid, 7, generate_uid(), 1).save_as(tmp_path / "one" / "a.dcm")
    found = read_series(tmp_path / "one")
    assert np.array_equal(found.array, values) and found.grid.same_as(scan.grid)
    (series,) = find_series(tmp_path / "one")
    assert (series.uid, series.n_slices, series.number) == (str(uid), 4, 7)
    (named,) = name_phases([series])
    assert named.phase
    with pytest.raises(ImageError, match="DICOM results belong to series of single slices"):
        headers_of(series)


def test_enhanced_file_of_two_stacks(tmp_path):
    scan = volume_of(np.zeros(SHAPE, np.float32), Grid.of(SHAPE, (0.7, 0.9, 3.0)))
    for name in ("a", "b"):
        write_volume(tmp_path / name, scan, SeriesInstanceUID="1.2.3.1")
    slices = [pydicom.dcmread(p) for n in ("a", "b") for p in sorted((tmp_path / n).iterdir())]
    (tmp_path / "one").mkdir()
    made = hd.legacy.LegacyConvertedEnhancedCTImage(slices, generate_uid(), 7, generate_uid(), 1)
    made.save_as(tmp_path / "one" / "a.dcm")
    refused(tmp_path / "one", "no one evenly spaced stack")


@pytest.mark.parametrize("coding", ["RLELossless", "JPEGLSLossless"])
def test_compressed_pixels(tmp_path, coding):
    scan = volume_of(np.arange(32 * 16 * 4).reshape(32, 16, 4).astype(np.float32) - 1000, Grid.of((32, 16, 4), 2.0))
    for path in write_volume(tmp_path / "ct", scan).iterdir():
        ds = pydicom.dcmread(path)
        ds.compress(getattr(pydicom.uid, coding))
        ds.save_as(path)
    assert np.array_equal(read_series(tmp_path / "ct").array, scan.array)


def test_pixels_of_a_coding_that_nothing_here_knows(tmp_path):
    folder = write_stack(tmp_path / "ct")
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.file_meta.TransferSyntaxUID = pydicom.uid.HTJ2KLossless
        ds.PixelData = pydicom.encaps.encapsulate([ds.PixelData])
        ds["PixelData"].VR = "OB"
        ds.save_as(path)
    refused(folder, "truncated or of an unknown coding")


def test_an_export_for_radiotherapy_is_its_scan(tmp_path):
    grid = Grid.of((8, 8, 6), (2.0, 2.0, 3.0))
    scan = volume_of(np.random.default_rng(1).integers(-500, 500, grid.shape).astype(np.float32), grid)
    write_volume(tmp_path, scan)
    dose(tmp_path / "RD.dcm", np.full(grid.shape, 2.0, np.float32), grid)
    with collected() as told:
        found = read_image(tmp_path)
    assert found.modality == "ct" and np.abs(found.array - scan.array).max() <= 0.5
    assert len(told) == 1 and "RTDOSE" in told[0]
    write_volume(tmp_path / "b", scan, SeriesInstanceUID="1.2.3.4")
    with pytest.raises(ImageError, match="holds 3 series"):
        read_image(tmp_path)
