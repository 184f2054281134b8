"""One scan as several methods align it, a row for each: the paper's figure 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jssr.core.transform import Displacement, Transform, resample
from jssr.core.volume import Volume
from jssr.report import figures
from jssr.report.planes import Plane, Planes, focus, window, window_of

HEADS = ("moved", "checkerboard with fixed", "outlines: fixed blue, moved orange", "field, lines {:g} mm apart")


def method_rows(
    fixed: Volume,
    moving: Volume,
    transforms: Mapping[str, Transform],
    fixed_labels: Volume | None = None,
    moving_labels: Volume | None = None,
    plane: Plane | None = None,
    width: int = 340,
) -> bytes:
    """Show what each method makes of a moving scan, as PNG bytes.

    Args:
        fixed, moving: the scans.
        transforms: of each method, fixed to moving space.
        fixed_labels, moving_labels: outlined where given.
        plane: through the middle of what matters (`focus`); None takes the coronal one of a solid.
        width: pixels of a picture.
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
        cells = [figures.grey(moved), figures.checkerboard(grey, moved, max(8, width // 8))]
        if goal is not None and moving_labels is not None:
            labels = resample(moving_labels, fixed.grid, field)
            cells.append(figures.contours(grey, goal, planes.cut(labels, plane)))
        cells.append(figures.deformation_grid(moved, planes.mapped(field, plane), planes.pixel, planes.lines))
        rows.append(_row(name, [figures.lettered(c, plane, 14) for c in cells], planes.lines, first=not rows))
    return figures.encode(np.concatenate(rows, axis=0))


def _row(name: str, cells: Sequence[figures.Colour], lines: float, first: bool) -> figures.Colour:
    heads = HEADS if len(cells) == len(HEADS) else (*HEADS[:2], HEADS[3])
    titles = [figures.caption(h.format(lines) if first else "", c.shape[1]) for h, c in zip(heads, cells, strict=True)]
    titles[0] = figures.caption(name, cells[0].shape[1])
    return np.concatenate([figures.beside(titles, white=True), figures.beside(cells, white=True)], axis=0)
