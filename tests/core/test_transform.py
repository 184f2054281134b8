"""Golden tests: our transforms against SimpleITK, on oblique, anisotropic grids of different sizes.

Written files are read back by SimpleITK alone, so this is also the test of what is on disk.
"""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from jssr.core import field as ff
from jssr.core.bridges import to_sitk
from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.points import move_points
from jssr.core.resampling import coverage, resample
from jssr.core.transform import Affine, Chain, Displacement
from jssr.core.volume import Points, Volume, volume_of
from jssr.errors import TransformError
from jssr.io.transforms import write_displacement


def grid_round(centre, shape, spacing, angles):
    """A grid of the given centre (mm), turned by angles (degrees)."""
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    half = axes @ ((np.array(shape) - 1) / 2 * np.array(spacing))
    return Grid.of(shape, spacing, np.asarray(centre) - half, axes)


FIXED = grid_round((12, -40, 700), (26, 22, 18), (1.1, 0.9, 2.3), (20, -15, 35))
MOVING = grid_round((14, -37, 698), (33, 37, 25), (1.4, 1.0, 2.1), (-10, 25, -30))


def smooth_noise(shape, width, seed):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), width, mode="constant")
    return noise / np.abs(noise).max()


def bump_field(grid, largest_mm, seed=0, width=4.0):
    vectors = np.stack([smooth_noise(grid.shape, width, seed + i) for i in range(grid.ndim)], axis=-1)
    for axis, size in enumerate(grid.shape):
        window = np.sin(np.pi * np.arange(size) / (size - 1)) ** 2
        vectors *= window.reshape([-1 if a == axis else 1 for a in range(grid.ndim + 1)])
    return Displacement.from_millimetres(vectors / np.abs(vectors).max() * largest_mm, grid)


def moving_image(seed=9):
    values = 500 * smooth_noise(MOVING.shape, 2.0, seed) + 20 * np.random.default_rng(seed).normal(size=MOVING.shape)
    return Volume(torch.from_numpy(values.astype(np.float32))[None], MOVING)


def rigid(angles=(4, -7, 10), shift=(3.0, -2.0, 5.0), centre=(12, -40, 700)):
    axes = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    matrix[:3, 3] = np.array(centre) - axes @ np.array(centre) + np.array(shift)
    return Affine(matrix)


def sitk_affine(affine):
    out = sitk.AffineTransform(3)
    out.SetMatrix(affine.matrix[:3, :3].ravel().tolist())
    out.SetTranslation(affine.matrix[:3, 3].tolist())
    return out


def sitk_field(displacement, tmp_path):
    write_displacement(displacement, tmp_path / "u.nii.gz")
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(tmp_path / "u.nii.gz"), sitk.sitkVectorFloat64))


def sitk_resample(volume, grid, transform, interpolator=sitk.sitkLinear):
    reference = to_sitk(np.zeros((1, *grid.shape), np.uint8), grid)
    fill = float(volume.data.min()) if volume.kind == "image" else 0.0
    moved = sitk.Resample(to_sitk(volume.data.numpy(), volume.grid), reference, transform, interpolator, fill)
    return sitk.GetArrayFromImage(moved).T


def away_from_border(grid, target, transform, margin=1.0):
    at = transform.positions(grid, target)[0].numpy()
    size = np.array(target.shape).reshape(-1, *([1] * grid.ndim))
    inside = ((at > margin) & (at < size - 1 - margin)).all(axis=0)
    assert inside.mean() > 0.5  # else there is nothing to compare
    return inside


def assert_same_image(ours, theirs, inside, image):
    span = float(image.data.max() - image.data.min())
    assert np.abs(ours.array - theirs)[inside].max() < 1e-3 * span
    assert theirs[inside].std() > 0.02 * span


def test_written_displacement_reproduces_our_moved_image(tmp_path):
    image, u = moving_image(), bump_field(FIXED, 5.0)
    ours = resample(image, FIXED, u)
    theirs = sitk_resample(image, FIXED, sitk_field(u, tmp_path))
    assert_same_image(ours, theirs, away_from_border(FIXED, MOVING, u), image)
    still = sitk_resample(image, FIXED, sitk.Transform(3, sitk.sitkIdentity))
    assert np.abs(still - theirs).max() > 100  # the field did something


def test_identity_resampling_is_itks():
    image = moving_image()
    theirs = sitk_resample(image, FIXED, sitk.Transform(3, sitk.sitkIdentity))
    assert_same_image(resample(image, FIXED), theirs, away_from_border(FIXED, MOVING, Affine.identity()), image)


def test_affine_resampling_is_itks():
    image, turn = moving_image(), rigid()
    theirs = sitk_resample(image, FIXED, sitk_affine(turn))
    assert_same_image(resample(image, FIXED, turn), theirs, away_from_border(FIXED, MOVING, turn), image)


def test_chain_collapses_into_one_displacement(tmp_path):
    image, u, turn = moving_image(), bump_field(FIXED, 4.0, 20), rigid()
    chain = Chain(u, turn)
    whole = chain.displacement(FIXED)
    composite = sitk.CompositeTransform(3)
    composite.AddTransform(sitk_affine(turn))
    composite.AddTransform(sitk_field(u, tmp_path))  # ITK applies the last one added first
    theirs = sitk_resample(image, FIXED, composite)
    inside = away_from_border(FIXED, MOVING, chain)
    assert_same_image(resample(image, FIXED, chain), theirs, inside, image)
    written = sitk_resample(image, FIXED, sitk_field(whole, tmp_path))
    assert_same_image(resample(image, FIXED, whole), written, inside, image)
    assert_same_image(resample(image, FIXED, whole), theirs, inside, image)


def test_points_follow_as_in_itk(tmp_path):
    u = bump_field(FIXED, 5.0)
    field = sitk_field(u, tmp_path)
    points = FIXED.world(np.random.default_rng(0).uniform(1, np.array(FIXED.shape) - 2, (200, 3)))
    expected = np.array([field.TransformPoint(p.tolist()) for p in points])
    assert np.abs(u(points) - expected).max() < 0.01
    assert np.abs(expected - points).max() > 2
    assert np.abs(move_points(Points(points), u, "moving").xyz - expected).max() < 0.01


def test_chain_moves_points_first_to_last():
    points = np.array([[1.0, 2.0, 3.0]])
    double, shift = Affine(np.diag([2.0, 2.0, 2.0, 1.0])), np.eye(4)
    shift[0, 3] = 10
    assert Chain(double, Affine(shift))(points).tolist() == [[12, 4, 6]]
    assert Chain(Affine(shift), double)(points).tolist() == [[22, 4, 6]]
    assert Chain(Chain(Affine(shift), double).inverse(), double)([[22.0, 4.0, 6.0]]).tolist() == [[2, 4, 6]]


@pytest.mark.parametrize("target", [None, MOVING], ids=["own grid", "moving grid"])
def test_inverse_is_consistent_to_a_tenth_of_a_voxel(target):
    fine = grid_round(FIXED.centre, (44, 44, 30), (1.1, 0.9, 2.3), (20, -15, 35))
    u = bump_field(fine, 3.0, 3, width=8.0)
    back = u.inverse(target)
    assert back.grid.same_as(target or fine)
    # All that stays within both grids, there and back.
    points = fine.world(np.random.default_rng(1).uniform(4, np.array(fine.shape) - 5, (500, 3)))
    points = points[back.grid.contains(u(points))]
    assert len(points) > 200
    assert ff.jacobian_determinant(u.u[None]).min() < 0.75  # smooth, but no trifle
    miss = fine.index(back(u(points))) - fine.index(points)
    assert np.abs(miss).max() < 0.1
    assert np.abs(u(points) - points).max() > 2


@pytest.mark.parametrize("with_rigid", [False, True])
def test_points_go_to_fixed_and_back(with_rigid):
    u = bump_field(FIXED, 3.0, 5, width=5.0)
    transform = Chain(u, rigid()) if with_rigid else u
    points = Points(MOVING.world(np.random.default_rng(2).uniform(8, np.array(MOVING.shape) - 9, (50, 3))), ())
    fixed = move_points(points, transform, "fixed")
    assert np.abs(move_points(fixed, transform, "moving").xyz - points.xyz).max() < 0.01
    assert np.abs(fixed.xyz - points.xyz).max() > 0.4


def test_points_go_to_fixed_or_moving_only():
    with pytest.raises(ValueError, match='"fixed" or "moving"'):
        move_points(Points(np.zeros((1, 3))), Affine.identity(), "forward")  # type: ignore[arg-type]


def test_labels_keep_their_integers():
    labels = torch.zeros(MOVING.shape, dtype=torch.int16)
    labels[8:20, 10:25, 5:15] = 3
    labels[20:28, 10:25, 5:15] = 300
    volume = Volume(labels[None], MOVING, "labels")
    u = bump_field(FIXED, 4.0)
    for nearest in (True, False):
        out = resample(volume, FIXED, u, nearest=nearest)
        assert out.data.dtype == torch.int16 and out.kind == "labels"
        assert set(out.data.unique().tolist()) == {0, 3, 300}


def test_nearest_labels_are_itks(tmp_path):
    labels = torch.zeros(MOVING.shape, dtype=torch.uint8)
    labels[8:20, 10:25, 5:15] = 3
    volume = Volume(labels[None], MOVING, "labels")
    u = bump_field(FIXED, 4.0)
    ours = resample(volume, FIXED, u, nearest=True).array
    theirs = sitk_resample(volume, FIXED, sitk_field(u, tmp_path), sitk.sitkNearestNeighbor)
    assert (ours != theirs).mean() < 1e-4  # ties of rounding at most
    assert (theirs == 3).mean() > 0.05


def test_label_of_the_greatest_weight_wins():
    labels = torch.tensor([[[1, 1, 5, 5]] * 4])
    volume = Volume(labels, Grid.of((4, 4)), "labels")
    shifted = resample(volume, Grid.of((4, 4), 1.0, (0, 0.4)))  # reads at j + 0.4: 0.6 of the near voxel
    assert shifted.array[0].tolist() == [1, 1, 5, 5]
    shifted = resample(volume, Grid.of((4, 3), 1.0, (0, 0.6)))
    assert shifted.array[0].tolist() == [1, 5, 5]


def test_labels_outside_take_the_background():
    grid = Grid.of((6, 6, 6))
    far = Affine(np.array([[1.0, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    values = np.full((6, 6, 6), -1, np.int16)
    values[2:4, 2:4, 2:4] = 7
    for background, given in ((-1, values), (0, np.where(values == 7, 7, 0).astype(np.int16))):
        out = resample(volume_of(given, grid, "labels"), grid, far).array
        assert (out[4:] == background).all() and set(np.unique(out)) == {background, 7}


def test_labels_above_float32_stay_exact():
    grid = Grid.of((6, 6, 6))
    values = np.where(np.indices((6, 6, 6))[0] < 3, 2**24, 2**24 + 1).astype(np.int32)
    for nearest in (False, True):
        out = resample(volume_of(values, grid, "labels"), grid, Affine(np.eye(4)), nearest=nearest)
        np.testing.assert_array_equal(out.array, values)


def test_outside_is_filled_and_not_covered():
    volume = Volume(torch.arange(16.0).view(1, 4, 4) + 5, Grid.of((4, 4)))
    out = resample(volume, Grid.of((4, 4), 1.0, (2, 0)))
    assert out.array.tolist() == [[13, 14, 15, 16], [17, 18, 19, 20], [5, 5, 5, 5], [5, 5, 5, 5]]
    assert coverage(Grid.of((4, 4), 1.0, (2, 0)), volume.grid)[0, :, 0].tolist() == [True, True, False, False]
    assert resample(volume, Grid.of((4, 4), 1.0, (2, 0)), fill=-1).array[3, 0] == -1


def test_two_dimensions_work_too(tmp_path):
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    fixed = Grid.of((30, 26), (1.0, 1.3), (3, 4), turn)
    moving = Grid.of((60, 64), (0.9, 0.8), fixed.centre - (26, 25))
    values = smooth_noise(moving.shape, 2.0, 1).astype(np.float32)
    image, u = Volume(torch.from_numpy(values)[None], moving), bump_field(fixed, 3.0)
    theirs = sitk_resample(image, fixed, sitk_field(u, tmp_path))
    assert_same_image(resample(image, fixed, u), theirs, away_from_border(fixed, moving, u), image)


def test_millimetres_and_back():
    u = bump_field(FIXED, 5.0)
    again = Displacement.from_millimetres(u.millimetres(), FIXED)
    assert torch.allclose(again.u, u.u, atol=1e-5)
    assert np.abs(u.millimetres()).max() == pytest.approx(5.0, abs=1e-4)


def test_millimetres_by_hand():
    # Axis i steps 2 mm towards -y: one voxel along it is (0, -2, 0) mm.
    grid = Grid.of((2, 2, 2), (2.0, 1.0, 1.0), (0, 0, 0), [[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    u = torch.zeros(3, 2, 2, 2)
    u[0] = 1
    assert Displacement(u, grid).millimetres()[0, 0, 0].tolist() == [0, -2, 0]
    assert Displacement(u, grid)([[0.0, 0.0, 0.0]]).tolist() == [[0, -2, 0]]


def test_singular_affine_is_refused():
    with pytest.raises(ValueError, match="invertible"):
        Affine(np.zeros((4, 4)))


def test_field_of_another_grid_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        Displacement(torch.zeros(3, 4, 4, 4), FIXED)


@pytest.mark.parametrize("degrees", [50, 90, 180])
def test_a_field_of_a_large_turn_is_inverted(degrees):
    grid = grid_round((5, -3, 20), (24, 20, 16), (2.0, 2.5, 3.0), (0, 0, 0))
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    turn[:3, 3] = grid.centre - turn[:3, :3] @ grid.centre
    field = Affine(turn).displacement(grid)
    points = grid.centre + np.array([[4.0, 3.0, 2.0], [-8.0, 5.0, -6.0]])
    back = move_points(Points(Affine(turn)(points)), field, "fixed").xyz
    assert np.allclose(back, points, atol=1e-3)
    assert np.allclose(field.inverse(grid)(Affine(turn)(points)), points, atol=1e-3)


def test_points_where_a_field_folds_are_refused():
    grid = Grid.of((20, 20, 20), 1.0)
    u = torch.zeros(3, *grid.shape)
    u[0, 10:] = -15.0  # everything beyond the middle lands below zero: 5 to 9 are hit twice, 10 to 19 never
    with pytest.raises(TransformError, match="folds"):
        move_points(Points(np.array([[15.0, 10.0, 10.0]])), Displacement(u, grid), "fixed")


def test_the_inverse_of_a_chain_is_good_on_the_grid_it_is_given():
    # The field lies on a small part of the fixed space; the moving scan is larger, and turned.
    small = Grid.of((8, 8, 8), 2.0, (10.0, 10.0, 10.0))
    vectors = np.zeros((8, 8, 8, 3), np.float32)
    vectors[..., 0] = np.linspace(-2, 2, 8)[:, None, None]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]], (40, 0, 5)
    chain = Chain(Displacement.from_millimetres(vectors, small), Affine(matrix))
    moving = Grid.of((20, 20, 20), 2.0, (0.0, -5.0, 0.0))
    inverse = chain.inverse(moving)
    q = moving.world(np.stack(np.meshgrid(*[np.arange(20)] * 3, indexing="ij"), axis=-1)).reshape(-1, 3)
    assert np.abs(chain(inverse(q)) - q).max() < 0.05
    # Without a grid the inverse ends at the border of the field, and is off beyond it.
    assert np.abs(chain(chain.inverse()(q)) - q).max() > 0.4


def turned_field(degrees=20.0):
    """A turn and a shift as a field on an oblique grid, and the map itself."""
    a, b = np.radians([degrees, 35.0])
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    matrix[:3, 3] = [6.0, -4.0, 3.0]
    axes = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1.0]])
    grid = Grid.of((20, 22, 12), (2.0, 2.0, 4.0), (-20.0, -25.0, 0.0), axes)
    return Affine(matrix).displacement(grid), Affine(matrix)


@pytest.mark.parametrize("to", ["moving", "fixed"])
def test_points_outside_a_field_go_on_as_the_field_does_and_are_told(to):
    field, map_ = turned_field()
    middle, above = field.grid.centre, field.grid.centre + [0.0, 0.0, 40.0]  # the last slice lies 22 mm above
    aside = field.grid.centre + field.grid.direction[:, 0] * 49.0  # the border 19 mm from the middle
    fixed = Points(np.stack([middle, above, aside]), ("middle", "above", "aside"))
    moving = Points(map_(fixed.xyz), fixed.names)
    with collected() as told:
        found = move_points(fixed if to == "moving" else moving, field, to)
    np.testing.assert_allclose(found.xyz, (moving if to == "moving" else fixed).xyz, atol=1e-3)
    assert len(told) == 1 and "2 of 3 points" in told[0] and "30.0 mm" in told[0] and "above, aside" in told[0]


def test_points_inside_a_field_are_told_nothing_of():
    field, _ = turned_field()
    with collected() as told:
        move_points(Points(field.grid.centre[None]), field, "moving")
    assert told == []
