"""Points as other programs write them: 3D Slicer's markups, elastix's and transformix's point files. LPS millimetres.

| file | frame |
| --- | --- |
| `.mrk.json` (3D Slicer 4.11 and later) | `coordinateSystem` of each markup: LPS or RAS |
| `.fcsv` (3D Slicer) | `# CoordinateSystem = ` LPS, RAS, 0 (RAS) or 1 (LPS) |
| `.txt`, `.pts` that begin with `point` (elastix) | LPS by definition |
| `.txt`, `.pts` that begin with `index` (elastix) | voxels of the image that they belong to |
| `outputpoints.txt` (transformix) | LPS; `OutputPoint` is read |
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.notes import tell
from jssr.core.volume import Points
from jssr.errors import PointsError

_SIGNS = {"LPS": (1.0, 1.0, 1.0), "RAS": (-1.0, -1.0, 1.0)}
_FCSV_SYSTEMS = {"0": "RAS", "1": "LPS", "RAS": "RAS", "LPS": "LPS"}
_OUTPUT = re.compile(r"OutputPoint\s*=\s*\[([^\]]*)\]")
_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


def read_markups(text: str, path: Path) -> Points:
    """Of `.mrk.json`: the control points of all its markups; those without a position are passed over, and told."""
    try:
        markups = json.loads(text)["markups"]
        systems = {_system(str(one.get("coordinateSystem")), path) for one in markups}
        given = [point for one in markups for point in one["controlPoints"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PointsError(
            f"{path}: is no markups file of 3D Slicer, or is damaged ({type(error).__name__}: {error}); expected "
            "markups with controlPoints"
        ) from None
    if len(systems) > 1:
        raise PointsError(f"{path}: its markups are in two frames, LPS and RAS: save each in a file of its own")
    units = {_unit(one.get("coordinateUnits", "mm")) for one in markups}
    if units - {"mm"}:
        raise PointsError(f"{path}: expected coordinates in mm, got {', '.join(sorted(units))}")
    set_ones = [point for point in given if point.get("positionStatus", "defined") == "defined"]
    if len(set_ones) < len(given):
        tell(f"{path}: {len(given) - len(set_ones)} of {len(given)} points have no position and are passed over.")
    if not set_ones:
        raise PointsError(f"{path}: holds no point that is set")
    xyz = [_coordinates(point.get("position"), 3, f"point {k + 1}", path) for k, point in enumerate(set_ones)]
    names = [str(point.get("label") or point.get("id") or k) for k, point in enumerate(set_ones)]
    return Points(np.array(xyz) * _SIGNS[systems.pop()], tuple(names))


def _unit(given: Any) -> str:
    """A unit's code: itself, or the first of a list of its code, the scheme that defines it and its meaning."""
    return str((given or ["none"])[0] if isinstance(given, list) else given)


def _system(given: str, path: Path) -> str:
    if given.upper() not in _SIGNS:
        raise PointsError(
            f"{path}: does not say whether its points are LPS or RAS (coordinateSystem is {given}): set it"
        )
    return given.upper()


def read_fcsv(text: str, path: Path) -> Points:
    """Of `.fcsv`: one point a line, its frame in the comments above."""
    comments = [line for line in text.splitlines() if line.startswith("#")]
    said = {m[1].lower(): m[2].strip() for line in comments if (m := re.match(r"#\s*(\w+)\s*=\s*(.*)", line))}
    systems = {m[1].strip() for line in comments if (m := re.match(r"#\s*CoordinateSystem\s*=\s*(.*)", line))}
    if len({_FCSV_SYSTEMS.get(one) for one in systems}) > 1:
        raise PointsError(f"{path}: names two frames, {' and '.join(sorted(systems))}: keep the one that is right")
    system = _FCSV_SYSTEMS.get(said.get("coordinatesystem", "").upper())
    if system is None:
        raise PointsError(
            f"{path}: does not say whether its points are LPS or RAS: add the line # CoordinateSystem = LPS (or RAS)"
        )
    columns = [c.strip() for c in said.get("columns", _COLUMNS).split(",")]
    if not {"x", "y", "z"} <= set(columns):
        raise PointsError(f"{path}: names no columns x, y, z: is it a markups file of 3D Slicer?")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    xyz, names = [], []
    for k, values in enumerate(csv.reader(lines)):
        row = dict(zip(columns, values, strict=False))
        xyz.append(_coordinates([row.get(axis) for axis in "xyz"], 3, f"point {k + 1}", path))
        names.append(row.get("label") or row.get("id") or str(k))
    if not xyz:
        raise PointsError(f"{path}: holds no point")
    return Points(np.array(xyz) * _SIGNS[system], tuple(names))


def read_elastix_points(text: str, path: Path, grid: Grid | None) -> Points:
    """Of elastix or transformix.

    Args:
        grid: of the image that the points belong to, for those that are voxel indices.
    """
    if found := [m[1].split() for line in text.splitlines() if (m := _OUTPUT.search(line))]:
        tell(f"{path}: of transformix: OutputPoint is read, the points in the moving space.")
        return Points(_array(found, path))
    words = text.split()
    if not words or words[0] not in ("point", "index"):
        raise PointsError(
            f"{path}: expected a file of elastix, whose first line is point or index, or outputpoints.txt of "
            "transformix; points in CSV end in .csv"
        )
    lines = [line.split() for line in text.splitlines()[1:] if line.strip()]
    count = lines[0][0] if lines and len(lines[0]) == 1 else ""
    if not count.isdigit() or int(count) != len(lines) - 1 or int(count) == 0:
        raise PointsError(f"{path}: expected the number of points in its second line, and as many lines, at least one")
    xyz = _array(lines[1:], path)
    if words[0] == "index":
        if grid is None:
            raise PointsError(
                f"{path}: holds voxel indices: name the image they belong to (--reference), or write points"
            )
        if grid.ndim != xyz.shape[1]:
            raise PointsError(f"{path}: holds {xyz.shape[1]} indices a point, and its image is {grid.ndim}D")
        xyz = grid.world(xyz)
    return Points(xyz)


def _array(rows: Sequence[Sequence[str]], path: Path) -> NDArray[np.float64]:
    n = len(rows[0])
    if n not in (2, 3) or any(len(row) != n for row in rows):
        raise PointsError(f"{path}: expected 2 or 3 coordinates a point, the same for all")
    return np.array([_coordinates(row, n, f"point {k + 1}", path) for k, row in enumerate(rows)])


def _coordinates(given: Any, n: int, what: str, path: Path) -> list[float]:
    try:
        found = [float(v) for v in given]
    except (TypeError, ValueError):
        found = []
    if len(found) != n or not np.isfinite(found).all():
        raise PointsError(f"{path}: {what} does not hold {n} finite coordinates")
    return found


def markups_text(points: Points) -> str:
    """As `.mrk.json`, LPS."""
    placed = [
        {"id": str(k), "label": name, "position": [round(float(c), 6) for c in point], "positionStatus": "defined"}
        for k, (name, point) in enumerate(zip(points.names, points.xyz, strict=True), start=1)
    ]
    schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": placed}
    return json.dumps({"@schema": f"{schema}markups-schema-v1.0.3.json#", "markups": [markup]}, indent=1) + "\n"


def fcsv_rows(points: Points) -> list[list[str]]:
    """As `.fcsv`, LPS: comments, then a row for each point."""
    head = [["# Markups fiducial file version = 4.11"], ["# CoordinateSystem = LPS"], [f"# columns = {_COLUMNS}"]]
    rows = [
        [str(k), *(f"{c:.4f}" for c in point), "0", "0", "0", "1", "1", "1", "0", name, "", ""]
        for k, (name, point) in enumerate(zip(points.names, points.xyz, strict=True), start=1)
    ]
    return head + rows


def elastix_text(points: Points) -> str:
    """As a point file of elastix, which keeps no names."""
    lines = [" ".join(f"{c:.6f}" for c in point) for point in points.xyz]
    return "\n".join(["point", str(len(lines)), *lines]) + "\n"
