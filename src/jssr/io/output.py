"""Results as files: plain data as JSON, and folders that are written completely or not at all."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jssr.errors import OutputError
from jssr.io.atomic import atomic_path, make_folder

__all__ = ["check_output", "output_folder", "plain", "write_json"]


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
    """Write plain data, readable, completely or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(data), indent=2) + "\n", encoding="utf-8")


def check_output(out: str | os.PathLike[str]) -> None:
    """Make sure that a folder can be made or written, before the work whose results it is for.

    Raises:
        OutputError: it cannot.
    """
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
    out = Path(out)
    check_output(out)
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
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"{out}: cannot be written ({reason}); what was there is unchanged") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
