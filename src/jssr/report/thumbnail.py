"""A small picture of a registration for a table of many: the fixed scan, and a checkerboard of fixed and moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jssr.core.volume import Volume
from jssr.io.files import atomic_path
from jssr.report.figures import checkerboard, grey
from jssr.report.planes import Plane, Planes, window, window_of

WIDTH = 112
SQUARES = 7
"""Along the width: a square is some 5 cm of an abdomen, so that its outline crosses several."""


def write_thumbnail(fixed: Volume, moved: Volume | None, path: Path) -> None:
    """Write the picture as PNG.

    Args:
        fixed: the scan that stays.
        moved: on the fixed grid; None shows the fixed scan alone.
        path: of the file.
    """
    from PIL import Image

    planes = Planes(fixed.grid, width=WIDTH)
    plane: Plane = "axial" if fixed.grid.ndim == 3 else "image"
    left = window(planes.cut(fixed, plane), window_of(fixed))
    parts = [grey(left)]
    if moved is not None:
        right = window(planes.cut(moved, plane), window_of(moved))
        parts += [np.full((left.shape[0], 2, 3), 255, np.uint8), checkerboard(left, right, WIDTH // SQUARES)]
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate(parts, axis=1)[..., 0]).save(temporary, "PNG")
