"""A patient simple enough to check by hand: ellipsoids in an ellipsoid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.volume import Points


@dataclass(frozen=True)
class ToyAnatomy:
    grid: Grid
    tissue: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    landmarks: Points
    cavity_depth: NDArray[np.float32]
    mobility: NDArray[np.float32]


def toy_anatomy(spacing: float = 4.0, extent: tuple[float, float, float] = (380.0, 290.0, 320.0)) -> ToyAnatomy:
    shape = tuple(int(round(e / spacing)) for e in extent)
    grid = Grid.of(shape, spacing, tuple(-(n - 1) / 2 * spacing for n in shape))
    x, y, z = np.moveaxis(grid.world(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)), -1, 0)

    def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> NDArray[np.float64]:
        at = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 + ((z - centre[2]) / radii[2]) ** 2
        return np.sqrt(at)

    body = np.sqrt((x / 170) ** 2 + (y / 120) ** 2)
    labels = np.zeros(shape, np.uint8)
    labels[(body < 0.9) & (body >= 0.82)] = 15
    labels[np.hypot(x, y - 75) < 20] = 12
    labels[ball((70, 20, 40), (35, 35, 50)) < 1] = 2
    labels[ball((-60, -10, 30), (68, 72, 72)) < 1] = 1
    labels[np.hypot(x - 12, y - 40) < 11] = 8
    tissue = labels.copy()
    tissue[(labels == 0) & (body < 1)] = 20
    depth = (0.82 - body) * 120
    landmarks = Points(np.array([[-60.0, -10, 30], [-40, 0, 60], [70, 20, 40]]), ("liver", "vessel", "spleen"))
    mobility = np.where(y > 50, 0.2, 1.0)
    return ToyAnatomy(grid, tissue, labels, landmarks, depth.astype(np.float32), mobility.astype(np.float32))


@pytest.fixture(scope="session")
def toy() -> ToyAnatomy:
    return toy_anatomy()


@pytest.fixture(scope="session")
def coarse_toy() -> ToyAnatomy:
    return toy_anatomy(6.0)
