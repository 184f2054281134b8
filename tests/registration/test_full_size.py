from __future__ import annotations

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch

from jssr.core.bridges import to_sitk
from jssr.core.full_size import Classes, FullTransform, labels_at
from jssr.core.grid import Grid
from jssr.core.late import is_computed
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Volume, volume_of
from jssr.io.images import write_image
from jssr.io.transforms import write_displacement
from jssr.metrics.transforms import regularity
from jssr.preprocessing.placement import canonical
from jssr.registration.full_size import continued, fullsize
from jssr.systems.base import Alignment

WORKING = Grid.of((20, 18, 16), 5.0, (-48.0, -42.0, -38.0))


def oblique(shape, spacing, origin, degrees):
    a = np.radians(degrees)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return Grid.of(shape, spacing, origin, turn)


def smooth_map(amplitude=1.2):
    p = torch.from_numpy(WORKING.world(np.stack(np.meshgrid(*map(np.arange, WORKING.shape), indexing="ij"), -1)))
    x, y, z = p.unbind(-1)
    u = amplitude * torch.stack([torch.sin(y / 18), torch.cos(z / 20), torch.sin(x / 22 + z / 30)]).float()
    a = np.radians(7.0)
    rigid = np.eye(4)
    rigid[:3, :3] = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    rigid[:3, 3] = (6.0, -4.0, 3.0)
    return FullTransform(Displacement(u, WORKING), Affine(rigid))


def scans():
    fixed = oblique((31, 28, 22), (2.9, 3.1, 3.4), (-40.0, -42.0, -33.0), 12)
    moving = oblique((34, 26, 19), (2.6, 3.3, 4.0), (-38.0, -40.0, -32.0), -9)
    p = moving.world(np.stack(np.meshgrid(*map(np.arange, moving.shape), indexing="ij"), -1))
    data = 300 * np.sin(p[..., 0] / 9) + 200 * np.cos(p[..., 1] / 11) + 100 * np.sin(p[..., 2] / 8)
    return fixed, volume_of(data.astype(np.float32), moving)


def test_sitk_reproduces_the_moved_image_from_the_displacement():
    fixed, moving = scans()
    whole = smooth_map()
    made = fullsize(whole, fixed, moving, WORKING, Alignment(whole.field.u[None]), (-200.0, 200.0))
    vectors = to_sitk(np.moveaxis(made.displacement.millimetres(), -1, 0), fixed)
    transform = sitk.DisplacementFieldTransform(sitk.Cast(vectors, sitk.sitkVectorFloat64))
    reference = to_sitk(np.zeros((1, *fixed.shape), np.float32), fixed)
    fill = float(moving.data.min())
    theirs = sitk.Resample(to_sitk(moving.data.numpy(), moving.grid), reference, transform, sitk.sitkLinear, fill)
    ours = made.moved[0].numpy()
    theirs = sitk.GetArrayFromImage(theirs).T
    assert (made.seen[0].numpy() == (theirs != fill)).mean() > 0.999
    inner = made.seen[0].numpy() & (theirs != fill)
    assert np.abs(ours - theirs)[inner].max() < 1e-3 * float(moving.data.max() - moving.data.min())
    assert (ours[~made.seen[0].numpy()] == fill).all()
    assert made.synthesised is None and made.fixed_labels is None


def test_the_whole_map_is_field_then_rigid():
    fixed, moving = scans()
    whole = smooth_map()
    made = fullsize(whole, fixed, moving, WORKING, Alignment(whole.field.u[None]), (-200.0, 200.0))
    index = np.array([[10, 12, 9], [20, 8, 14], [15, 15, 11]])
    p = fixed.world(index)
    # The written field is rounded to 1/256 mm in each component.
    assert np.abs(made.displacement(p) - whole.rigid(whole.field(p))).max() < 0.004


def test_inverse_comes_back_within_a_tenth_of_a_voxel():
    fixed, moving = scans()
    whole = smooth_map()
    back = whole.inverse(moving.grid)
    q = moving.grid.world(np.stack(np.meshgrid(*[np.arange(2, s - 2) for s in moving.grid.shape], indexing="ij"), -1))
    assert np.abs(whole.chain(back(q)) - q).max() < 0.1 * float(moving.grid.spacing.min())


def test_slabs_do_not_show(monkeypatch):
    fixed, moving = scans()
    whole = smooth_map()
    p = torch.rand(1, 3, *WORKING.shape, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    said = Alignment(whole.field.u[None], torch.tanh(p[:, :1]), p, p)
    at_once = fullsize(whole, fixed, moving, WORKING, said, (-200.0, 200.0))
    monkeypatch.setattr("jssr.core.full_size._SLAB", 5 * 28 * 22)
    in_parts = fullsize(whole, fixed, moving, WORKING, said, (-200.0, 200.0))
    # Whole against cut: positions differ in the last bits, labels therefore at ties only.
    # A displacement that lies between two steps of its rounding (1/256 mm) may go either way.
    assert torch.allclose(at_once.moved, in_parts.moved, atol=0.2)
    assert torch.allclose(at_once.synthesised, in_parts.synthesised, atol=0.02)
    assert (at_once.moved_labels != in_parts.moved_labels).float().mean() < 1e-3
    assert torch.allclose(at_once.displacement.u, in_parts.displacement.u, atol=2e-3)


def test_labels_are_the_greatest_interpolated_probability():
    p = torch.rand(1, 4, *WORKING.shape, generator=torch.Generator().manual_seed(1)) ** 4
    fine = WORKING.resized((50, 47, 40))
    at = torch.stack(
        torch.meshgrid(
            *[torch.linspace(0, s - 1, n) for s, n in zip(WORKING.shape, fine.shape, strict=True)], indexing="ij"
        )
    )
    slow = torch.nn.functional.interpolate(p, fine.shape, mode="trilinear", align_corners=True).argmax(dim=1)
    assert (Classes(p).at(at[None]) != slow).float().mean() < 1e-4
    assert (labels_at(p, WORKING, fine) != slow).float().mean() < 1e-4


def test_labels_beyond_the_networks_grid_are_background():
    p = torch.zeros(1, 2, *WORKING.shape)
    p[:, 1] = 1
    wide = WORKING.cropped((-3, 0, 0), (26, 18, 16))
    labels = labels_at(p, WORKING, wide)[0]
    assert labels[:3].sum() == 0 and labels[-3:].sum() == 0 and bool((labels[3:23] == 1).all())


def test_continued_keeps_what_is_valid_and_is_constant_beyond_a_constant():
    u = torch.full((1, 3, 12, 10, 9), 2.5)
    valid = torch.zeros(1, 1, 12, 10, 9, dtype=torch.bool)
    valid[:, :, :5] = True
    u[:, :, 5:] = 99
    assert torch.allclose(continued(u, valid), torch.full_like(u, 2.5), atol=1e-5)


def test_continued_stays_between_the_valid_values():
    u = torch.zeros(1, 1, 16, 16, 16)
    valid = torch.zeros_like(u, dtype=torch.bool)
    u[:, :, :4], u[:, :, -4:] = 1.0, 3.0
    valid[:, :, :4], valid[:, :, -4:] = True, True
    u[:, :, 4:-4] = 1e4
    out = continued(u, valid)
    assert float(out.min()) >= 1.0 and float(out.max()) <= 3.0
    # Between two plates Laplace's solution is the straight line.
    assert float((out[0, 0, 7:9].mean() - 2.0).abs()) < 0.15
    assert torch.equal(out[valid], u[valid])


def test_continued_without_anything_valid_is_zero():
    u = torch.ones(1, 3, 6, 6, 6)
    assert float(continued(u, torch.zeros(1, 1, 6, 6, 6, dtype=torch.bool)).abs().max()) == 0


def test_canonical_keeps_every_voxel_in_its_place():
    # Stored as: axis 0 to the feet, axis 1 to the right, axis 2 to the back.
    direction = np.array([[0, -1, 0], [0, 0, 1], [-1, 0, 0]])
    grid = Grid.of((4, 5, 6), (2.0, 3.0, 4.0), (10.0, 20.0, 30.0), direction)
    data = torch.arange(120, dtype=torch.float32).view(1, 4, 5, 6)
    volume = volume_of(data[0].numpy(), grid)
    turned = canonical(volume)
    assert turned.grid.shape == (5, 6, 4) and np.allclose(turned.grid.direction, np.eye(3))
    for index in ((0, 0, 0), (3, 4, 5), (1, 2, 4)):
        there = tuple(np.round(turned.grid.index(grid.world(index))).astype(int))
        assert turned.data[(0, *there)] == data[(0, *index)]
    assert canonical(turned) is turned


def test_a_field_known_before_follows_behind_what_was_found():
    fixed, moving = scans()
    found, n = smooth_map(), oblique((24, 24, 20), (4.0, 4.0, 4.5), (-46.0, -46.0, -42.0), 5)
    p = n.world(np.stack(np.meshgrid(*map(np.arange, n.shape), indexing="ij"), -1))
    known = Displacement.from_millimetres(np.stack([3 * np.sin(p[..., 1] / 25), 0 * p[..., 0], p[..., 0] / 30], -1), n)
    whole = FullTransform(found.field, found.rigid, known)
    made = fullsize(whole, fixed, moving, WORKING, Alignment(found.field.u[None]), (-200.0, 200.0))
    points = fixed.world(np.random.default_rng(0).integers(6, np.array(fixed.shape) - 7, (50, 3)))
    # By hand: the field, then the rigid step, then what was known.
    by_hand = known(found.rigid(found.field(points)))
    assert np.abs(made.displacement(points) - by_hand).max() < 0.01
    assert np.abs(whole.chain(points) - by_hand).max() < 1e-9
    back = whole.inverse(moving.grid)
    inside = moving.grid.contains(by_hand)
    assert inside.sum() > 20 and np.abs(back(by_hand[inside]) - points[inside]).max() < 0.1


def test_a_large_grid_is_computed_in_parts_and_is_the_same(monkeypatch, tmp_path):
    fixed, moving = scans()
    whole = smooth_map()
    held = fullsize(whole, fixed, moving, WORKING, Alignment(whole.field.u[None]), (-200.0, 200.0))
    back = whole.inverse(moving.grid)
    monkeypatch.setattr("jssr.core.full_size.HELD", 100)
    monkeypatch.setattr("jssr.registration.full_size.HELD", 100)
    monkeypatch.setattr("jssr.core.late.parts.__defaults__", (3000,))
    made = fullsize(whole, fixed, moving, WORKING, Alignment(whole.field.u[None]), (-200.0, 200.0))
    inverse = whole.inverse(moving.grid)
    # At points, in the file and for the measures nothing is made whole.
    points = fixed.world(np.random.default_rng(0).uniform(-2, np.array(fixed.shape) + 1, (400, 3)))
    assert np.abs(made.displacement(points) - held.displacement(points)).max() < 0.005
    write_displacement(made.displacement, tmp_path / "u.nii.gz")
    write_image(Volume(made.moved, fixed), tmp_path / "moved.nii.gz")
    assert regularity(made.displacement).folds == regularity(held.displacement).folds
    assert is_computed(made.displacement, "u") and is_computed(inverse, "u")
    # Steps of 1/256 mm: a displacement between two of them may go either way.
    vectors = np.asarray(nib.load(tmp_path / "u.nii.gz").dataobj)[:, :, :, 0]
    assert np.abs(vectors - held.displacement.millimetres()).max() < 0.005
    moved = np.asarray(nib.load(tmp_path / "moved.nii.gz").dataobj)
    assert (np.abs(moved - held.moved[0].numpy()) < 0.2).mean() > 0.999
    # Whoever asks for the whole has it.
    assert np.abs(inverse.millimetres() - back.millimetres()).max() < 0.01
    assert (Volume(made.moved, fixed).data - held.moved).abs().median() < 0.01
    assert np.array_equal(made.seen.values, held.seen.numpy())
