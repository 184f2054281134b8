"""The series of a folder: acquisitions of one series, copies and shared UIDs, files without preamble or passed over."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from dicom_series import write_volume

from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.volume import volume_of
from jssr.errors import ImageError
from jssr.io.dicom.headers import headers_of
from jssr.io.dicom.phases import name_phases
from jssr.io.dicom.read import read_series, series_at
from jssr.io.dicom.series import find_series, passed_over
from jssr.io.files import names_series
from jssr.io.images import read_image
from jssr.io.study import read_study

GRID = Grid.of((8, 6, 5), (1.0, 1.0, 4.0), (0.0, 0.0, -40.0))
UID = "1.2.840.55"


def scan(seed):
    return volume_of(np.random.default_rng(seed).integers(-500, 900, GRID.shape).astype(np.float32), GRID)


@pytest.fixture
def two(tmp_path):
    """Two acquisitions of one series, told apart by their numbers alone."""
    for number in (4, 11):
        write_volume(tmp_path / str(number), scan(number), SeriesInstanceUID=UID, AcquisitionNumber=number,
                     AcquisitionTime=None, SeriesNumber=7, SeriesDescription="ABD 2 PHASE")  # fmt: skip
    return tmp_path


def test_parts_are_listed_and_read(two):
    first, second = find_series(two)
    assert [(s.id, s.part, s.split_by, s.acquisition, s.n_slices) for s in (first, second)] == [
        (f"{UID}:1", 1, "AcquisitionNumber 4", 4, 5),
        (f"{UID}:2", 2, "AcquisitionNumber 11", 11, 5),
    ]
    assert np.array_equal(read_image(two / f"{UID}:2").array, scan(11).array)
    assert np.array_equal(read_series(two, f"{UID[:-1]}:1").array, scan(4).array)
    assert series_at(two / f"{UID}:2") == second or series_at(two / f"{UID}:2").id == second.id
    for how in (None, UID):
        with pytest.raises(ImageError, match=r"2 acquisitions.*AcquisitionNumber 4.*AcquisitionNumber 11"):
            read_series(two, how)
    with pytest.raises(ImageError, match="no series begin with"):
        read_series(two, f"{UID}:3")
    assert names_series(two / f"{UID}:2") and not names_series(two / f"{UID}:") and not names_series(two / "7:2")


def test_parts_are_chosen_and_left_out(two):
    found = find_series(two)
    assert [n.key for n in name_phases(found)] == ["7:1", "7:2"]
    assert [n.phase for n in name_phases(found)] == ["series7_1", "series7_2"]
    assert [n.phase for n in name_phases(found, {"early": "7:2"})] == ["series7_1", "early"]
    assert [n.phase for n in name_phases(found, {"early": f"{UID}:1"}, ["7:2"])] == ["early", ""]
    assert [n.phase for n in name_phases(found, left=["7"])] == ["", ""]
    with pytest.raises(ImageError, match=r"series 7: holds 2 parts: name one, as 7:1;.*AcquisitionNumber 11"):
        name_phases(found, {"early": "7"})
    images = read_study(two, {"early": "7:2", "late": "7:1"}).images
    assert {phase: path.name for phase, path in images.items()} == {"early": f"{UID}:2", "late": f"{UID}:1"}


def test_what_cannot_be_told_apart_is_refused_and_left_out(tmp_path):
    for name in "ab":
        write_volume(tmp_path / name, scan(ord(name)), SeriesInstanceUID=UID)
    (found,) = find_series(tmp_path)
    assert found.part is None
    with pytest.raises(ImageError, match="5 slices repeat a position.*AcquisitionNumber.*AcquisitionTime.*EchoTime"):
        read_series(tmp_path)
    (named,) = name_phases([found])
    assert named.phase == "" and "AcquisitionNumber" in named.why


@pytest.mark.parametrize("how", ["implicit", "explicit", "with group 2"])
def test_files_without_preamble(tmp_path, how):
    folder = write_volume(tmp_path / "ct", scan(1))
    for path in folder.iterdir():
        if how == "with group 2":
            path.write_bytes(path.read_bytes()[132:])
        else:
            ds = pydicom.dcmread(path)
            ds.file_meta, ds.preamble = pydicom.dataset.FileMetaDataset(), None
            pydicom.dcmwrite(path, ds, implicit_vr=how == "implicit", little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
        path.rename(path.with_suffix(""))
    (found,) = find_series(folder)
    assert found.n_slices == 5 and passed_over(folder) == ""
    assert np.array_equal(read_series(folder).array, scan(1).array)
    assert len(headers_of(found)) == 5


def test_files_passed_over_are_counted(tmp_path):
    folder = write_volume(tmp_path / "ct", scan(1))
    assert passed_over(folder) == ""
    (folder / "notes.txt").write_text("no DICOM")
    (folder / "short").write_bytes(b"\x08\x00")
    (folder / "empty.dcm").touch()
    report = pydicom.dcmread(next(folder.glob("*_000.dcm")))
    del report.Rows, report.Columns, report.PixelData
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = pydicom.uid.BasicTextSRStorage
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    report.save_as(folder / "report.dcm", enforce_file_format=True)
    said = passed_over(folder)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = pydicom.uid.RTPlanStorage
    report.save_as(folder / "plan.dcm", enforce_file_format=True)
    assert passed_over(folder) == said  # it belongs to the series
    assert "4 files passed over" in said and "notes.txt" in said and "1 no image (Basic Text SR" in said
    with collected() as told:
        read_study(folder, by_folder=False)
    assert told == [said]
    assert find_series(folder)[0].n_slices == 5


def test_copies_count_once_and_shared_uids_do_not_hide_slices(tmp_path):
    folder = write_volume(tmp_path / "ct", scan(1))
    shutil.copytree(folder, tmp_path / "ct" / "again")
    (found,) = find_series(folder)
    assert found.n_slices == 5 and found.notes == ()
    for path in folder.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        if ds.InstanceNumber in (2, 3, 4):
            ds.SOPInstanceUID = "1.2.3.4.5"
            ds.save_as(path)
    (found,) = find_series(folder)
    assert found.n_slices == 5 and found.notes == ("3 different slices share a SOP Instance UID",)
    with collected() as told:
        assert np.array_equal(read_series(folder).array, scan(1).array)
    assert len(told) == 1 and "3 different slices share" in told[0]
    with pytest.raises(ImageError, match="share a SOP Instance UID"):
        headers_of(found)


def test_slices_of_one_place_with_a_shared_uid_and_other_pixels_are_no_copies(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        for path in write_volume(tmp_path / name, scan(seed), SeriesInstanceUID=UID).iterdir():
            ds = pydicom.dcmread(path)
            ds.SOPInstanceUID = f"1.2.3.{ds.InstanceNumber}"
            ds.save_as(path)
    (found,) = find_series(tmp_path)
    assert found.n_slices == 10 and found.notes == ("10 different slices share a SOP Instance UID",)


def test_slices_without_uid(tmp_path):
    folder = write_volume(tmp_path / "ct", scan(1))
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.SOPInstanceUID = ""
        ds.save_as(path)
    (found,) = find_series(folder)
    assert found.n_slices == 5 and found.notes == ("5 slices have no SOP Instance UID",)


def test_a_follow_up_is_named_by_its_date(tmp_path):
    for n, (study, day) in enumerate([("1.2.1", "20200102"), ("1.2.2", "20200405")]):
        for k, (words, time) in enumerate([("arterial", "101500"), ("portal venous", "101600")]):
            write_volume(
                tmp_path / f"E{n}" / f"S{k}", scan(10 * n + k), StudyInstanceUID=study, AcquisitionDate=None,
                StudyDate=day, AcquisitionTime=time, SeriesNumber=2 + k, SeriesDescription=words,
            )  # fmt: skip
    study = read_study(tmp_path)
    assert list(study.images) == ["arterial", "venous", "arterial_20200405", "venous_20200405"]
    study.check("venous")
    assert np.array_equal(study.volume("venous_20200405").array, scan(11).array)
    assert [n.key for n in study.series] == ["2", "3", "2", "3"]


def test_a_study_past_midnight_is_one(tmp_path):
    for n, (day, time) in enumerate([("20200102", "235900"), ("20200103", "000100")]):
        write_volume(tmp_path / f"S{n}", scan(n), AcquisitionDate=day, AcquisitionTime=time, SeriesNumber=n,
                     SeriesDescription=("native", "venous")[n])  # fmt: skip
    assert list(read_study(tmp_path).images) == ["non-contrast", "venous"]


def sized(folder, shape, seed, **tags):
    """A stack of its own image size in the series `UID`."""
    grid = Grid.of(shape, tags.pop("spacing", (1.0, 1.0, 4.0)), tags.pop("origin", (0.0, 0.0, -40.0)))
    made = volume_of(np.random.default_rng(seed).integers(-500, 900, shape).astype(np.float32), grid)
    write_volume(folder, made, SeriesInstanceUID=UID, SeriesNumber=4, **tags)
    return made


def test_images_of_two_sizes_are_two_parts(tmp_path):
    small = sized(tmp_path / "a", (8, 6, 5), 1, AcquisitionTime="101500")
    large = sized(tmp_path / "b", (10, 12, 7), 2, AcquisitionTime="101600")
    first, second = find_series(tmp_path)
    assert [(s.part, s.split_by, s.n_slices) for s in (first, second)] == [
        (1, "Rows 6, Columns 8", 5), (2, "Rows 12, Columns 10", 7),
    ]  # fmt: skip
    assert np.array_equal(read_image(tmp_path / f"{UID}:1").array, small.array)
    assert np.array_equal(read_image(tmp_path / f"{UID}:2").array, large.array)
    with pytest.raises(ImageError, match="2 acquisitions.*Rows 6, Columns 8.*Rows 12, Columns 10"):
        read_image(tmp_path)
    assert [n.key for n in name_phases([first, second])] == ["4:1", "4:2"]


def test_images_of_two_pixel_spacings_are_two_parts(tmp_path):
    sized(tmp_path / "a", (8, 6, 5), 1, AcquisitionTime="101500")
    wide = sized(tmp_path / "b", (8, 6, 5), 2, spacing=(2.0, 1.5, 4.0), AcquisitionTime="101600")
    assert [s.split_by for s in find_series(tmp_path)] == ["PixelSpacing 1 x 1", "PixelSpacing 1.5 x 2"]
    assert read_image(tmp_path / f"{UID}:2").grid.same_as(wide.grid)


def test_each_size_may_hold_several_acquisitions(tmp_path):
    for number in (1, 2):
        sized(tmp_path / str(number), (8, 6, 5), number, AcquisitionNumber=number)
    sized(tmp_path / "b", (10, 12, 7), 3, AcquisitionNumber=3)
    assert {s.split_by for s in find_series(tmp_path)} == {
        "Rows 6, Columns 8, AcquisitionNumber 1", "Rows 6, Columns 8, AcquisitionNumber 2", "Rows 12, Columns 10",
    }  # fmt: skip


@pytest.mark.parametrize("name", [None, UID])
def test_a_scout_of_another_size_in_the_series_is_told(tmp_path, name):
    kept = sized(tmp_path / "a", (8, 6, 5), 1)
    scout = sized(tmp_path / "b", (20, 30, 1), 2, ImageOrientationPatient=["1", "0", "0", "0", "0", "-1"])
    assert scout.grid.shape == (20, 30, 1)
    with collected() as told:
        found = read_series(tmp_path, name)
    assert np.array_equal(found.array, kept.array)
    assert len(told) == 1 and "Rows 6, Columns 8" in told[0] and "Rows 30, Columns 20" in told[0]
    with collected() as told:
        read_series(tmp_path, f"{UID}:1")
    assert told == []


def test_stacks_that_share_a_slice_are_read_by_their_parts(tmp_path):
    low = sized(tmp_path / "a", (8, 6, 5), 1, AcquisitionNumber=1)
    high = sized(tmp_path / "b", (8, 6, 6), 2, AcquisitionNumber=2, origin=(0.0, 0.0, -24.0))
    assert np.array_equal(read_image(tmp_path / f"{UID}:1").array, low.array)
    assert np.array_equal(read_image(tmp_path / f"{UID}:2").array, high.array)
    with pytest.raises(ImageError, match="2 acquisitions.*AcquisitionNumber 1.*AcquisitionNumber 2"):
        read_image(tmp_path)
