"""Which series is which phase: descriptions, contrast agent, order in time, the user's word; what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jssr.errors import ImageError
from jssr.io.dicom.phases import name_phases
from jssr.io.dicom.series import SeriesInfo, Slice

PLACE = {"position": np.zeros(3), "axes": np.eye(3)[:2], "pixel": (1.0, 1.0), "size": (8, 8), "samples": 1, "frames": 1}


def one(number, description="", time="", **given):
    """A CT series of ten slices, taken at `time` minutes past ten."""
    slice_ = {**PLACE, **{k: given.pop(k) for k in ("samples", "frames", "position") if k in given}}
    told = {
        "uid": f"1.2.3.{number}", "description": description, "modality": "CT", "n_slices": 10,
        "acquisition_time": f"20200102 10{time}00" if time else "", "paths": (Path("x"),),
        "number": number, "slices": (Slice(Path("x"), **slice_),), "image_type": frozenset({"ORIGINAL"}),
    }  # fmt: skip
    return SeriesInfo(**{**told, **given})


def phases(*found, **how):
    return {n.series.number: n.phase for n in name_phases(found, **how)}


@pytest.mark.parametrize(
    ("description", "phase"),
    [
        ("Abd NATIV 5.0 B30f", "non-contrast"),
        ("ABD W/O CONTRAST", "non-contrast"),
        ("non-contrast", "non-contrast"),
        ("Abdomen arteriell 3mm", "arterial"),
        ("LIVER ART 2.5", "arterial"),
        ("portal venous 3.0", "venous"),
        ("portovenös", "venous"),
        ("PV phase", "venous"),
        ("Delayed 5 min", "delay"),
        ("excretory", "delay"),
        ("chest portable", "series2"),
        ("CT AP 5mm", "series2"),
        ("alternative recon", "series2"),
        ("C-spine", "series2"),
        ("ABD INTRAVENOUS CONTRAST 5.0", "series2"),
        ("ABD W/WO 5.0", "series2"),
        ("with and without contrast", "series2"),
        ("Complain of pain", "series2"),
        ("late arterial", "arterial"),
        ("spaet", "delay"),
        ("arterial and venous", "series2"),
        ("PRE LIVER", "non-contrast"),
        ("t+c pre", "non-contrast"),
        ("PRE-OP PLANNING", "series2"),
        ("pre TACE 3.0", "series2"),
        ("Recon 2: LIVER 3 PHASE (AP)", "series2"),
        ("A/P LIVER PRT W/WO", "series2"),
        ("4 PHASE LIVER PV", "venous"),
        ("Abdomen portal (half dose)", "venous"),
        ("CT LOW DOSE native", "non-contrast"),
    ],
)
def test_descriptions(description, phase):
    assert phases(one(2, description, "10"), one(9, "topogram", localizer=True)) == {2: phase, 9: ""}


def test_an_examination_s_protocol_tells_nothing():
    found = one(2, "a", "10", protocol="Abd w/o contrast"), one(3, "b", "12", protocol="Abd w/o contrast")
    assert phases(*found) == {2: "series2", 3: "series3"}
    assert phases(found[0]) == {2: "non-contrast"}  # alone it does


@pytest.mark.parametrize(("delay", "phase"), [(25, "arterial"), (49, "arterial"), (70, "venous"), (180, "delay")])
def test_seconds_after_the_contrast_agent(delay, phase):
    (named,) = name_phases([one(2, "3.0 mm", "10", contrast="agent", delay=float(delay))])
    assert (named.phase, named.why, named.sure) == (phase, f"{delay} s after the contrast agent", True)


def test_order_in_time():
    four = [one(n, time=str(10 + n)) for n in (2, 3, 4, 5)]
    named = name_phases(four)
    assert [n.phase for n in named] == ["non-contrast", "arterial", "venous", "delay"]
    assert not any(n.sure for n in named)
    assert phases(*four[:3]) == {2: "series2", 3: "series3", 4: "series4"}  # three could be any three
    assert phases(one(2), one(3), one(4), one(5)) == {n: f"series{n}" for n in (2, 3, 4, 5)}  # no times


def test_order_between_known_phases():
    found = one(2, "native", "10"), one(3, time="12"), one(4, time="13"), one(5, "delayed", "20")
    assert phases(*found) == {2: "non-contrast", 3: "arterial", 4: "venous", 5: "delay"}
    found = one(2, "native", "10"), one(3, time="12")
    assert phases(*found) == {2: "non-contrast", 3: "venous"}
    found = one(2, "native", "10"), one(3, time="12"), one(4, time="13")
    assert phases(*found) == {2: "non-contrast", 3: "arterial", 4: "venous"}
    found = one(2, time="10"), one(3, "arterial", "12")
    assert phases(*found) == {2: "non-contrast", 3: "arterial"}


def test_no_contrast_agent_beside_series_with_one():
    found = one(2, time="10", contrast=None), one(3, time="12", contrast="X"), one(4, time="13", contrast="X")
    assert phases(*found) == {2: "non-contrast", 3: "arterial", 4: "venous"}


def test_mr_by_sequence():
    found = one(2, "t1_vibe_fs", modality="MR"), one(3, "T2 HASTE", modality="MR"), one(4, "ADC", modality="MR")
    assert phases(*found) == {2: "t1", 3: "t2", 4: "adc"}
    found = one(2, "t1 vibe arterial", modality="MR"), one(3, "t1 vibe venous", modality="MR")
    assert phases(*found) == {2: "t1_arterial", 3: "t1_venous"}


def test_one_reconstruction_of_each_acquisition():
    soft = one(4, "venous 3", "10", kernel="B30f", n_slices=80)
    sharp = one(3, "lung 1", "10", kernel="B70f", n_slices=300)
    thick = one(5, "venous 8", "10", kernel="B30f", n_slices=30)
    named = name_phases([sharp, soft, thick])
    assert [n.phase for n in named] == ["", "venous", ""]
    assert named[0].why == "of the same acquisition as series 4, which serves better"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"localizer": True}, "scout"),
        ({"samples": 3}, "in colour"),
        ({"frames": 9}, "multi-frame"),
        ({"position": None}, "without a place"),
        ({"frames": 9, "modality": "RTDOSE"}, "a dose, which refers to a series"),
        ({"frames": 1, "modality": "SEG", "localizer": True}, "a segmentation, which refers to a series"),
        ({"image_type": frozenset({"DERIVED", "MIP"})}, "reformat"),
        ({"image_type": frozenset({"DERIVED", "SECONDARY", "MPR"}), "modality": "MR"}, "reformat"),
        ({"image_type": frozenset({"ORIGINAL", "PRIMARY", "MPR"})}, "reformat"),
        ({"image_type": frozenset({"ORIGINAL", "PRIMARY", "M", "MOSAIC"}), "modality": "MR"}, "mosaics"),
    ],
)
def test_what_is_no_scan_is_left_out(given, why):
    named = name_phases([one(2, "venous", "10"), one(3, "arterial", "11", **given)])
    assert (named[0].phase, named[1].phase) == ("venous", "") and why in named[1].why


def test_oblique_slices_of_ge_are_a_scan():
    """Its MR scanners call what was acquired obliquely ORIGINAL, PRIMARY, MPR."""
    kind = frozenset({"ORIGINAL", "PRIMARY", "MPR"})
    assert phases(one(2, "t1 venous", "10", modality="MR", image_type=kind)) == {2: "t1_venous"}


def test_two_that_look_like_one_phase():
    named = name_phases([one(2, "venous", "10"), one(3, "pv", "11")])
    assert [n.phase for n in named] == ["venous", ""]
    assert named[1].why == 'looks like venous ("pv"), which series 2 is'


def test_the_user_decides():
    found = one(2, "arterial", "10"), one(3, "venous", "11"), one(4, "delay", "12")
    assert phases(*found, chosen={"venous": "2"}, left=["4"]) == {2: "venous", 3: "", 4: ""}
    assert phases(*found, chosen={"early": "1.2.3.2"}) == {2: "early", 3: "venous", 4: "delay"}
    with pytest.raises(ImageError, match="no series are called '7'"):
        name_phases(found, chosen={"venous": "7"})
    with pytest.raises(ImageError, match="series 2: is named twice"):
        name_phases(found, chosen={"venous": "2", "arterial": "2"})
    with pytest.raises(ImageError, match="3 series are called '1.2'"):
        name_phases(found, left=["1.2"])


def test_folders_name_their_only_scan():
    found = one(2, "arterial", "10"), one(3, "venous", "11")
    folders = {"1.2.3.2": "baseline", "1.2.3.3": "followup"}
    assert phases(*found, folders=folders) == {2: "baseline", 3: "followup"}
    assert phases(*found, folders=dict.fromkeys(folders, "export")) == {2: "arterial", 3: "venous"}


@pytest.mark.parametrize("position", [0, 1, 2])
def test_several_patients(position):
    known = ["7", "19610203", "Doe^Jane"]
    other = [*known[:position], "other", *known[position + 1 :]]
    with pytest.raises(ImageError, match="scans of 2 patients"):
        name_phases([one(2, patient=tuple(known)), one(3, patient=tuple(other))])
    unknown = [*known[:position], "", *known[position + 1 :]]
    assert phases(one(2, patient=tuple(known)), one(3, patient=("7", "19610203", "DOE^JANE^")))
    assert phases(one(2, patient=tuple(known)), one(3, patient=tuple(unknown)))  # a tag that one lacks is no other name


def test_two_examinations_are_named_each_by_itself():
    words = (("arterial", "10"), ("portal venous", "11"))
    first = [one(n, d, t) for n, (d, t) in enumerate(words, 2)]
    second = [one(n, d, acquisition_time=f"20210909 10{t}00") for n, (d, t) in enumerate(words, 7)]
    assert phases(*first, *second) == {2: "arterial", 3: "venous", 7: "arterial_20210909", 8: "venous_20210909"}


def test_no_phase_twice():
    named = name_phases(
        [one(3, "a", "10"), one(3, "b", "11", uid="1.9"), one(4, "c", "12", uid="1.8")], {"series3": "4"}
    )
    assert [n.phase for n in named] == ["series3_2", "series3_3", "series3"]


def test_zeroed_times_are_no_acquisition():
    found = [one(n, d, acquisition_time="20200101 000000") for n, d in ((2, "arterial"), (3, "venous"), (4, "native"))]
    assert phases(*found) == {2: "arterial", 3: "venous", 4: "non-contrast"}


def parts(number, *acquisitions, **given):
    """The parts of one series, told apart by the numbers of their acquisitions."""
    return [
        one(number, part=k, split_by=f"AcquisitionNumber {n}", acquisition=n, **given)
        for k, n in enumerate(acquisitions, start=1)
    ]


def test_order_of_the_acquisitions_numbers():
    """Without times, of a series whose description is that of the examination."""
    found = [one(2, "PRE LIVER", acquisition=1), *parts(4, 2, 3, description="LIVER 3 PHASE (AP)")]
    named = name_phases(found)
    assert [n.phase for n in named] == ["non-contrast", "arterial", "venous"]
    assert [n.sure for n in named] == [True, False, False] and "numbers" in named[1].why
    # One number for all says nothing.
    assert phases(one(2, "PRE LIVER", acquisition=1), one(3, acquisition=1), one(4, acquisition=1)) == {
        2: "non-contrast", 3: "series3", 4: "series4",
    }  # fmt: skip


def test_a_description_that_names_the_phase_of_each_part():
    named = name_phases(parts(4, 2, 3, description="LIVER art/pv"))
    assert [(n.phase, n.sure) for n in named] == [("arterial", False), ("venous", False)]
    assert "part 2 of 2" in named[1].why
    assert [n.phase for n in name_phases(parts(4, 2, 3, 4, description="LIVER art/pv"))] == [
        "series4_1", "series4_2", "series4_3",
    ]  # fmt: skip


def test_what_the_picture_shows_counts_where_headers_are_silent():
    found = [one(2, "venous", "10"), one(3, "recon", "11"), one(4, "other", "12")]
    named = name_phases(found, seen={"1.2.3.2": ("delay", "as seen"), "1.2.3.3": ("delay", "as seen")})
    assert [(n.phase, n.why, n.sure) for n in named[:2]] == [
        ("venous", '"venous"', True), ("delay", "as seen", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words", ["DOSE REPORT", "Dose Info", "Patient Protocol", "Dosisbericht", "dose summary 1", "Exam Summary", "DOSE"]
)
def test_reports_of_the_dose_are_left_out(words):
    named = name_phases([one(2, "venous", "10"), one(3, words, "11")])
    assert named[1].phase == "" and "dose" in named[1].why


@pytest.mark.parametrize(
    "words", ["CT LOW DOSE", "Thorax Low-Dose 1.5", "half dose", "Abdomen 50% dose", "Niedrigdosis"]
)
def test_a_low_dose_is_no_report(words):
    assert phases(one(2, "venous", "10"), one(3, words, "11"))[3]


def test_a_scan_of_less_dose_stands_beside_one_of_the_same_phase():
    found = one(2, "venous", "10"), one(3, "portal (half dose)", "11")
    assert phases(*found) == {2: "venous", 3: "venous_low_dose"}


@pytest.mark.parametrize(
    ("sharp", "soft"),
    [
        ("B70f", "B31f"), ("Br59f\\3", "Br40f\\3"), ("Bl57", "Br36"), ("Hr64", "Hc40"), ("LUNG", "STANDARD"),
        ("BONEPLUS", "SOFT"), ("YC", "YA"), ("D", "B"), ("L", "C"), ("FC51", "FC08"), ("FC30", "FC13"),
        ("B_SHARP_C", "B_SOFT_B"),
    ],
)  # fmt: skip
def test_kernels_for_bone_and_lung_serve_less(sharp, soft):
    named = name_phases([one(2, "a", "10", kernel=sharp, n_slices=300), one(3, "b", "10", kernel=soft)])
    assert [bool(n.phase) for n in named] == [False, True]


def test_two_reconstructions_of_two_acquisitions_without_times():
    first = parts(4, 2, 3, uid="1.5.1", description="Recon 1", kernel="BONE")
    second = parts(5, 2, 3, uid="1.5.2", description="Recon 2", kernel="STANDARD")
    assert [bool(n.phase) for n in name_phases([*first, *second])] == [False, False, True, True]


def test_contrast_is_no_order_of_nothing():
    """No times at all are no 0 s between injection and scan."""
    named = name_phases([one(2, contrast="Oral & IV", delay=None)])
    assert not named[0].sure


def test_bolus_monitoring_is_left_out():
    found = one(2, "Monitoring", "10", contrast="x", delay=10.0), one(3, "3 mm", "11", contrast="x", delay=35.0)
    assert phases(*found) == {2: "", 3: "arterial"}
    assert phases(one(2, "dyn post1", "10", modality="MR"), one(3, "different TE", "11", modality="MR")) == {
        2: "series2", 3: "series3",
    }  # fmt: skip


def test_series_of_one_number_are_told_apart_by_uid():
    found = one(1, "a", uid="1.2.840.11"), one(1, "b", uid="1.2.840.12")
    with pytest.raises(ImageError, match=r"2 series are called '1'.*1\.2\.840\.11.*1\.2\.840\.12"):
        name_phases(found, chosen={"venous": "1"})
    named = name_phases(found, chosen={"venous": "1.2.840.12"})
    assert [n.series.description for n in named if n.phase == "venous"] == ["b"]


def test_a_folder_of_no_phase_does_not_beat_the_description():
    found = one(2, "arterial", "10"), one(3, "venous", "11"), one(4, "", "12")
    folders = {"1.2.3.2": "x", "1.2.3.3": "export", "1.2.3.4": "baseline"}
    assert phases(*found[:2], folders={"1.2.3.2": "x", "1.2.3.3": "y"}) == {2: "arterial", 3: "venous"}
    assert phases(*found, folders=folders) == {2: "arterial", 3: "venous", 4: "baseline"}
    assert phases(*found[:2], folders={"1.2.3.2": "pv", "1.2.3.3": "y"})[2] == "pv"
