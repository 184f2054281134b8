"""The names of the formats of transforms, without anything heavy: `jssr.io.transforms` reads and writes them."""

from __future__ import annotations

from collections.abc import Collection

from jssr.errors import TransformError, nearest

FORMATS_READ = (
    "auto", "itk", "nifti", "elastix", "flirt", "fnirt", "fnirt-relative", "fnirt-absolute", "niftyreg", "spm",
    "greedy", "afni", "minc", "x5", "dicom",
)  # fmt: skip
"""As `--from` has them; "auto" goes by content and ending."""
FORMATS_WRITTEN = ("itk", "elastix", "flirt", "niftyreg", "greedy", "afni", "minc", "x5")
"""As `--to` has them."""


def split_format(given: str) -> tuple[str, str]:
    """Format and file of "flirt:start.mat"; "auto" where none is named."""
    name, colon, file = given.partition(":")
    return (name, file) if colon and name in FORMATS_READ else ("auto", given)


def check_format(name: str, known: Collection[str]) -> None:
    """Refuse the name of a format that is none of `known`."""
    if name not in known:
        raise TransformError(f"unknown format of transforms: {name!r}{nearest(name, known)}")
