"""What is told of the files of a pair reaches its warnings."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from tiny_jssr import ball, ball_labels

from jssr.core.notes import collected
from jssr.core.volume import Points
from jssr.registration.inputs import labels_of, points_of, read_scans
from jssr.registration.options import parse_options


def two_places(volume, path, degrees=4.0):
    """A NIfTI whose qform is turned against its sform."""
    image = volume.nibabel()
    a = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    image.set_sform(image.affine, 2)
    image.set_qform(turn @ image.affine, 1)
    nib.save(image, path)
    return path


def test_two_places_of_scans_and_label_maps_are_warnings_of_the_pair(tmp_path):
    fixed = two_places(ball(), tmp_path / "fixed.nii.gz")
    labels = two_places(ball_labels(), tmp_path / "labels.nii.gz")
    options, given = parse_options({"fixed_labels": labels, "moving_labels": ball_labels()})
    with collected() as outside:
        scans = read_scans(fixed, ball(), options, given)
    told = [words for words in scans.warnings if "qform" in words]
    assert [words.split(": ")[0] for words in told] == [str(fixed), str(labels)]
    assert outside == []


def test_landmarks_far_outside_their_scan_are_told():
    scan = ball()
    far = scan.grid.corners().max(axis=0) + [0.0, 0.0, 12.0]
    with collected() as told:
        points_of(Points(np.stack([scan.grid.centre, far])), scan)
        points_of(Points(scan.grid.centre[None]), scan)
    assert len(told) == 1 and "1 of 2 landmarks" in told[0] and "12 mm" in told[0]


def test_an_empty_label_map_is_told():
    scan, labels = ball(), ball_labels()
    with collected() as told:
        labels_of(labels, scan)
        labels_of(labels.with_data(labels.data * 0), scan)
    assert len(told) == 1 and "empty" in told[0]
