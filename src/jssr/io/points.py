"""Points in files: CSV, and the formats of `jssr.io.markups`; in memory LPS millimetres, in the order of the file."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jssr.core.grid import Grid
from jssr.core.volume import Points
from jssr.errors import OutputError, PointsError
from jssr.io.files import atomic_path
from jssr.io.images import expected_kind
from jssr.io.markups import (
    elastix_text,
    fcsv_rows,
    markups_text,
    read_elastix_points,
    read_fcsv,
    read_markups,
)

PointsLike = Points | str | os.PathLike[str] | Any
"""A path (CSV, `.mrk.json`, `.fcsv`, elastix's `.txt`), `Points`, or an array (N, n) of LPS millimetres."""
ENDINGS = (".csv", ".mrk.json", ".json", ".fcsv", ".txt", ".pts")
"""Of files of points."""
_AXES = {"xyz": (1.0, 1.0, 1.0), "lps": (1.0, 1.0, 1.0), "ras": (-1.0, -1.0, 1.0)}


def holds_points(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of points, by its name."""
    return Path(path).name.lower().endswith(ENDINGS)


def read_points(path: str | os.PathLike[str], ndim: int | None = None, grid: Grid | None = None) -> Points:
    """Read points in LPS millimetres.

    Args:
        path: CSV with a header row that names at least x, y (and z), LPS as jssr and ANTs write them, or 3D Slicer's
            r, a, s or l, p, s; a column `name` (or `label`, `comment`) is optional, others are ignored. Or `.mrk.json`,
            `.fcsv` of 3D Slicer, or a point file of elastix or transformix.
        ndim: 3 or 2, where only that will do; None takes points without a column z as those of a 2D image.
        grid: of the image that the points belong to, for elastix's files of voxel indices.

    Raises:
        PointsError: missing or empty file, missing columns, a frame that the file does not name, or a coordinate that
            is not a finite number.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise PointsError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PointsError(f"{path}: cannot be read as text ({type(error).__name__})") from error
    ending = path.suffix.lower()
    if ending == ".json":
        found = read_markups(text, path)
    elif ending == ".fcsv":
        found = read_fcsv(text, path)
    elif ending in (".txt", ".pts"):
        found = read_elastix_points(text, path, grid)
    else:
        return _read_csv(text, path, ndim)
    if ndim is not None and found.xyz.shape[1] != ndim:
        raise PointsError(f"{path}: expected points of {ndim} coordinates, got {found.xyz.shape[1]}")
    return found


def _read_csv(text: str, path: Path, ndim: int | None) -> Points:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = [c.strip().lower() for c in rows.fieldnames or []]
    frame = next((axes for axes in ("ras", "lps") if set(axes) <= set(columns)), "xyz")
    if frame != "xyz" and {"x", "y"} & set(columns):
        raise PointsError(f"{path}: has columns x, y, z and {', '.join(frame)}: keep those of one frame")
    ndim = ndim or (3 if frame != "xyz" or "z" in columns or "y" not in columns else 2)
    axes = list(frame)[:ndim]
    missing = [a for a in axes if a not in columns]
    if missing:
        raise PointsError(f"{path}: no column {', '.join(missing)}; the first row must read name,{','.join(axes)}")
    rows.fieldnames = columns
    xyz: list[list[float]] = []
    read: list[dict[str, str]] = []
    for row in rows:
        try:
            point = [float(row[a]) for a in axes]
        except (TypeError, ValueError):
            point = [float("nan")]
        if not np.isfinite(point).all():
            raise PointsError(f"{path}: line {rows.line_num} does not hold {ndim} finite coordinates")
        xyz.append(point)
        read.append(row)
    values = np.array(xyz, dtype=np.float64).reshape(-1, ndim) * _AXES[frame][:ndim]
    return Points(values, tuple(_names(read)))


def _names(rows: Sequence[dict[str, str]]) -> list[str]:
    """Names of points: of a column `name`, else of one of ANTs's or 3D Slicer's that tells them apart; else numbers."""
    if any(row.get("name") for row in rows):
        return [row.get("name") or str(k) for k, row in enumerate(rows)]
    for column in ("comment", "label"):
        found = [row.get(column) or "" for row in rows]
        if all(found) and len(set(found)) == len(found):
            return found
    return [str(k) for k in range(len(rows))]


def is_ants(path: str | os.PathLike[str]) -> bool:
    """Whether a CSV has ANTs's columns: x, y, z, t first."""
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            return [c.strip().lower() for c in file.readline().split(",")][:4] == ["x", "y", "z", "t"]
    except (OSError, UnicodeDecodeError):
        return False


def write_points(points: Points, path: str | os.PathLike[str], ants: bool = False) -> None:
    """Write points, LPS millimetres, atomically; the ending chooses the format: `.csv` (4 decimals), `.mrk.json`,
    `.fcsv`, or `.txt` and `.pts` of elastix, which keep no names.

    Args:
        ants: CSV with ANTs's columns, the names in the last.

    Raises:
        OutputError: unknown ending, points of 2D for 3D Slicer, or the file cannot be written.
    """
    name = Path(path).name.lower()
    if not name.endswith(ENDINGS) or (name.endswith(".json") and not name.endswith(".mrk.json")):
        raise OutputError(f"{path}: unknown kind of file of points; end its name in .csv, .mrk.json, .fcsv or .txt")
    if name.endswith((".json", ".fcsv")) and points.xyz.shape[1] != 3:
        raise OutputError(f"{path}: 3D Slicer's points have 3 coordinates; write points of 2D as .csv")
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        if name.endswith(".json"):
            file.write(markups_text(points))
        elif name.endswith((".txt", ".pts")):
            file.write(elastix_text(points))
        else:
            fcsv = name.endswith(".fcsv")
            out = csv.writer(file, lineterminator="\n")
            rows = fcsv_rows(points) if fcsv else _csv_rows(points, ants)
            for row in rows:
                if fcsv and row[0].startswith("#"):  # a comment is no row: its commas are not quoted
                    file.write(row[0] + "\n")
                else:
                    out.writerow(row)


def _csv_rows(points: Points, ants: bool) -> list[list[str]]:
    placed = [(name, [f"{c:.4f}" for c in point]) for name, point in zip(points.names, points.xyz, strict=True)]
    n = points.xyz.shape[1]
    if ants:
        pad = ["0"] * (3 - n)
        rows = [[*xyz, *pad, "0", str(k), name] for k, (name, xyz) in enumerate(placed)]
        return [["x", "y", "z", "t", "label", "comment"], *rows]
    return [["name", "x", "y", "z"][: n + 1], *([name, *xyz] for name, xyz in placed)]


def as_points(points: PointsLike, name: str = "points", grid: Grid | None = None) -> Points:
    """Landmarks as `Points`.

    Args:
        grid: as `read_points` has it.

    Raises:
        PointsError: they cannot be read, or are no finite coordinates.
    """
    if isinstance(points, Points):
        if not np.isfinite(points.xyz).all():
            raise PointsError(f"{name}: expected finite LPS millimetres, got NaN or infinity")
        return points
    if isinstance(points, (str, os.PathLike)):
        return read_points(points, grid=grid)
    try:
        xyz = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        expected = "a path, Points, or an array (N, 3) of LPS millimetres"
        raise PointsError(expected_kind(points, name, expected)) from None
    if xyz.ndim != 2 or xyz.shape[1] not in (2, 3) or not np.isfinite(xyz).all():
        raise PointsError(f"{name}: expected (N, 3) or (N, 2) finite LPS millimetres, got shape {xyz.shape}")
    return Points(xyz)
