"""Points as CSV: `name,x,y,z`, LPS millimetres, one header row."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np

from jssr.core.volume import Points
from jssr.errors import PointsError
from jssr.io.files import atomic_path
from jssr.io.images import expected_kind

PointsLike = Points | str | os.PathLike[str] | Any
"""A path (CSV), `Points`, or an array (N, n) of LPS millimetres."""


def read_points(path: str | os.PathLike[str], ndim: int | None = None) -> Points:
    """Read points in LPS millimetres.

    Args:
        path: CSV with a header row that names at least x, y (and z); a column `name` is optional, others are ignored.
        ndim: 3 or 2, where only that will do; None takes points without a column z as those of a 2D image.

    Raises:
        PointsError: missing or empty file, missing columns, or a coordinate that is not a finite number.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise PointsError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PointsError(f"{path}: cannot be read as text ({type(error).__name__})") from error
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = [c.strip().lower() for c in rows.fieldnames or []]
    ndim = ndim or (3 if "z" in columns or "y" not in columns else 2)
    axes = ["x", "y", "z"][:ndim]
    missing = [a for a in axes if a not in columns]
    if missing:
        raise PointsError(f"{path}: no column {', '.join(missing)}; the first row must read name,{','.join(axes)}")
    rows.fieldnames = columns
    xyz: list[list[float]] = []
    names: list[str] = []
    for row in rows:
        try:
            point = [float(row[a]) for a in axes]
        except (TypeError, ValueError):
            point = [float("nan")]
        if not np.isfinite(point).all():
            raise PointsError(f"{path}: line {rows.line_num} does not hold {ndim} finite coordinates")
        xyz.append(point)
        names.append(row.get("name") or str(len(names)))
    return Points(np.array(xyz, dtype=np.float64).reshape(-1, ndim), tuple(names))


def write_points(points: Points, path: str | os.PathLike[str]) -> None:
    """Write points, LPS millimetres with 4 decimals, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["name", "x", "y", "z"][: points.xyz.shape[1] + 1])
        for name, point in zip(points.names, points.xyz, strict=True):
            out.writerow([name, *(f"{c:.4f}" for c in point)])


def as_points(points: PointsLike, name: str = "points") -> Points:
    """Landmarks as `Points`.

    Raises:
        PointsError: they cannot be read, or are no finite coordinates.
    """
    if isinstance(points, Points):
        if not np.isfinite(points.xyz).all():
            raise PointsError(f"{name}: expected finite LPS millimetres, got NaN or infinity")
        return points
    if isinstance(points, (str, os.PathLike)):
        return read_points(points)
    try:
        xyz = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        expected = "a path, Points, or an array (N, 3) of LPS millimetres"
        raise PointsError(expected_kind(points, name, expected)) from None
    if xyz.ndim != 2 or xyz.shape[1] not in (2, 3) or not np.isfinite(xyz).all():
        raise PointsError(f"{name}: expected (N, 3) or (N, 2) finite LPS millimetres, got shape {xyz.shape}")
    return Points(xyz)
