"""Whatever a scan, points or a transform is given as, the same comes out."""

from __future__ import annotations

import numpy as np
import pytest

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Points, Volume
from jssr.errors import ImageError, PointsError, TransformError
from jssr.io.images import as_grid, as_volume, write_image
from jssr.io.points import as_points, write_points
from jssr.io.transforms import as_transform, write_affine, write_displacement

GRID = Grid.of((4, 5, 6), (1.0, 2.0, 3.0), (10.0, -20.0, 30.0))


@pytest.mark.parametrize("kind", ["image", "labels", "mask"])
def test_a_volume_from_anything(tmp_path, kind):
    array = np.arange(120).reshape(GRID.shape) % 2 if kind == "mask" else np.arange(120).reshape(GRID.shape)
    one = Volume.from_numpy(array.astype(np.int16), GRID.affine, kind, space="LPS")
    path = tmp_path / "x.nii.gz"
    write_image(one, path)
    for given in (one, path, str(path), one.sitk(), one.nibabel(), (one.numpy(), one.affine())):
        found = as_volume(given, kind)
        assert found.kind == kind
        np.testing.assert_array_equal(found.numpy(), one.numpy())
        assert found.grid.same_as(GRID, 1e-4)
        assert as_grid(given).same_as(GRID, 1e-4)
    assert as_grid(GRID) is GRID
    assert as_volume((one.numpy(), one.affine()), kind, "the venous scan").name == "the venous scan"


def test_what_is_no_volume():
    with pytest.raises(ImageError, match="fixed: expected a path, Volume, SimpleITK or nibabel image, .*, got int"):
        as_volume(3, name="fixed")


def test_points_from_anything(tmp_path):
    points = Points(np.array([[1.0, 2, 3], [4, 5, 6]]))
    write_points(points, tmp_path / "p.csv")
    for given in (points, tmp_path / "p.csv", points.numpy(), points.numpy().tolist()):
        np.testing.assert_array_equal(as_points(given).xyz, points.xyz)
    for wrong in (np.zeros((2, 4)), np.full((1, 3), np.nan), object()):
        with pytest.raises(PointsError, match="expected"):
            as_points(wrong)


def test_transforms_from_anything(tmp_path):
    vectors = np.random.default_rng(1).normal(0, 1, (*GRID.shape, 3)).astype(np.float32)
    field = Displacement.from_millimetres(vectors, GRID)
    matrix = np.eye(4)
    matrix[:3, 3] = (1, 2, 3)
    affine = Affine(matrix)
    write_displacement(field, tmp_path / "u.nii.gz")
    write_affine(affine, tmp_path / "a.tfm")
    point = GRID.world([1.5, 2.5, 3.5])
    for given in (field, tmp_path / "u.nii.gz", field.sitk(), field.sitk().GetDisplacementField()):
        np.testing.assert_allclose(as_transform(given)(point), field(point), atol=2e-3)
    for given in (affine, tmp_path / "a.tfm", affine.sitk(), matrix):
        np.testing.assert_allclose(as_transform(given)(point), point + (1, 2, 3))
    with pytest.raises(TransformError, match="expected"):
        as_transform({"a": 1})
