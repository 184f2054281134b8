"""What a scan is called in a result."""

from __future__ import annotations

import pytest

from jssr.registration.origin import told_by_headers


@pytest.mark.parametrize(
    ("fixed", "moving", "titles"),
    [
        ("p/1997/venous.nii.gz", "p/1998/venous.nii.gz", ("1997/venous.nii.gz", "1998/venous.nii.gz")),
        ("p/1997/venous.nii.gz", "p/1997/arterial.nii.gz", ("venous.nii.gz", "arterial.nii.gz")),
        ("a/p/venous.nii.gz", "b/p/venous.nii.gz", ("venous.nii.gz", "venous.nii.gz")),  # the folders are alike too
        ("venous.nii.gz", "1998/venous.nii.gz", ("venous.nii.gz", "venous.nii.gz")),
        ("", "", ("", "")),  # anonymous ones
    ],
)
def test_files_of_one_name_are_titled_with_their_folders(fixed, moving, titles):
    assert tuple(one["title"] for one in told_by_headers(fixed, moving)) == titles
