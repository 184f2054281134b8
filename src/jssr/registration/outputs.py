"""The names of the files of a result, in its folder; those of DICOM are patterns."""

from __future__ import annotations

KEPT = {"fixed": "kept_fixed.nii.gz", "moving": "kept_moving.nii.gz"}
"""Where a scan is kept with the result."""
DICOM_OUTPUTS = (
    "jssr_dicom/moved/????.dcm", "jssr_dicom/fixed/????.dcm", "jssr_dicom/deformation.dcm",
    "jssr_dicom/fixed_segmentation.dcm", "jssr_dicom/moved_segmentation.dcm", "jssr_dicom/carried_*.dcm",
)  # fmt: skip
OUTPUTS = (
    "moved.nii.gz", "displacement.nii.gz", "inverse.nii.gz", "synthesised.nii.gz", "fixed_segmentation.nii.gz",
    "moved_segmentation.nii.gz", "expected_error.nii.gz", "result.json", "report.html", *KEPT.values(),
    *DICOM_OUTPUTS,
)  # fmt: skip
