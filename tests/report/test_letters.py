from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from jssr.report import letters


def test_letters_stand_at_the_four_sides() -> None:
    marked = letters.lettered(np.full((200, 200, 3), 60, np.uint8), "axial") != 60
    sides = marked[80:120, :25], marked[80:120, -25:], marked[:25, 80:120], marked[-25:, 80:120]
    assert all(side.any() for side in sides)
    assert not marked[40:160, 40:160].any()
    unmarked = letters.lettered(np.full((200, 200, 3), 60, np.uint8), "image")
    assert (unmarked == 60).all()


@pytest.mark.parametrize(("wide_mm", "bar"), [(400.0, 100.0), (299.0, 50.0), (31.0, 10.0), (3.5, 1.0), (2.0, 0.0)])
def test_a_scale_bar_is_the_longest_round_length_up_to_a_third(wide_mm: float, bar: float) -> None:
    assert letters.bar_of(wide_mm) == bar


def test_a_scale_bar_is_as_long_as_it_says() -> None:
    marked = letters.lettered(np.full((200, 200, 3), 60, np.uint8), "image", pixel=2.0)  # 400 mm wide: 10 cm, 50 pixels
    row = marked[191, :, 0]  # 9 pixels above the lower edge
    assert (row == 255).sum() == pytest.approx(50, abs=1) and np.flatnonzero(row == 255)[0] == 8


@pytest.mark.parametrize("ground", [40, 220])
def test_writing_is_as_if_drawn_on_the_picture_itself(ground: int) -> None:
    rng = np.random.default_rng(0)
    picture = (rng.integers(-30, 31, (90, 120, 3)) + ground).astype(np.uint8)
    image = Image.fromarray(picture)
    letters._drawn(image, "sagittal", 14, 1.5, ground > letters.LIGHT)
    ours = letters.lettered(picture, "sagittal", 14, 1.5).astype(int)
    assert np.abs(ours - np.asarray(image)).max() <= 2
    assert (ours != picture).any(axis=-1).sum() > 200
    tone = letters.lettered(picture[..., 0], "sagittal", 14, 1.5)
    np.testing.assert_array_equal(tone, ours[..., 0])
    turned = np.asfortranarray(picture[..., 0])
    np.testing.assert_array_equal(letters.lettered(turned, "sagittal", 14, 1.5), tone)
