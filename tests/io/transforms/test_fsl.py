"""FSL's matrices, fields and coefficients; numbers worked out by hand in FSL's millimetres."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from grids import AT, FIXED, IMAGES, MOVING, some_affine, vector_file

from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.errors import TransformError
from jssr.io.transforms import Images, fsl, read_any
from jssr.io.transforms.base import indices

# Voxels run to the left, the front and the head: left-handed, so that FSL's millimetres are the voxel times its size.
AXES = np.diag([1.0, -1.0, 1.0])
LEFT = Grid.of((8, 7, 6), (2.0, 2.0, 2.0), direction=AXES)
PAIR = Images(LEFT, LEFT)


def fsl_points(grid: Grid, at: np.ndarray) -> np.ndarray:
    """FSL's millimetres of LPS points."""
    index = grid.index(at)
    out = index * grid.spacing
    if np.linalg.det(grid.affine[:3, :3]) > 0:
        out[..., 0] = (grid.shape[0] - 1) * grid.spacing[0] - out[..., 0]
    return out


@pytest.mark.parametrize("intent", [2006, 1006, 0])
@pytest.mark.parametrize("axes", [4, 5])
def test_shifts_and_positions_whatever_the_intent(intent: int, axes: int, tmp_path: Path) -> None:
    """The frame is FSL's, and no intent turns a sign."""
    there = fsl_points(MOVING, some_affine()(AT))
    here = fsl_points(FIXED, AT)
    for kind, vectors in (("relative", there - here), ("absolute", there)):
        file = vector_file(tmp_path / f"{kind}.nii.gz", vectors, axes=axes, intent_code=intent)
        for of in ("fnirt", f"fnirt-{kind}"):
            np.testing.assert_allclose(read_any(file, of, IMAGES)(AT), some_affine()(AT), atol=1e-4)


def test_an_absolute_identity_is_the_identity(tmp_path: Path) -> None:
    """Read as shifts it would be off by the whole image."""
    file = vector_file(tmp_path / "id.nii.gz", indices(LEFT) * 2.0, LEFT, intent_code=2006)
    at = LEFT.world(indices(LEFT))
    assert np.abs(read_any(file, images=PAIR)(at) - at).max() < 1e-4
    assert np.abs(read_any(file, "fnirt-relative", PAIR)(at) - at).max() == pytest.approx(14, abs=1e-3)


def test_what_may_be_either_is_asked_for(tmp_path: Path) -> None:
    """Half of the places of the voxels: as positions it shrinks the image to half, as shifts it blows it up."""
    file = vector_file(tmp_path / "half.nii.gz", indices(LEFT) * 1.0, LEFT, intent_code=2006)
    with pytest.raises(TransformError, match="--from fnirt-relative or fnirt-absolute"):
        read_any(file, images=PAIR)


def coefficients(
    path: Path, values: np.ndarray, before: np.ndarray, intent: int = 2007, shape: tuple = LEFT.shape
) -> Path:
    """A file as FNIRT's `--cout` writes it: knots every 3 voxels."""
    made = nib.Nifti1Image(values.astype(np.float32), None)
    made.header["intent_code"] = intent
    for axis in (1, 2, 3):
        made.header[f"intent_p{axis}"] = 2.0
    made.header.set_zooms([3, 3, 3, 1])
    qform = np.diag([3.0, 3, 3, 1])
    qform[:3, 3] = shape
    made.set_sform(before, 1)
    made.set_qform(qform, 1)
    nib.save(made, path)
    return path


def test_coefficients_are_cubic_splines_after_flirts_matrix(tmp_path: Path) -> None:
    """Constant coefficients are a constant shift; one knot adds (2/3)^3 of itself where it lies."""
    before = np.eye(4)
    before[:3, :3] *= 2  # moving to fixed: the moving image is half as large
    at = LEFT.world(indices(LEFT))
    file = coefficients(tmp_path / "c.nii.gz", np.full((6, 5, 5, 3), [1.0, -2.0, 0.5]), before)
    np.testing.assert_allclose(read_any(file, images=PAIR)(at), at / 2 + [1.0, 2.0, 0.5], atol=1e-5)
    values = np.zeros((6, 5, 5, 3))
    values[2, 2, 2] = 27.0, 0, 0  # the knot of voxel (3, 3, 3)
    found = read_any(coefficients(tmp_path / "d.nii.gz", values, np.eye(4)), images=PAIR)(at) - at
    assert found[3, 3, 3].tolist() == pytest.approx([8, 0, 0], abs=1e-4)
    assert found[6, 3, 3].tolist() == pytest.approx([2, 0, 0], abs=1e-4)  # one knot on: 1/6 of 2/3 of 2/3 of it
    assert np.abs(found[0, 0, 0]).tolist() == pytest.approx([0.125, 0, 0], abs=1e-4)


def test_coefficients_of_other_kinds_and_images(tmp_path: Path) -> None:
    values = np.zeros((6, 5, 5, 3))
    with pytest.raises(TransformError, match="discrete cosine.*fnirtfileutils"):
        read_any(coefficients(tmp_path / "a.nii.gz", values, np.eye(4), 2008), images=PAIR)
    with pytest.raises(TransformError, match=r"of a fixed image of \(9, 7, 6\) voxels"):
        read_any(coefficients(tmp_path / "b.nii.gz", values, np.eye(4), shape=(9, 7, 6)), images=PAIR)
    with pytest.raises(TransformError, match="invertible 4 x 4"):
        read_any(coefficients(tmp_path / "c.nii.gz", values, np.diag([1.0, 1, 0, 1])), images=PAIR)
    with pytest.raises(TransformError, match="control points do not cover"):
        read_any(coefficients(tmp_path / "d.nii.gz", np.zeros((3, 5, 5, 3)), np.eye(4)), images=PAIR)
    with pytest.raises(TransformError, match="no field: name --from fnirt"):
        read_any(tmp_path / "d.nii.gz", "fnirt-relative", PAIR)


def test_fields_of_another_image_are_refused(tmp_path: Path) -> None:
    file = vector_file(tmp_path / "f.nii.gz", np.zeros((8, 7, 6, 3)), LEFT, intent_code=2006)
    with pytest.raises(TransformError, match="--fixed and --moving"):
        read_any(file)
    with pytest.raises(TransformError, match="expected a field on the fixed grid"):
        read_any(file, images=IMAGES)
    with pytest.raises(TransformError, match="its voxels are 2 x 2 x 2 mm"):
        read_any(file, images=Images(Grid.of((8, 7, 6), (2, 2, 3), direction=AXES), LEFT))
    flat = vector_file(tmp_path / "g.nii.gz", np.zeros((8, 7, 6, 2)), LEFT, intent_code=2006)
    with pytest.raises(TransformError, match="3 components in 3D"):
        read_any(flat, images=PAIR)


def test_flirts_matrix_of_a_shift_by_hand() -> None:
    """The moving image begins 4 mm further to the left; a point keeps its world place, and FSL's x is 4 mm less."""
    moved = Grid.of((8, 7, 6), 2.0, (4, 0, 0), AXES)
    matrix = fsl.flirt_of(Affine.identity(), LEFT, moved)
    expected = np.eye(4)
    expected[0, 3] = 4  # moving to fixed
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
