from __future__ import annotations

import numpy as np
import pytest
import torch

from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.core.volume import Volume, volume_of
from jssr.errors import GeometryError, ImageError
from jssr.preprocessing import prepare
from jssr.preprocessing.placement import ready
from jssr.preprocessing.prepare import check_labels, prepare_image, prepare_pair
from jssr.preprocessing.rigid import OverlapError

WINDOW = (-200.0, 200.0)


def _part(volume: Volume, first: int, last: int) -> Volume:
    """Slices first..last - 1 along the third axis."""
    grid = volume.grid.cropped((0, 0, first), (*volume.grid.shape[:2], last - first))
    return Volume(volume.data[..., first:last].contiguous(), grid, name="part")


def test_a_pair_lands_on_one_grid_and_looks_alike(study: tuple[Volume, Volume]) -> None:
    fixed, moving = study
    pair = prepare_pair(fixed, moving, 5.0, WINDOW)
    shape = (1, 1, *pair.grid.shape)
    assert all(t.shape == shape for t in (pair.fixed, pair.moving, pair.fixed_mask, pair.moving_mask))
    np.testing.assert_allclose(pair.grid.spacing, 5.0)
    assert pair.fixed.min() == -1 and pair.fixed.max() == 1
    both = (pair.fixed_mask * pair.moving_mask) > 0
    unaligned = prepare_pair(fixed, moving, 5.0, WINDOW, rigid=False)
    there = (unaligned.fixed_mask * unaligned.moving_mask) > 0
    after = float((pair.fixed - pair.moving)[both].abs().mean())
    before = float((unaligned.fixed - unaligned.moving)[there].abs().mean())
    assert after < 0.6 * before  # what remains is contrast
    assert np.array_equal(unaligned.transform.matrix, np.eye(4)) and unaligned.rigid is None


def test_the_grid_is_cropped_to_the_body_and_not_into_it(study: tuple[Volume, Volume]) -> None:
    fixed, _ = study
    image = prepare_image(fixed, 5.0, WINDOW)
    # The body reaches 150 mm to the sides, 100 mm to front and back; 12 mm are kept, and the search is in 8 mm steps.
    corners = image.grid.corners()
    for axis, reach in ((0, 150), (1, 100)):
        assert -reach - 30 < corners[:, axis].min() <= -reach
        assert reach <= corners[:, axis].max() < reach + 30
    assert np.ptp(corners[:, 2]) == pytest.approx(np.ptp(fixed.grid.corners()[:, 2]))
    assert bool((image.mask == 1).all())


def test_nothing_is_invented_outside_the_moving_field_of_view(study: tuple[Volume, Volume]) -> None:
    fixed, _ = study
    short = _part(fixed, 10, 30)  # z from -50 mm (edge) to +50 mm of the reference phase's -100 .. 100
    pair = prepare_pair(fixed, short, 5.0, WINDOW, rigid=False)
    z = pair.grid.world(np.stack([np.zeros(pair.grid.shape[2])] * 2 + [np.arange(pair.grid.shape[2])], axis=-1))[:, 2]
    expected = (z > -50) & (z < 50)
    assert np.array_equal(pair.moving_mask[0, 0, 5, 5].numpy() > 0, expected)
    assert bool((pair.moving[pair.moving_mask == 0] == -1).all())
    # Cropped to the common field of view with a margin of 12 mm (and the search's 8 mm).
    assert -75 < z.min() <= -55 and 55 <= z.max() < 75


def test_the_network_sees_one_orientation(study: tuple[Volume, Volume]) -> None:
    fixed, _ = study
    turned = Volume(
        fixed.data.flip(1, 2).permute(0, 2, 1, 3).contiguous(),
        Grid(
            (fixed.grid.shape[1], fixed.grid.shape[0], fixed.grid.shape[2]),
            np.array(
                [
                    [0, -5.0, 0, fixed.grid.corners()[:, 0].max()],
                    [-5.0, 0, 0, fixed.grid.corners()[:, 1].max()],
                    [0, 0, 5.0, fixed.grid.origin[2]],
                    [0, 0, 0, 1],
                ]
            ),
        ),
    )
    a, b = prepare_image(fixed, 5.0, WINDOW), prepare_image(turned, 5.0, WINDOW)
    assert a.grid.same_as(b.grid)
    torch.testing.assert_close(a.image, b.image)


def test_the_transform_is_in_the_moving_tensor() -> None:
    grid = Grid.of((40, 40, 40), 4.0)
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.uniform(-150, 150, (8, 8, 8)), np.ones((5, 5, 5))).astype(np.float32)
    fixed = volume_of(blocks, grid)
    moving = volume_of(blocks, Grid.of((40, 40, 40), 4.0, (8.0, -4.0, 12.0)))  # everything lies (8, -4, 12) mm further
    pair = prepare_pair(fixed, moving, 4.0, WINDOW)
    true = np.array([8.0, -4.0, 12.0])
    # The grid's own middle: angles count little there.
    np.testing.assert_allclose(pair.transform(grid.centre) - grid.centre, true, atol=0.5)


@pytest.mark.parametrize(
    ("own", "fewest", "expected"),
    [
        (1.0, None, 4.0),  # as asked for
        (1.0, 8_000, 2.0),  # 40 mm along each side: 20 voxels
        (1.0, 10**9, 1.0),  # no finer than the fixed scan
        (8.0, 10**9, 4.0),  # and no coarser than asked for
    ],
)
def test_a_small_scan_gets_a_finer_working_grid(own: float, fewest: int | None, expected: float) -> None:
    shape = (round(40 / own),) * 3
    fixed = volume_of(np.random.default_rng(0).uniform(0, 100, shape).astype(np.float32), Grid.of(shape, own))
    pair = prepare_pair(fixed, fixed, 4.0, WINDOW, rigid=False, voxels=(fewest, None))
    np.testing.assert_allclose(pair.grid.spacing, expected, rtol=0.03)


def test_scanner_fill_is_no_data() -> None:
    rng = np.random.default_rng(0)
    hu = rng.normal(40, 60, (40, 40, 30)).astype(np.float32)
    hu[:3] = -3024
    image = prepare_image(volume_of(hu, Grid.of(hu.shape, 3.0)), 3.0, WINDOW)
    gone = round((9.0 - float(image.grid.origin[0])) / 3.0)  # the voxels at 0, 3 and 6 mm, less what was cropped
    assert 0 < gone <= 3
    assert bool((image.mask[0, 0, :gone] == 0).all()) and bool((image.mask[0, 0, gone:] == 1).all())
    assert bool((image.image[0, 0, :gone] == -1).all())


def test_mr_gets_limits_of_its_own(study: tuple[Volume, Volume]) -> None:
    fixed, _ = study
    mr = fixed.with_data((fixed.data + 1100).clamp(0, 1500) * 0.7)
    pair = prepare_pair(fixed, mr, 5.0, WINDOW, rigid=False)
    assert pair.fixed_limits == WINDOW
    assert pair.moving_limits[0] >= 0 and pair.moving_limits[1] > 500


def test_bad_pairs_are_refused(study: tuple[Volume, Volume]) -> None:
    fixed, moving = study
    away = Affine(np.array([[1, 0, 0, 900.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    lost = Volume(moving.data, Grid(moving.grid.shape, away.matrix @ moving.grid.affine))
    for rigid in (True, False):
        with pytest.raises(OverlapError, match="does not overlap"):
            prepare_pair(fixed, lost, 5.0, WINDOW, rigid)
    with pytest.raises(ImageError, match="constant"):
        prepare_image(fixed.with_data(torch.ones_like(fixed.data)), 5.0, WINDOW)
    with pytest.raises(GeometryError, match="another grid"):
        check_labels(Volume(torch.zeros(1, 60, 46, 30, dtype=torch.uint8), moving.grid, "labels"), fixed)


def test_a_scan_is_cleaned_once_for_both_grids_and_looks_the_same_as_alone(study, monkeypatch) -> None:
    """The finer grid has what a scan that is prepared for that grid alone shows."""
    fixed, moving = study
    made = []
    clean = prepare.cleaned
    monkeypatch.setattr(prepare, "cleaned", lambda *args: made.append(args) or clean(*args))
    pair = prepare_pair(fixed, moving, 10.0, WINDOW, rigid=False, finer=lambda grid, _: grid.respaced(5.0))
    assert len(made) == 2 and pair.finer is not None
    one = pair.finer[0]
    alone = prepare.normalised(ready(fixed, 5.0, WINDOW, Affine.identity()), one.grid)
    torch.testing.assert_close(one.image, alone.image, atol=0, rtol=0)
