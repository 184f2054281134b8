from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from body import scan, turned

from jssr.core.bridges import to_sitk
from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.core.volume import Volume, volume_of
from jssr.errors import GeometryError
from jssr.preprocessing import rigid
from jssr.preprocessing.placement import shrink
from jssr.preprocessing.rigid import OverlapError, overlap, rigid_align


def _off(found: Affine, true: Affine, grid: Grid) -> tuple[float, float]:
    """Degrees and millimetres (at the middle of the grid) between two rigid motions."""
    extra = found.matrix @ np.linalg.inv(true.matrix)
    angle = np.degrees(np.arccos(np.clip((np.trace(extra[:3, :3]) - 1) / 2, -1, 1)))
    return float(angle), float(np.linalg.norm(found(grid.centre) - true(grid.centre)))


def _true_motion() -> Affine:
    c, s = np.cos(np.radians(6.0)), np.sin(np.radians(6.0))
    return Affine(np.array([[c, -s, 0, 9.0], [s, c, 0, -7.0], [0, 0, 1, 12.0], [0, 0, 0, 1.0]]))


def _placed(volume: Volume, motion: Affine) -> Volume:
    """The same voxels elsewhere: what a header with another position says."""
    return Volume(volume.data, Grid(volume.grid.shape, motion.matrix @ volume.grid.affine), name=volume.name)


def _shift(*mm: float) -> Affine:
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return Affine(matrix)


def test_recovers_a_known_motion_between_phases_and_says_the_same_twice(study: tuple[Volume, Volume]) -> None:
    fixed, moving = study
    result = rigid_align(fixed, moving)
    degrees, mm = _off(result.transform, _true_motion(), fixed.grid)
    assert degrees < 0.5 and mm < 0.5
    assert result.accepted and not result.warnings
    assert result.metric > result.before
    again = rigid_align(fixed, moving)
    assert np.array_equal(result.transform.matrix, again.transform.matrix)


def test_the_matrix_is_what_simpleitk_resamples_with(study: tuple[Volume, Volume]) -> None:
    fixed, moving = study
    found = rigid_align(fixed, moving).transform.matrix
    transform = sitk.AffineTransform(found[:3, :3].ravel().tolist(), found[:3, 3].tolist())
    images = [to_sitk(v.data.numpy(), v.grid) for v in (fixed, moving)]

    def likeness(t: sitk.Transform) -> float:
        moved = sitk.GetArrayFromImage(sitk.Resample(images[1], images[0], t, sitk.sitkLinear, -1000.0))
        still = sitk.GetArrayFromImage(images[0])
        inner = (slice(8, -8),) * 3
        return float(np.corrcoef(still[inner].ravel(), moved[inner].ravel())[0, 1])

    assert likeness(transform) > 0.93
    assert likeness(transform) > max(likeness(sitk.Transform()), likeness(transform.GetInverse())) + 0.05


def test_a_far_off_header_is_found_back(study: tuple[Volume, Volume]) -> None:
    fixed, moving = study
    away = _shift(45.0, -30.0, -80.0)
    result = rigid_align(fixed, _placed(moving, away))
    degrees, mm = _off(result.transform, Affine(away.matrix @ _true_motion().matrix), fixed.grid)
    assert degrees < 0.7 and mm < 1.0


def test_no_overlap_is_refused_unless_centres_may_be_used(study: tuple[Volume, Volume]) -> None:
    fixed, moving = study
    away = _shift(0.0, 0.0, 2000.0)
    lost = _placed(moving, away)
    with pytest.raises(OverlapError, match="does not overlap") as error:
        rigid_align(fixed, lost)
    assert isinstance(error.value, GeometryError) and "\n" not in str(error.value)
    result = rigid_align(fixed, lost, initial="centre")
    degrees, mm = _off(result.transform, Affine(away.matrix @ _true_motion().matrix), fixed.grid)
    assert degrees < 0.7 and mm < 1.0


def test_a_short_field_of_view_with_inverted_contrast(study: tuple[Volume, Volume]) -> None:
    fixed, moving = study
    slab = Volume(300 - moving.data[..., 8:20].clamp(-200, 300), moving.grid.cropped((0, 0, 8), (60, 46, 12)))
    result = rigid_align(fixed, slab)
    degrees, mm = _off(result.transform, _true_motion(), fixed.grid)
    assert degrees < 1.0 and mm < 1.5


def test_what_a_mask_leaves_out_does_not_count(study: tuple[Volume, Volume]) -> None:
    """Most of the moving body is shifted by 20 mm; the mask keeps the rest."""
    fixed, moving = study
    data, kept = moving.data.clone(), torch.zeros_like(moving.data, dtype=torch.uint8)
    data[:, 26:], kept[:, :24] = data[:, 26:].roll(4, dims=2), 1
    shifted = Volume(data, moving.grid)

    def missed(mask: Volume | None) -> float:
        return _off(rigid_align(fixed, shifted, moving_mask=mask).transform, _true_motion(), fixed.grid)[1]

    assert missed(Volume(kept, moving.grid, "labels")) < 4.0 < 8.0 < missed(None)


@pytest.mark.parametrize(
    ("axis", "degrees", "words"),
    [
        (2, 180, "180 degrees about the long axis"),  # prone for supine
        (0, 180, "180 degrees about the left-right axis"),  # feet first
        (1, 180, "180 degrees about the front-back axis"),
        (2, 90, "90 degrees about the long axis"),
        (2, 25, None),
    ],
)
def test_a_turned_header_is_found_and_told(study, axis: int, degrees: float, words: str | None) -> None:
    """Same voxels, another header: a perfect answer exists."""
    fixed, _ = study
    away = Affine(_shift(30.0, -20.0, 40.0).matrix @ turned(degrees, (0, 0, 0), axis).matrix)
    result = rigid_align(fixed, _placed(fixed, away))
    off, mm = _off(result.transform, away, fixed.grid)
    assert off < 0.1 and mm < 0.1 and result.accepted
    told = [w for w in result.warnings if "check the headers" in w]
    assert len(told) == (words is not None) and all(words in w for w in told)  # type: ignore[operator]


def test_a_stretched_body_gets_an_affine_transform_beside_the_rigid_one(study) -> None:
    fixed, moving = study
    true = Affine(_true_motion().matrix @ np.diag([1.08, 0.94, 1.0, 1.0]))
    result = rigid_align(fixed, scan(moving.grid, true, enhanced=False, seed=3))
    inner = fixed.grid.world(0.25 * (np.array(fixed.grid.shape) - 1) + 0.5 * fixed.grid.index(fixed.grid.corners()))
    assert result.affine is not None
    away, near = (np.abs(t(inner) - true(inner)).max() for t in (result.transform, result.affine))
    assert near < 3.0 < 6.0 < away
    np.testing.assert_allclose(
        result.transform.matrix[:3, :3] @ result.transform.matrix[:3, :3].T, np.eye(3), atol=1e-9
    )
    assert rigid_align(fixed, moving).affine is None  # nothing is stretched there


def test_a_scan_whose_header_has_no_place_is_scaled_if_it_then_agrees(study) -> None:
    """1 mm from the world's origin is what files without a place say; the voxels are 5.5 x 5 x 6 mm."""
    fixed, moving = study
    lost = Volume(moving.data, Grid.of(moving.grid.shape), name="lost")
    true = Affine(lost.grid.affine @ np.linalg.inv(moving.grid.affine) @ _true_motion().matrix)
    result = rigid_align(fixed, lost)
    found = result.affine
    assert any("lost was scaled by up to 6.0: check the spacing" in w for w in result.warnings)
    inner = 0.5 * fixed.grid.corners()
    assert found is not None and np.abs(found(inner) - true(inner)).max() < 1.0  # of voxels


def test_what_agrees_less_than_before_is_undone(study, monkeypatch) -> None:
    """Wherever the optimisation ends, points that it has not seen decide."""
    fixed, _ = study
    wrong = _shift(0.0, 25.0, 30.0).matrix
    monkeypatch.setattr(rigid, "fit", lambda points, scan, start, *args, **settings: (wrong, 1.0))
    result = rigid_align(fixed, fixed)
    assert np.array_equal(result.transform.matrix, np.eye(4)) and not result.accepted
    assert result.warnings == ("rigid alignment was discarded: the scans agreed better before",)


def test_noise_is_not_aligned(study: tuple[Volume, Volume]) -> None:
    fixed, moving = study
    noise = np.random.default_rng(3).normal(0, 300, moving.grid.shape).astype(np.float32)
    result = rigid_align(fixed, volume_of(noise, moving.grid))
    assert not result.accepted
    assert "next to nothing in common" in result.warnings[0]


def test_shrink_averages_blocks_and_keeps_the_place() -> None:
    grid = Grid.of((4, 4, 3), (1.0, 1.0, 4.0), (10.0, 0.0, 0.0))
    data = torch.arange(48).float().view(1, 4, 4, 3)
    small = shrink(Volume(data, grid), 2.0)
    assert small.grid.shape == (2, 2, 3)
    np.testing.assert_allclose(small.grid.spacing, [2, 2, 4])
    np.testing.assert_allclose(small.grid.origin, [10.5, 0.5, 0])
    assert float(small.data[0, 0, 0, 0]) == np.mean([0, 3, 12, 15])


def test_shrink_leaves_a_coarse_volume_alone() -> None:
    volume = Volume(torch.zeros(1, 4, 4, 4), Grid.of((4, 4, 4), 3.0))
    assert shrink(volume, 4.0) is volume


def test_overlap_is_the_covered_share() -> None:
    grid = Grid.of((20, 20, 20), 1.0)
    assert overlap(grid, grid) == 1.0
    assert overlap(grid, Grid.of((20, 20, 20), 1.0, (10.0, 0.0, 0.0))) == 0.5
    assert overlap(grid, Grid.of((20, 20, 20), 1.0, (100.0, 0.0, 0.0))) == 0.0


def test_nothing_is_searched_for_elsewhere_where_the_near_alignment_is_certain(study, monkeypatch) -> None:
    fixed, moving = study
    asked = []

    def elsewhere(self: rigid._Starts) -> None:
        asked.append(self)

    monkeypatch.setattr(rigid._Starts, "elsewhere", elsewhere)
    near = _shift(6.0, -5.0, 4.0)
    assert _off(rigid_align(fixed, _placed(fixed, near)).transform, near, fixed.grid)[1] < 0.5 and not asked
    rigid_align(fixed, _placed(moving, _shift(45.0, -30.0, -80.0)))
    assert len(asked) == 1
