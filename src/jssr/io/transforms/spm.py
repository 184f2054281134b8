"""SPM's deformations `y_*.nii` and the vectors of NIfTI's own intent 1006, both fixed to moving in RAS millimetres.

SPM (and CAT12) holds positions: each voxel of the image whose grid the file has (the template, of `y_`) holds the point
of the other image. Source: SPM, `spm_deformations.m`, `save_def` (intent name "Mapping") and `apply_def`.

Intent 1006, "specifically for displacements", holds shifts along the axes of the header's RAS space: so ITK since 5.4,
3D Slicer and FreeSurfer read and write it. Source: ITK, `itkNiftiImageIO.cxx`, `ConvertRASDisplacementVectors`.
"""

from __future__ import annotations

from pathlib import Path

from jssr.core.transform import Displacement
from jssr.errors import TransformError
from jssr.io.transforms.base import Images, from_ras, is_nifti


def read_spm(path: Path, images: Images) -> Displacement:
    """SPM's field of positions."""
    _check(path, "SPM's y_ file")
    return from_ras(path, absolute=True)


def read_nifti(path: Path, images: Images) -> Displacement:
    """A field of shifts in RAS."""
    _check(path, "a field of RAS shifts")
    return from_ras(path, absolute=False)


def _check(path: Path, what: str) -> None:
    if not is_nifti(path):
        raise TransformError(f"{path}: expected {what} in NIfTI, .nii or .nii.gz")
