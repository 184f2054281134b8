"""Scans that the browser sends: bounded, under names of our own, and nothing but what a scan can be."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from starlette.datastructures import UploadFile

from jssr.errors import ImageError, TransformError
from jssr.io.itk import WRITABLE

MAX_FILES = 4000
"""Of one upload: two scans of a study as DICOM slices."""
TRANSFORMS = (".tfm", ".txt", ".mat", ".h5")
_ENDINGS = tuple(e for e in WRITABLE if e not in (".mhd", ".png"))


async def keep_scan(files: Sequence[UploadFile], folder: Path, name: str) -> Path:
    """Write what was sent for one scan and return its path: an image file, or a folder of DICOM files.

    Only the ending of a file's name is taken from the browser, and only where it is one that we know. Nothing sent,
    several files that are not DICOM, or a header whose voxels lie elsewhere: refused.
    """
    sent = [f for f in files if f.filename]
    if not sent:
        raise ImageError(f"{name}: no file was sent")
    endings = {_ending(f.filename or "") for f in sent}
    if len(sent) == 1 and endings != {""}:
        path = folder / f"{name}{endings.pop()}"
        await _write(sent[0], path)
        _check_whole(path, name)
        return path
    if endings != {""}:
        what = "several files of which not all are DICOM; send one image, or the folder of one series"
        raise ImageError(f"{name}: {what}")
    out = folder / name
    out.mkdir()
    for number, one in enumerate(sent):
        await _write(one, out / f"{number:05d}.dcm")
    return out


async def keep_transform(files: Sequence[UploadFile], folder: Path) -> Path:
    """Write the one file of a transform that was sent, under a name of ours with its own ending."""
    if len(files) != 1:
        raise TransformError("transform: send one file")
    name = (files[0].filename or "").lower()
    ending = next((e for e in (*_ENDINGS, *TRANSFORMS) if name.endswith(e)), "")
    if not ending:
        raise TransformError(f"transform: expected a file that ends in {', '.join((*_ENDINGS, *TRANSFORMS))}")
    path = folder / f"initial{ending}"
    await _write(files[0], path)
    if ending in _ENDINGS:
        _check_whole(path, "transform")
    elif ending == ".txt" and b"InitialTransformParameter" in path.read_bytes():
        _check_alone(path)
    return path


def _check_alone(path: Path) -> None:
    """elastix's files can name another one to begin with, any that this user may read: refuse such."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.strip().strip("()").split(maxsplit=1)
        if words and words[0].startswith("InitialTransformParameter") and '"NoInitialTransform"' not in line:
            path.unlink()
            raise TransformError("transform: it begins with that of another file: bring both into one by jssr convert")


def _check_whole(path: Path, name: str) -> None:
    """NRRD and MetaImage headers can name another file for the voxels, any that this user may read: refuse such."""
    with path.open("rb") as file:
        head = file.read(2**16).lower()
    if path.suffix == ".nrrd":
        fields = head.partition(b"\n\n")[0].replace(b"\r", b"").split(b"\n")
        elsewhere = any(line.partition(b":")[0].replace(b" ", b"") == b"datafile" for line in fields)
    else:
        data = [line.partition(b"=")[2].strip() for line in head.split(b"\n") if line.startswith(b"elementdatafile")]
        elsewhere = path.suffix == ".mha" and data[:1] != [b"local"]
    if elsewhere:
        path.unlink()
        raise ImageError(f"{name}: its header says that the voxels are in another file; send a scan in one file")


def _ending(name: str) -> str:
    return next((e for e in _ENDINGS if name.lower().endswith(e)), "")


async def _write(sent: UploadFile, path: Path) -> None:
    with path.open("wb") as file:
        await sent.seek(0)
        shutil.copyfileobj(sent.file, file, 2**20)
