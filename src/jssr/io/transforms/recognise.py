"""Which program wrote a transform: told by what its file holds. What cannot be told apart is asked for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from jssr.errors import ImageError, TransformError
from jssr.io.header import nifti_header, sop_class
from jssr.io.transforms import elastix, fsl, minc, x5
from jssr.io.transforms.base import FLIP, field_grid, holds_positions, indices, is_nifti, nifti_vectors, vector_shape
from jssr.io.transforms.itk import DISPVECT, NOTE
from jssr.io.transforms.matrices import AFNI_HEAD
from jssr.io.transforms.niftyreg import NAME

VECTOR = 1007
SPM_NAME = b"Mapping"
SPM_NOTES = (b"Deformation", b"Inverse Deformation")
FIELDS = "itk, nifti, spm, fnirt-relative or fnirt-absolute"
MATRICES = "flirt, greedy (ITK-SNAP's as well) or niftyreg"


def format_of(path: Path) -> str:
    """The name of a file's format, one of `jssr.io.formats.FORMATS_READ`.

    Raises:
        TransformError: several formats are possible; the message names them.
    """
    name = path.name.lower()
    if name.endswith(".dcm") or sop_class(path):
        return "dicom"
    if name.endswith(".xfm"):
        return "minc"
    if is_nifti(path):
        return _field_format(path)
    for known, recognises in (("elastix", elastix.recognises), ("minc", minc.recognises), ("x5", x5.recognises)):
        if recognises(path):
            return known
    return _text_format(path)


def _text_format(path: Path) -> str:
    """That of numbers without a name; anything else is ITK's."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.strip() or not re.fullmatch(rb"[ -~\s]*", head):
        return "itk"
    if head.startswith(AFNI_HEAD[:20].encode()):
        return "afni"
    lines = [line for line in head.decode("ascii").splitlines() if line.strip() and not line.lstrip().startswith("#")]
    try:
        counts = [len(np.array(line.split(), dtype=np.float64)) for line in lines]
    except ValueError:
        return "itk"
    if counts and set(counts) == {12}:
        raise TransformError(f"{path}: is 12 numbers without the name of their program: AFNI's need --from afni")
    if counts:
        raise TransformError(f"{path}: is a matrix without the name of its program: name --from {MATRICES}")
    return "itk"


def _field_format(path: Path) -> str:
    """That of a NIfTI file, by what its header names, else by whether it holds positions."""
    try:
        header = nifti_header(path)
    except ImageError as error:
        raise TransformError(str(error)) from error
    intent, label, note = int(header["intent_code"]), header["intent_name"].item(), header["descrip"].item()
    if label.startswith(NAME):
        return "niftyreg"
    if intent in fsl.INTENTS:
        return "fnirt"
    if vector_shape(header) is None:
        return "itk"  # 2D, or an image, which is refused there
    if label == SPM_NAME or note.startswith(SPM_NOTES):
        return "spm"
    if int(header["dim"][0]) == 5 and int(header["dim"][5]) == 3:
        if intent == DISPVECT:
            return "nifti"
        if intent == VECTOR and (note.startswith(NOTE[:20].encode()) or not _holds_positions(path)):
            return "itk"
    what = "positions" if intent == VECTOR else "vectors"
    raise TransformError(f"{path}: is a field of {what} whose header does not name its program: name --from {FIELDS}")


def _holds_positions(path: Path) -> bool:
    """Whether vectors are likely to be positions, in RAS or LPS, and not shifts."""
    grid = field_grid(path)
    here, vectors = grid.world(indices(grid)), nifti_vectors(path)
    return any(holds_positions(here, vectors * sign) is True for sign in (FLIP, np.ones(3)))
