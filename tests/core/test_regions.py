"""Connected parts, worked out by hand and compared with scipy's."""

import numpy as np
import pytest
from scipy import ndimage

from jssr.core import regions


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


DRAWING = drawn(
    "###...#",
    "#.#..#.",
    "###....",
    "......#",
    "##...##",
)


def test_parts_touch_at_faces_or_at_corners_too():
    assert regions.parts(DRAWING).max() == 5
    assert regions.parts(DRAWING, corners=True).max() == 4  # the two at the top right touch at a corner


def test_what_is_reached_is_whole_parts():
    start = np.zeros(DRAWING.shape, bool)
    start[0, 6] = start[1, 1] = True  # the second lies in no part
    assert np.argwhere(regions.reached(DRAWING, start)).tolist() == [[0, 6]]
    assert np.argwhere(regions.reached(DRAWING, start, corners=True)).tolist() == [[0, 6], [1, 5]]


def test_the_largest_part_and_its_hole():
    ring = regions.largest(DRAWING)
    assert ring.sum() == 8 and ring[:3, :3].sum() == 8
    assert regions.filled(ring).sum() == 9
    assert not regions.largest(np.zeros((3, 4), bool)).any()


def test_a_bay_that_opens_at_the_border_is_no_hole():
    bay = drawn("####", "#..#", "#.##")
    assert np.array_equal(regions.filled(bay), bay)
    assert regions.filled(drawn(".#.", "#.#", ".#.")).tolist() == drawn(".#.", "###", ".#.").tolist()


@pytest.mark.parametrize("shape", [(40, 31), (14, 17, 12), (1, 9)])
def test_they_are_those_of_scipy(shape):
    mask = np.random.default_rng(2).random(shape) < 0.6
    numbers, count = ndimage.label(mask)
    found = regions.parts(mask)
    assert found.max() == count
    assert len(np.unique(np.stack([numbers[mask], found[mask]]), axis=1).T) == count  # one number for each of theirs
    assert np.array_equal(regions.filled(mask), ndimage.binary_fill_holes(mask))
    for times in (1, 3):
        assert np.array_equal(
            regions.eroded(mask, times), ndimage.binary_erosion(mask, iterations=times, border_value=1)
        )
