"""Fields in NIfTI of RAS: SPM's positions, shifts of intent 1006, units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import AT, FIXED, FLIP, some_affine, vector_file, waves

from jssr.core.grid import Grid
from jssr.errors import TransformError
from jssr.io.transforms import read_any, read_transform


@pytest.mark.parametrize("header", [{"intent_name": b"Mapping", "intent_code": 1007}, {"descrip": b"Deformation"}])
def test_spms_positions_by_what_its_header_names(header: dict, tmp_path: Path) -> None:
    """As spm_deformations.m and the segmentation write them."""
    file = vector_file(tmp_path / "y_a.nii", some_affine()(AT) * FLIP, **header)
    np.testing.assert_allclose(read_transform(file)(AT), some_affine()(AT), atol=1e-4)


def test_positions_without_a_name_are_asked_for(tmp_path: Path) -> None:
    positions = vector_file(tmp_path / "p.nii.gz", (AT + waves()) * FLIP, intent_code=1007)
    with pytest.raises(TransformError, match="name --from itk, nifti, spm"):
        read_transform(positions)
    np.testing.assert_allclose(read_any(positions, "spm")(AT), AT + waves(), atol=1e-4)
    shifts = vector_file(tmp_path / "s.nii.gz", waves(), intent_code=1007)  # ITK's: LPS
    np.testing.assert_allclose(read_transform(shifts)(AT), AT + waves(), atol=1e-4)


def test_large_shifts_of_itk_are_no_positions(tmp_path: Path) -> None:
    """A turn by 90 degrees, as between a prone and a lateral scan."""
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    file = vector_file(tmp_path / "s.nii.gz", AT @ turn.T - AT, intent_code=1007)
    np.testing.assert_allclose(read_transform(file)(AT), AT @ turn.T, atol=1e-4)


@pytest.mark.parametrize(("axes", "intent"), [(4, 0), (4, 1006), (4, 1007), (5, 0)])
def test_vectors_that_name_nothing_are_asked_for(axes: int, intent: int, tmp_path: Path) -> None:
    file = vector_file(tmp_path / "v.nii.gz", waves(), axes=axes, intent_code=intent)
    with pytest.raises(TransformError, match="does not name its program") as caught:
        read_transform(file)
    assert str(file) in str(caught.value) and "fnirt-absolute" in str(caught.value)
    np.testing.assert_allclose(read_any(file, "nifti")(AT), AT + waves() * FLIP, atol=1e-4)


def test_intent_1006_is_ras_as_simpleitk_reads_it(tmp_path: Path) -> None:
    file = vector_file(tmp_path / "d.nii.gz", waves() * FLIP, intent_code=1006)
    theirs = sitk.DisplacementFieldTransform(sitk.ReadImage(str(file), sitk.sitkVectorFloat64))
    for of in ("auto", "nifti", "itk"):
        found = read_any(file, of)(AT)
        np.testing.assert_allclose(found, AT + waves(), atol=1e-4)
        assert found[3, 4, 2].tolist() == pytest.approx(theirs.TransformPoint(AT[3, 4, 2].tolist()), abs=1e-4)


@pytest.mark.parametrize(("of", "intent"), [("itk", 1007), ("nifti", 1006), ("spm", 1007)])
def test_micrometres_are_of_vectors_and_grid(
    of: str, intent: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Voxels of 2000 to 3000 um; vectors in um too."""
    small = Grid(FIXED.shape, np.diag([1000.0, 1000, 1000, 1]) @ FIXED.affine)
    vectors = 1000 * (waves() * (1 if of == "itk" else FLIP) + (AT * FLIP if of == "spm" else 0))
    file = vector_file(tmp_path / "um.nii.gz", vectors, small, intent_code=intent, xyzt_units=3)
    found = read_any(file, of)
    np.testing.assert_allclose(found(AT), AT + waves(), atol=1e-4)
    assert found.grid.same_as(FIXED, 1e-4)
    assert "taken as micrometres" in caplog.text


def test_bad_fields_are_one_line(tmp_path: Path) -> None:
    vectors = waves()
    file = vector_file(tmp_path / "y.nii", vectors, intent_name=b"Mapping", intent_code=1007)
    (tmp_path / "short.nii").write_bytes(file.read_bytes()[:-200])
    with pytest.raises(TransformError, match="truncated"):
        read_transform(tmp_path / "short.nii")
    vectors[0, 0, 0, 0] = np.nan
    vector_file(tmp_path / "nan.nii", vectors, intent_name=b"Mapping", intent_code=1007)
    with pytest.raises(TransformError, match="NaN"):
        read_transform(tmp_path / "nan.nii")
    with pytest.raises(TransformError, match="expected a field of 3 components in 3D"):
        read_any(vector_file(tmp_path / "two.nii", vectors[..., :2], intent_code=1007), "spm")
    (tmp_path / "y.mha").write_text("1")
    with pytest.raises(TransformError, match="expected SPM's y_ file in NIfTI"):
        read_any(tmp_path / "y.mha", "spm")
