"""The formats of transforms, as data: the help of `jssr convert`, its errors and the table in the docs are made of it.

`jssr.io.transforms` reads and writes them, one file a format; nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from jssr.errors import TransformError, nearest


@dataclass(frozen=True)
class Format:
    """One kind of transform file.

    Attributes:
        name: as `--from` and `--to` have it.
        program: whose it is.
        files: what is read.
        meaning: of the numbers in the file.
        written: what is written; "" where nothing is.
        images: both images must be known, with `--fixed` and `--moving`.
    """

    name: str
    program: str
    files: str
    meaning: str
    written: str = ""
    images: bool = False


_ALL = (
    Format(
        "itk", "ITK, ANTs, Slicer, jssr",
        "`.tfm .txt .mat .xfm .h5`: linear, displacement field, composite of these; vector images `.nii.gz .nrrd .mha`",
        "fixed to moving, LPS mm", "fields, linear `.tfm .txt .mat .xfm .h5`",
    ),
    Format(
        "elastix", "elastix", "`TransformParameters.N.txt` with the files that it starts from",
        "fixed to moving, LPS mm; read as a field on its fixed grid",
    ),
    Format(
        "flirt", "FSL FLIRT", "`.mat`, 4 x 4 text (`-omat`)", "moving to fixed, FSL mm of the two images",
        "matrices", images=True,
    ),
    Format(
        "fnirt", "FSL FNIRT", "`.nii.gz`, relative shifts on the fixed grid (`--fout`)",
        "fixed to moving, FSL mm", images=True,
    ),
    Format(
        "niftyreg", "NiftyReg",
        "`.txt`, 4 x 4 (`reg_aladin -aff`); `.nii.gz`, deformation or displacement field (`reg_transform -def -disp`)",
        "fixed to moving, RAS mm", "matrices",
    ),
    Format("dicom", "DICOM", "`.dcm`, Deformable Spatial Registration", "fixed to moving, LPS mm"),
)  # fmt: skip
FORMATS: dict[str, Format] = {one.name: one for one in _ALL}
"""By name."""


def readable() -> list[str]:
    """Names of the formats that are read; "auto" chooses by content and ending."""
    return ["auto", *FORMATS]


def writable() -> list[str]:
    """Names of the formats that are written by `jssr convert`."""
    return [one.name for one in _ALL if one.written]


def check_format(name: str, known: Collection[str]) -> None:
    """Check the name of a format.

    Raises:
        TransformError: none of `known`.
    """
    if name not in known:
        raise TransformError(f"unknown format of transforms: {name!r}{nearest(name, known)}")


def table() -> str:
    """All formats as Markdown."""
    lines = ["| `--from`, `--to` | program | read | written | meaning |", "| --- | --- | --- | --- | --- |"]
    for one in _ALL:
        need = "; needs `--fixed`, `--moving`" if one.images else ""
        lines.append(f"| `{one.name}` | {one.program} | {one.files} | {one.written} | {one.meaning}{need} |")
    return "\n".join(lines)
