"""Contours as shapes and back, against areas and volumes worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.volume import volume_of
from jssr.io.dicom.shapes import FAR, contours_of, shape_of

GRID = Grid.of((60, 64, 24), (1.1, 1.0, 3.0), (-33.0, -31.0, -36.0))
ANGLES = np.linspace(0, 2 * np.pi, 145)[:-1]
HEIGHTS = GRID.origin[2] + 3.0 * np.arange(24)


def circle(radius, height, centre=(0.4, 0.3)):
    return np.c_[centre[0] + radius * np.cos(ANGLES), centre[1] + radius * np.sin(ANGLES), np.full(144, float(height))]


def square(low, high, height):
    return np.array([(low, low, height), (high, low, height), (high, high, height), (low, high, height)], dtype=float)


def on_grid(contours, grid=GRID):
    shape = shape_of(contours, grid)
    return shape, resample(shape.distance, grid, fill=FAR)


def millilitres(distance):
    return float((distance.array > 0).sum()) * float(np.prod(distance.grid.spacing)) / 1000


def ring_area(points):
    x, y = points[:, 0], points[:, 1]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def test_a_sphere_keeps_its_volume_and_its_border():
    radius = 18.0
    contours = [circle(np.sqrt(radius**2 - z**2), z) for z in HEIGHTS if abs(z) < radius]
    shape, distance = on_grid(contours)
    true = 4 / 3 * np.pi * radius**3 / 1000
    assert shape.ml == pytest.approx(true, rel=0.01) and millilitres(distance) == pytest.approx(true, rel=0.01)
    off = [np.linalg.norm(xyz - (0.4, 0.3, 0), axis=1) - radius for _, xyz in contours_of(distance)]
    assert np.percentile(np.abs(np.concatenate(off)), 95) < 0.1
    assert shape.warnings == ()


@pytest.mark.parametrize("drawn", ["two contours", "a keyhole", "a keyhole of some width"])
def test_a_ring(drawn):
    contours = []
    for z in HEIGHTS[4:14]:
        outer, inner = circle(16, z), circle(7, z)[::-1]
        inner = np.roll(inner, 1, axis=0)
        if drawn == "two contours":
            contours += [outer, inner]
        else:
            joined = np.concatenate([outer, outer[:1], inner, inner[:1]])
            joined[[-1, -2 - len(inner)], 1] += 0.01 if "width" in drawn else 0
            contours.append(joined)
    shape, distance = on_grid(contours)
    true = np.pi * (16**2 - 7**2) * 30 / 1000
    assert shape.ml == pytest.approx(true, rel=0.005) and millilitres(distance) == pytest.approx(true, rel=0.005)
    found = contours_of(distance)
    assert [k for k, _ in found] == list(range(4, 14))  # one contour a slice: the hole is joined by a keyhole
    assert ring_area(found[3][1]) == pytest.approx(np.pi * (16**2 - 7**2), rel=0.005)


def test_an_island_in_a_hole():
    contours = [c for z in HEIGHTS[5:9] for c in (square(-20, 20, z), square(-12, 12, z), square(-5, 5, z))]
    shape, distance = on_grid(contours)
    assert shape.ml == pytest.approx((1600 - 576 + 100) * 12 / 1000, rel=0.01)
    assert sorted(round(ring_area(xyz), -1) for k, xyz in contours_of(distance) if k == 6) == [100, 1020]


def test_planes_that_are_missing_are_filled_in_and_told():
    heights = [z for k, z in enumerate(HEIGHTS[3:15]) if k != 5]
    shape, distance = on_grid([circle(10, z) for z in heights])
    assert shape.ml == pytest.approx(np.pi * 100 * 36 / 1000, rel=0.01)
    assert millilitres(distance) == pytest.approx(shape.ml, rel=0.01)
    assert "missing on 1 planes" in shape.warnings[0]


def test_parts_far_from_each_other_stay_apart():
    shape, distance = on_grid([circle(10, z) for z in (*HEIGHTS[2:6], *HEIGHTS[12:15])])
    assert shape.ml == pytest.approx(np.pi * 100 * 21 / 1000, rel=0.01)
    assert sorted({k for k, _ in contours_of(distance)}) == [2, 3, 4, 5, 12, 13, 14]


def test_contours_on_every_second_slice_and_one_alone():
    shape, _ = on_grid([circle(10, z) for z in HEIGHTS[2:12:2]])
    assert shape.ml == pytest.approx(np.pi * 100 * 30 / 1000, rel=0.01) and shape.warnings == ()
    shape, distance = on_grid([circle(10, HEIGHTS[7])])
    assert shape.ml == pytest.approx(np.pi * 100 * 3 / 1000, rel=0.01) and {k for k, _ in contours_of(distance)} == {7}


def test_contours_that_do_not_lie_on_the_slices():
    """Sagittal contours: planes of one x each, 2 mm apart."""
    contours = [
        np.c_[np.full(144, x), 12 * np.cos(ANGLES), 9 * np.sin(ANGLES)] for x in np.arange(-10.0, 11.0, 2.0)
    ]  # fmt: skip
    shape, _ = on_grid(contours)
    distance = resample(shape.distance, Grid.of((60, 60, 60), 0.5, (-15.1, -15.0, -15.2)), fill=FAR)
    true = np.pi * 12 * 9 * 22 / 1000
    assert shape.ml == pytest.approx(true, rel=0.01) and millilitres(distance) == pytest.approx(true, rel=0.02)
    assert "not drawn on the slices" in shape.warnings[0]


def test_an_oblique_scan():
    axes = Rotation.from_euler("xyz", (20, -15, 30), degrees=True).as_matrix()
    grid = Grid.of(GRID.shape, GRID.spacing, axes @ GRID.origin + (5, 7, 9), axes)
    contours = [circle(np.sqrt(225 - z**2), z) @ axes.T + (5, 7, 9) for z in HEIGHTS if abs(z) < 15]
    shape, distance = on_grid(contours, grid)
    assert millilitres(distance) == pytest.approx(4 / 3 * np.pi * 3.375, rel=0.015) and shape.warnings == ()


def test_contours_in_no_plane_are_left_out():
    bent = circle(10, HEIGHTS[9])
    bent[:40, 2] += 2
    shape, _ = on_grid([*(circle(10, z) for z in HEIGHTS[4:9]), bent])
    assert "1 contours lie in no plane" in shape.warnings[0]
    assert shape_of([np.array([(0.0, 0, 0), (1, 1, 0), (2, 2, 0)])], GRID) is None


def test_what_the_grid_cuts_is_closed():
    values = np.full((6, 6, 2), 3.0, np.float32)
    (first, second) = contours_of(volume_of(values, Grid.of((6, 6, 2), 2.0)))
    assert (first[0], second[0]) == (0, 1)
    assert np.allclose([first[1].min(axis=0)[:2], first[1].max(axis=0)[:2]], [(-1, -1), (11, 11)])
