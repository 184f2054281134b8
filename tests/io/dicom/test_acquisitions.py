"""Which slices of a series are one acquisition: by number, time and the like, along the patient or in one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jssr.io.dicom.acquisitions import split
from jssr.io.dicom.slices import Slice


def parts(marks, heights, modality="CT"):
    """The heights of each part, and what tells it; `marks` has a dictionary for each height."""
    order = np.argsort(np.array(heights, float), kind="stable")
    slices = [
        Slice(
            Path(f"{i}"), np.array([0, 0, float(heights[i])]), np.eye(3)[:2], (1.0, 1.0), (8, 8), 1, 1, marks=marks[i]
        )
        for i in order
    ]
    sorted_heights = np.array(heights, float)[order]
    return [(sorted_heights[sorted(group)].tolist(), told) for group, told in split(slices, sorted_heights, modality)]


def two(name, values, offset, n=8, step=3.0):
    """Two acquisitions of `n` slices, the second one `offset` higher."""
    heights = [*np.arange(n) * step, *np.arange(n) * step + offset]
    return [{name: v} for v in values for _ in range(n)], heights


@pytest.mark.parametrize("offset", [0.0, 0.75, 1.5, 3.0, 7.5])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("AcquisitionNumber", ("7", "12")),
        ("TemporalPositionIdentifier", ("1", "2")),
        ("AcquisitionTime", ("20200102 235950", "20200103 000035")),
        ("AcquisitionDateTime", ("20200102101500", "20200102101545.5")),
        ("EchoTime", ("2.3", "4.6")),
        ("DiffusionBValue", ("0", "800")),
    ],
)
def test_two_acquisitions_in_one_another(name, values, offset):
    found = parts(*two(name, values, offset))
    assert [h for h, _ in found] == [(np.arange(8) * 3.0).tolist(), (np.arange(8) * 3.0 + offset).tolist()]
    assert [told for _, told in found] == [f"{name} {value}" for value in values]


def test_the_numbers_decide_the_order_by_size():
    marks, heights = two("AcquisitionNumber", ("10", "9"), 0.0)
    assert [told for _, told in parts(marks, heights)] == ["AcquisitionNumber 9", "AcquisitionNumber 10"]


@pytest.mark.parametrize("name", ["AcquisitionNumber", "AcquisitionTime", "ContentTime", "TriggerTime"])
def test_a_number_or_time_for_each_slice_is_one_scan(name):
    n = 30
    assert len(parts([{name: f"{100000 + i}"} for i in range(n)], np.arange(n) * 2.5)) == 1
    assert len(parts([{name: f"{100000 + n - i}"} for i in range(n)], np.arange(n) * 2.5)) == 1
    # Two slices swapped, as rows of a detector are.
    times = [*range(10), 11, 10, *range(12, n)]
    assert len(parts([{name: f"{100000 + t}"} for t in times], np.arange(n) * 2.5)) == 1


def test_stacks_that_follow_one_another_are_one_scan():
    beds = [{"AcquisitionNumber": str(1 + i // 6), "AcquisitionTime": f"10{i // 6:02d}00"} for i in range(24)]
    assert len(parts(beds, np.arange(24) * 4.0)) == 1
    gap = [*np.arange(12) * 4.0, *(np.arange(12) * 4.0 + 60)]
    assert len(parts(beds, gap)) == 1  # refused later, as slices are missing


def test_two_scans_of_several_beds_each():
    marks = [{"AcquisitionNumber": str(1 + i // 6)} for i in range(24)]
    heights = [*np.arange(12) * 4.0] * 2
    found = parts(marks, heights)
    assert [h for h, _ in found] == [(np.arange(12) * 4.0).tolist()] * 2
    assert [told for _, told in found] == ["AcquisitionNumber 1 to 2", "AcquisitionNumber 3 to 4"]


@pytest.mark.parametrize("offset", [0.0, 0.75, 1.5])
def test_two_helical_scans_with_a_time_for_each_slice(offset):
    times = [100000 + i for i in range(10)] + [100045 + i for i in range(10)]
    heights = [*np.arange(10) * 3.0, *np.arange(10) * 3.0 + offset]
    found = parts([{"AcquisitionTime": f"{t}.25"} for t in times], heights)
    assert [h for h, _ in found] == [(np.arange(10) * 3.0).tolist(), (np.arange(10) * 3.0 + offset).tolist()]


def test_mr_that_takes_every_other_slice_first_is_one_scan():
    marks = [{"AcquisitionTime": "101500" if i % 2 else "101530", "AcquisitionNumber": "1"} for i in range(20)]
    assert len(parts(marks, np.arange(20) * 3.0, "MR")) == 1
    assert len(parts(marks, np.arange(20) * 3.0, "CT")) == 2
    # Twice: of each place the first and the second.
    marks = [{"AcquisitionTime": f"1015{10 * (i % 2) + 30 * k:02d}"} for k in range(2) for i in range(20)]
    found = parts(marks, [*np.arange(20) * 3.0] * 2, "MR")
    assert [h for h, _ in found] == [(np.arange(20) * 3.0).tolist()] * 2


def test_cine_with_another_trigger_time_in_each_place():
    marks = [{"TriggerTime": f"{40 * k + (i % 3)}"} for i in range(9) for k in range(5)]
    found = parts(marks, [8.0 * i for i in range(9) for _ in range(5)], "MR")
    assert [told for _, told in found] == [f"TriggerTime, {k}. of 5" for k in range(1, 6)]
    assert all(h == (np.arange(9) * 8.0).tolist() for h, _ in found)


def test_two_attributes_together():
    marks = [{"AcquisitionNumber": str(a), "EchoTime": e} for a in (1, 2) for e in ("2.3", "4.6") for _ in range(6)]
    found = parts(marks, [*np.arange(6) * 3.0] * 4, "MR")
    assert [told for _, told in found] == [
        "AcquisitionNumber 1, EchoTime 2.3", "AcquisitionNumber 1, EchoTime 4.6",
        "AcquisitionNumber 2, EchoTime 2.3", "AcquisitionNumber 2, EchoTime 4.6",
    ]  # fmt: skip


def test_a_scan_that_was_broken_off_stands_by_itself():
    marks = [{"AcquisitionNumber": "2"}] * 20 + [{"AcquisitionNumber": "3"}] * 20 + [{"AcquisitionNumber": "4"}] * 2
    found = parts(marks, [*np.arange(20) * 3.0] * 2 + [0.0, 3.0])
    assert [len(h) for h, _ in found] == [20, 20, 2]


def test_nothing_tells_two_apart():
    marks, heights = two("AcquisitionNumber", ("1", "1"), 0.0)
    assert [told for _, told in parts(marks, heights)] == [""]
    assert len(parts([{} for _ in heights], heights)) == 1
    # A missing slice is no second acquisition.
    one = [{"AcquisitionNumber": "1", "AcquisitionTime": f"10{i:04d}"} for i in range(9)]
    assert len(parts(one, [0, 3, 6, 9, 15, 18, 21, 24, 27])) == 1


@pytest.mark.parametrize("name", ["AcquisitionNumber", "AcquisitionTime", "EchoTime"])
@pytest.mark.parametrize("step", [3.0, 1.0])
def test_stacks_that_abut_and_share_a_slice_are_two(name, step):
    """0 to 21, and from 21 on: the slice at 21 is there twice."""
    low, high = np.arange(8) * 3.0, 21.0 + np.arange(9) * step
    found = parts([{name: "1"}] * 8 + [{name: "2"}] * 9, [*low, *high])
    assert [h for h, _ in found] == [low.tolist(), high.tolist()]
    assert [told for _, told in found] == [f"{name} 1", f"{name} 2"]


def test_three_stacks_that_share_slices():
    heights = [np.arange(5) * 2.0 + 8.0 * k for k in range(3)]
    found = parts([{"AcquisitionNumber": str(k)} for k in range(3) for _ in range(5)], np.concatenate(heights))
    assert [h for h, _ in found] == [h.tolist() for h in heights]


@pytest.mark.parametrize("down", [False, True])
def test_stacks_that_share_a_slice_by_the_order_of_their_slices_alone(down):
    low, high = np.arange(6) * 3.0, 15.0 + np.arange(7) * 3.0
    heights = np.concatenate([low[::-1] if down else low, high])
    found = parts([{"InstanceNumber": str(i + 1)} for i in range(13)], heights)
    assert [h for h, _ in found] == [low.tolist(), high.tolist()]
    # Two scans at the same places, one after the other: nothing says that they are of two moments.
    twice = [*np.arange(6) * 3.0] * 2
    assert len(parts([{"InstanceNumber": str(i + 1)} for i in range(12)], twice)) == 1


def test_stacks_of_two_distances_are_two():
    low, high = np.arange(10) * 1.0, 14.0 + np.arange(6) * 5.0
    found = parts([{"AcquisitionNumber": "1"}] * 10 + [{"AcquisitionNumber": "2"}] * 6, [*low, *high])
    assert [h for h, _ in found] == [low.tolist(), high.tolist()]
