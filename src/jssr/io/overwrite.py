"""Outputs that would overwrite an input, refused before the work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from jssr.errors import JssrError, OutputError
from jssr.io.files import names_series


def check_not_input(out: object, *inputs: object) -> None:
    """Refuse an output file that is one of the inputs, or a slice of a DICOM series among them; what is no path is
    passed over.

    Raises:
        OutputError: it is.
    """
    if not isinstance(out, (str, os.PathLike)):
        return
    for one in _paths(inputs):
        if _same(one, Path(out)) or (Path(out).is_file() and any(_same(p, Path(out)) for p in _slices(one))):
            raise OutputError(f"{out}: is an input too, and would be overwritten: choose another output")


def check_folder(out: object, names: Iterable[str], *inputs: object) -> None:
    """Refuse an output folder in which an input lies under a name that is written or removed there.

    Args:
        out: the folder; None, for no output, is passed over.
        names: of what is written, relative to the folder; they may be patterns.
        inputs: as in `check_not_input`.

    Raises:
        OutputError: an input would be overwritten, or is the folder that files are written for.
    """
    if not isinstance(out, (str, os.PathLike)) or not Path(out).is_dir():
        return
    home, patterns = Path(out).resolve(), tuple(names)
    for one in _paths(inputs):
        # A series may hold thousands of slices: they are looked for where they can be overwritten alone.
        near = home in one.resolve().parents or one.resolve() == home
        for path in (one, *(_slices(one) if near else ())):
            inner = os.path.relpath(path.resolve(), home).replace(os.sep, "/")
            if any(fnmatch(inner, pattern) for pattern in patterns):
                raise OutputError(
                    f"{path}: is an input, and would be overwritten by the results in {out}: choose another folder"
                )


def _paths(inputs: Iterable[object]) -> Iterator[Path]:
    return (Path(one) for one in inputs if isinstance(one, (str, os.PathLike)) and str(one))


def _same(one: Path, other: Path) -> bool:
    if one.resolve() == other.resolve():
        return True
    with suppress(OSError):  # two names of one file: hard links, capitals on some systems
        return one.samefile(other)
    return False


def _slices(path: Path) -> tuple[Path, ...]:
    """The files of the DICOM series that a path names; none of anything else."""
    if not path.is_dir() and not names_series(path):
        return ()
    with suppress(JssrError, ImportError):
        from jssr.io.dicom.read import series_at

        found = series_at(path)
        return () if found is None else found.paths
    return ()
