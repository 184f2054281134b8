"""Files: written completely or not at all, told apart by their content, packed by two threads."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip_threaded

from jssr.errors import OutputError

DICOM_FOLDER = "jssr_dicom"
"""Where results as DICOM are written: no scans of the study."""
ENDS = 2**16
HEADERS = (".mhd", ".hdr", ".nhdr")
BLOCK = 1 << 20
# Scans are noise: the higher levels cost more time for a few per cent.
LEVEL = 1
THREADS = 2


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; when the block ends well, move it to `path`.

    The temporary name is hidden and keeps the full ending (`.nii.gz`), by which libraries choose the format. If the
    block raises, the temporary file is removed and whatever was at `path` stays. Missing folders are made.

    Raises:
        OutputError: the folder cannot be made or written, the disk is full, or nothing was written.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path}: cannot be written, a folder of that name exists; choose another name")
    make_folder(path.parent)
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({_reason(error)})") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Make a folder, with its parents, and return it."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: this folder cannot be made ({_reason(error)})") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: this folder is not writable; choose another output folder")
    return folder


def plain(value: Any) -> Any:
    """Data as JSON holds it: numbers rounded to 6 decimals, those that are not finite as None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value


def write_json(data: Mapping[str, Any], path: Path) -> None:
    """Write plain data, readable, completely or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(data), indent=2) + "\n", encoding="utf-8")


def is_plain_name(name: object) -> bool:
    """Whether this can name one file or folder inside another: it leads nowhere else."""
    return isinstance(name, str) and name.strip() not in ("", ".", "..") and not set(name) & set("/\\\0")


def check_path(out: object) -> None:
    """Make sure that an output is named by a path; None, for no output, is left to the caller."""
    if out is not None and (not isinstance(out, (str, os.PathLike)) or not str(out)):
        raise OutputError(f"expected a path to write to, got {out!r}")


def check_output(out: str | os.PathLike[str]) -> None:
    """Make sure that a folder can be made or written, before the work whose results it is for."""
    check_path(out)
    out = Path(out)
    above = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not above.is_dir():
        raise OutputError(f"{above}: is a file; choose another output folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(f"{above}: this folder is not writable; choose another output folder")


@contextmanager
def output_folder(out: str | os.PathLike[str], names: tuple[str, ...] = ()) -> Iterator[Path]:
    """Give an empty hidden folder in `out` or beside it; when the block ends well, its files move into `out`.

    Files in `out` that are named in `names` (or fit them, `jssr_dicom/moved/????.dcm`) and were not made this time are
    removed: a folder never mixes two results. Nothing else in it is touched; people write where their scans are.

    Raises:
        OutputError: the folder cannot be made or written; what was there stays.
    """
    check_output(out)
    out = Path(out)
    # Inside a folder that exists: its parent may be another file system (a mounted volume, a link) or read-only.
    home = make_folder(out if out.is_dir() else out.parent)
    temporary = home / f".tmp-{uuid.uuid4().hex[:8]}-{out.name}"
    try:
        make_folder(temporary)
        yield temporary
        make_folder(out)
        made = sorted(p.relative_to(temporary) for p in temporary.rglob("*") if p.is_file())
        for name in made:
            make_folder((out / name).parent)
            (temporary / name).replace(out / name)
        for stale in {p for name in names for p in out.glob(name)} - {out / name for name in made}:
            stale.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({_reason(error)}); what was there is unchanged") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def names_series(path: Path) -> bool:
    """Whether a path that is no file means a DICOM series of its folder: `folder/SERIES_UID`, or the UID's start, with
    `:2` for the second of several acquisitions in it."""
    name, colon, part = path.name.partition(":")
    numbers = name.rstrip(".").split(".")
    uid = "." in name and all(number.isdigit() for number in numbers) and (part.isdigit() or not colon)
    return uid and not path.exists() and path.parent.is_dir()


def digest(path: Path) -> str:
    """A short digest of a file, or of the files of a folder (a DICOM series).

    Of a `.gz` the ends are read: the last bytes hold checksum and size of what was packed. A header apart
    from its voxels (`.mhd`, `.hdr`, `.nhdr`) counts together with the files of its name. Hidden files do not count.
    """
    found = hashlib.blake2b(digest_size=12)
    if path.is_dir():
        for inner in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")):
            found.update(f"{inner.relative_to(path)} {digest(inner)}\n".encode())
        return found.hexdigest()
    if path.suffix.lower() in HEADERS:
        for other in sorted(path.parent.glob(f"{glob.escape(path.stem)}.*")):
            if other != path and other.suffix.lower() not in HEADERS:
                found.update(f"{other.name} {digest(other)}\n".encode())
    with path.open("rb") as file:
        size = path.stat().st_size
        if path.suffix == ".gz" and size > 2 * ENDS:
            found.update(file.read(ENDS))
            file.seek(size - ENDS)
        while part := file.read(2**20):
            found.update(part)
        found.update(str(size).encode())
    return found.hexdigest()


def pack_file(source: Path, target: Path) -> None:
    """Write `source` to `target` as one gzip member without name or time: the same bytes of the same voxels."""
    with source.open("rb") as file, igzip_threaded.open(target, "wb", LEVEL, threads=THREADS) as out:
        shutil.copyfileobj(file, out, BLOCK)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
