"""One scan as several methods align it, a row for each: the paper's figure 5."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jssr.core.resampling import resample
from jssr.core.transform import Displacement, Transform
from jssr.core.volume import Volume
from jssr.report import figures
from jssr.report.letters import lettered
from jssr.report.planes import Plane, Planes, focus, window, window_of


def method_rows(
    fixed: Volume,
    moving: Volume,
    transforms: Mapping[str, Transform],
    fixed_labels: Volume | None = None,
    moving_labels: Volume | None = None,
    plane: Plane | None = None,
    width: int = 340,
) -> bytes:
    """Show what each method's transform, from fixed to moving space, makes of a moving scan, as PNG bytes.

    Labels are outlined where given. The plane runs through the middle of what matters (`focus`); None takes the coronal
    one of a solid. Pictures are `width` pixels wide.
    """
    planes = Planes(fixed.grid, focus(fixed), width)
    plane = plane or ("coronal" if "coronal" in planes.names else planes.names[0])
    limits = window_of(fixed), window_of(moving)
    grey = window(planes.cut(fixed, plane), limits[0])
    goal = None if fixed_labels is None else planes.cut(fixed_labels, plane)
    rows: list[figures.Colour] = []
    for name, transform in transforms.items():
        field = transform if isinstance(transform, Displacement) else transform.displacement(fixed.grid)
        moved = window(planes.cut(resample(moving, fixed.grid, field), plane), limits[1])
        cells = {
            "moved": figures.grey(moved),
            "checkerboard with fixed": figures.checkerboard(grey, moved, max(8, width // 8)),
        }
        if goal is not None and moving_labels is not None:
            labels = planes.cut(resample(moving_labels, fixed.grid, field), plane)
            cells["outlines: fixed blue, moved orange"] = figures.contours(grey, goal, labels)
        lines = figures.deformation_grid(moved, planes.mapped(field, plane), planes.pixel, planes.lines)
        cells[f"field, lines {planes.lines:g} mm apart"] = lines
        titles = [name, *("" if rows else title for title in [*cells][1:])]
        rows.append(figures.captioned(titles, [lettered(c, plane, 14) for c in cells.values()]))
    return figures.encode(np.concatenate(rows, axis=0))
