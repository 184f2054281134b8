from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from jssr.core.grid import Grid
from jssr.core.volume import Volume, volume_of
from jssr.report import figures


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def ct(value: float = 100.0) -> Volume:
    data = np.full((20, 16, 10), -1000.0)
    data[4:16, 3:13, 2:8] = value
    return volume_of(data, Grid.of((20, 16, 10), (2.0, 2.0, 4.0)))


def test_checkerboard_takes_squares_in_turn() -> None:
    out = figures.checkerboard(np.zeros((4, 4), np.float32), np.ones((4, 4), np.float32), tile=2)[..., 0]
    assert out.tolist() == [[0, 0, 255, 255]] * 2 + [[255, 255, 0, 0]] * 2


def test_fusion_is_grey_where_both_agree() -> None:
    fixed, other = np.array([[0.5, 1.0, 0.0]], np.float32), np.array([[0.5, 0.0, 1.0]], np.float32)
    assert figures.fusion(fixed, other)[0].tolist() == [[128, 128, 128], [255, 0, 0], [0, 255, 255]]


def test_difference_is_red_where_the_other_is_brighter() -> None:
    fixed, other = np.array([[0.5, 0.2, 0.8]], np.float32), np.array([[0.5, 0.6, 0.4]], np.float32)
    equal, brighter, darker = figures.difference(fixed, other)[0].astype(int)
    assert equal.min() > 240
    assert brighter[0] > brighter[2] + 80 and darker[2] > darker[0] + 80


def test_edges_of_the_other_are_drawn_on_the_fixed() -> None:
    fixed, other = np.full((40, 40), 0.4, np.float32), np.zeros((40, 40), np.float32)
    other[:, 25:] = 1.0
    drawn = (figures.edges(fixed, other, sigma=1.5) == figures.MOVING_COLOUR).all(axis=-1)
    columns = np.flatnonzero(drawn[5:35].any(axis=0))
    assert len(columns) and set(columns) <= {23, 24, 25, 26}


def test_canny_agrees_with_scikit_image() -> None:
    theirs_of = pytest.importorskip("skimage.feature").canny
    rng = np.random.default_rng(3)
    picture = ndimage.gaussian_filter(rng.normal(size=(120, 100)), 6)
    picture = ((picture > 0.02) * 0.6 + 0.05 * rng.random(picture.shape)).astype(np.float32)
    ours, theirs = (figures.canny(picture, 2.0, 0.05, 0.13), theirs_of(picture.astype(float), 2.0, 0.05, 0.13))
    near = [ndimage.binary_dilation(one, np.ones((3, 3))) for one in (ours, theirs)]
    assert theirs.sum() > 300
    assert (ours & near[1]).sum() >= 0.97 * ours.sum()
    assert (theirs & near[0]).sum() >= 0.97 * theirs.sum()


def test_contours_are_white_where_they_coincide() -> None:
    fixed, other = np.zeros((30, 30), np.int16), np.zeros((30, 30), np.int16)
    fixed[5:15, 5:15] = other[5:15, 5:15] = 1
    fixed[20:28, 5:13] = 2
    other[20:28, 18:26] = 2
    out = figures.contours(np.full((30, 30), 0.5, np.float32), fixed, other)
    assert out[5, 10].tolist() == [255, 255, 255]
    assert out[20, 8].tolist() == list(figures.FIXED_COLOUR)
    assert out[20, 22].tolist() == list(figures.MOVING_COLOUR)
    assert out[10, 10].tolist() == out[24, 9].tolist() == [128, 128, 128]  # the inside stays


def test_overlays_show_the_fixed_image_dimmed_where_the_other_has_no_data() -> None:
    fixed, other = np.full((40, 40), 0.8, np.float32), np.zeros((40, 40), np.float32)
    inside = np.zeros((40, 40), dtype=bool)
    inside[:, :20] = True
    out = figures.overlay("fusion", fixed, other, figures.Known(inside))
    assert out[20, 5].tolist() == [204, 0, 0]  # data of both: the fixed alone is red
    assert out[20, 35].tolist() == [92, 92, 92]  # 0.45 of the fixed
    edges = figures.overlay("edges", np.zeros((40, 40), np.float32), inside.astype(np.float32), figures.Known(inside))
    assert not (edges == figures.MOVING_COLOUR).all(axis=-1).any()  # where data end is no edge


def line_columns(out: np.ndarray) -> list[int]:
    strength = out[..., 0].astype(int).sum(axis=0)
    return [int(c) for c in np.flatnonzero(strength > 0.9 * strength.max())]


def test_deformation_grid_spaces_its_lines_by_the_map() -> None:
    pixel, black = 0.5, np.zeros((9, 101), np.float32)
    across = np.arange(101) * pixel
    still = np.stack(np.broadcast_arrays(across[None], np.full((9, 1), 7.5)), axis=-1)
    assert line_columns(figures.deformation_grid(black, still, pixel, step=10.0)) == [0, 20, 40, 60, 80, 100]
    # The moving image is read twice as fast: its lines come to lie half as far apart.
    squeezed = still * np.array([2.0, 1.0])
    assert line_columns(figures.deformation_grid(black, squeezed, pixel, step=10.0)) == list(range(0, 101, 10))


def test_log_jacobian_marks_folds_and_tells_the_sign() -> None:
    log_det, folds = np.array([[0.0, 0.7, -0.7, 0.0]], np.float32), np.array([[False, False, False, True]])
    still, compressed, stretched, fold = figures.log_jacobian(log_det, folds)[0].astype(int)
    assert still.min() > 240 and fold.max() < 40
    assert compressed[0] > compressed[2] and stretched[2] > stretched[0]


def test_montage_shows_five_pictures_beside_one_another_below_their_titles() -> None:
    picture = opened(figures.montage("arterial <1>", ct(), ct(60.0), ct(80.0), "axial", width=60))
    assert picture.size == (5 * 60 + 4 * 6, 26 + 48)  # 40 x 32 mm at 2/3 mm


def test_jpeg_and_png() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (8, 6, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(opened(figures.encode(picture))), picture)
    assert opened(figures.encode(picture, "JPEG")).format == "JPEG"
