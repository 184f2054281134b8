"""Where a NIfTI image lies: nibabel's choice of sform and qform, with words where they differ; shear refused that no
gantry makes."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from jssr.core.nifti import place_of
from jssr.core.notes import collected
from jssr.core.volume import Volume
from jssr.errors import ImageError
from jssr.io.images import as_grid, read_grid, read_image
from jssr.io.transforms import read_transform

SHAPE = (12, 10, 8)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def oblique(degrees=25.0, spacing=(2.0, 1.5, 4.0), origin=(31.0, -12.0, 7.0)):
    """An RAS affine turned about two axes."""
    a, b = np.radians([degrees, 0.6 * degrees])
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    out = np.eye(4)
    out[:3, :3] = (x @ z) * spacing
    out[:3, 3] = origin
    return out


def save(path, sform=None, qform=None, codes=(0, 0), pixdim=(2.0, 1.5, 4.0), units=2, array=None, edit=None):
    """A NIfTI with these transforms (RAS) and codes of sform and qform."""
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) if array is None else array
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header["pixdim"][1:4] = pixdim
    if qform is not None:
        header.set_qform(qform, codes[1], strip_shears=True)
    if sform is not None:
        header.set_sform(sform, codes[0])
    header["xyzt_units"] = units
    if edit is not None:
        edit(header)
    with path.open("wb") as file:
        header["magic"], header["vox_offset"] = b"n+1", 352
        header.write_to(file)
        file.write(b"\0" * (352 - file.tell()))
        file.write(array.tobytes(order="F"))
    return path


def told(path):
    with collected() as words:
        volume = read_image(path)
    return volume.grid, words


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (1, 2), (4, 1), (1, 0), (3, 0)])
def test_the_sform_is_taken_as_nibabel_does(tmp_path, codes):
    path = save(tmp_path / "a.nii", oblique(), oblique(0.0), codes)
    grid, words = told(path)
    np.testing.assert_allclose(LPS @ grid.affine, nib.load(path).affine, atol=1e-4)
    assert read_grid(path).same_as(grid, 1e-9)
    if codes[1] == 0:
        assert words == []
        return
    corners = np.array([[*c, 1] for c in np.ndindex(2, 2, 2)]) * [11, 9, 7, 1]
    apart = np.linalg.norm((corners @ (oblique() - oblique(0.0)).T)[:, :3], axis=1).max()
    assert len(words) == 1 and f"{apart:.3g} mm" in words[0] and f"sform (code {codes[0]})" in words[0]


def test_the_qform_is_taken_where_the_sform_has_no_code(tmp_path):
    grid, words = told(save(tmp_path / "a.nii", oblique(0.0), oblique(), (0, 1)))
    np.testing.assert_allclose(LPS @ grid.affine, oblique(), atol=1e-5)
    assert words == []


def test_two_transforms_that_agree_say_nothing(tmp_path):
    _, words = told(save(tmp_path / "a.nii", oblique(), oblique(), (1, 1)))
    assert words == []


def test_without_codes_the_spacing_counts_and_is_told(tmp_path):
    grid, words = told(save(tmp_path / "a.nii"))
    np.testing.assert_allclose(grid.affine, np.diag([2.0, 1.5, 4.0, 1.0]))
    assert len(words) == 1 and "codes" in words[0]


def test_a_spacing_that_is_not_the_sforms_is_told(tmp_path):
    grid, words = told(save(tmp_path / "a.nii", oblique(), codes=(2, 0), pixdim=(1.0, 1.0, 4.0)))
    np.testing.assert_allclose(grid.spacing, (2.0, 1.5, 4.0), rtol=1e-6)
    assert len(words) == 1 and "1 x 1 x 4" in words[0] and "2 x 1.5 x 4" in words[0]


@pytest.mark.parametrize("degrees", [3.0, -20.0])
def test_a_sheared_array_in_memory_is_refused_with_its_angle(tmp_path, degrees):
    tilted = oblique(10.0)
    tilted[:3, 2] += 4.0 * np.tan(np.radians(degrees)) * tilted[:3, 1] / 1.5
    path = save(tmp_path / "a.nii", tilted, tilted, (1, 1))
    with pytest.raises(ImageError, match=rf"sheared by {abs(degrees):.1f} degrees.*qform is upright"):
        Volume.from_nibabel(nib.load(path))


@pytest.mark.parametrize("degrees", [3.0, -20.0])
@pytest.mark.parametrize("read", [read_image, read_grid, as_grid])
def test_shear_that_no_gantry_makes_is_refused_with_its_angle(tmp_path, degrees, read):
    """No two axes are perpendicular."""
    tilted = oblique(10.0)
    tilted[:3, 2] += 4.0 * np.tan(np.radians(degrees)) * tilted[:3, 1] / 1.5
    tilted[:3, 0] += 0.05 * tilted[:3, 1] + 0.1 * tilted[:3, 2]
    path = save(tmp_path / "a.nii", tilted, tilted, (1, 1))
    with pytest.raises(ImageError, match=r"sheared by \d+\.\d degrees.*qform is upright") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_almost_perpendicular_axes_are_made_so(tmp_path):
    """ITK refuses an sform by 0.02 degrees off."""
    nearly = oblique()
    nearly[:3, 0] += 0.0003 * nearly[:3, 1]
    grid, words = told(save(tmp_path / "a.nii", nearly, codes=(1, 0)))
    np.testing.assert_allclose(grid.direction.T @ grid.direction, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(LPS @ grid.affine, nearly, atol=2e-3)
    assert words == []


@pytest.mark.parametrize(("units", "factor"), [(1, 1000.0), (3, 0.001)])
def test_other_units_scale_the_grid_and_are_told(tmp_path, units, factor):
    scaled = np.diag([1 / factor] * 3 + [1]) @ oblique(spacing=(0.5, 0.5, 0.25))
    grid, words = told(save(tmp_path / "a.nii", scaled, scaled, (1, 1), units=units))
    np.testing.assert_allclose(LPS @ grid.affine, oblique(spacing=(0.5, 0.5, 0.25)), atol=1e-4)
    assert len(words) == 1 and "0.5 x 0.5 x 0.25 mm" in words[0]


@pytest.mark.parametrize("units", [1, 3])
def test_a_unit_that_cannot_be_is_refused(tmp_path, units):
    with pytest.raises(ImageError, match="xyzt_units"):
        read_image(save(tmp_path / "a.nii", oblique(), codes=(1, 0), units=units))


def test_damaged_transforms(tmp_path):
    flat = oblique()
    flat[:3, 1] = 0
    with pytest.raises(ImageError, match="sform"):
        read_image(save(tmp_path / "a.nii", flat, codes=(2, 0)))

    def long_quaternion(header):
        header["quatern_b"], header["qform_code"] = 3.0, 1

    with pytest.raises(ImageError, match="qform is damaged"):
        read_image(save(tmp_path / "b.nii", edit=long_quaternion))
    grid, _ = told(save(tmp_path / "c.nii", oblique(), codes=(1, 0), edit=long_quaternion))
    np.testing.assert_allclose(LPS @ grid.affine, oblique(), atol=1e-4)


def test_labels_masks_fields_and_python_follow_the_same_rule(tmp_path):
    path = save(tmp_path / "a.nii", oblique(), oblique(0.0), (2, 1))
    want = LPS @ oblique()
    for kind in ("labels", "mask"):
        np.testing.assert_allclose(read_image(path, kind).grid.affine, want, atol=1e-4)
    with collected() as words:
        found = Volume.from_nibabel(nib.load(path))
    np.testing.assert_allclose(found.grid.affine, want, atol=1e-4)
    assert len(words) == 1
    vectors = np.zeros((*SHAPE, 1, 3), np.float32)
    vectors[..., 0] = 1.5

    def vector(header):
        header.set_intent(1007)

    field = save(tmp_path / "u.nii", oblique(), oblique(0.0), (2, 1), array=vectors, edit=vector)
    with collected() as words:
        moved = read_transform(field)
    np.testing.assert_allclose(moved.grid.affine, want, atol=1e-4)
    np.testing.assert_allclose(moved([[0.0, 0.0, 0.0]]), [[1.5, 0.0, 0.0]], atol=1e-5)
    assert len(words) == 1


def test_an_affine_that_was_set_from_python_is_kept(tmp_path):
    image = nib.Nifti1Image(np.arange(960, dtype=np.int16).reshape(SHAPE), oblique())
    np.testing.assert_allclose(LPS @ Volume.from_nibabel(image).grid.affine, oblique(), atol=1e-5)
    bare = nib.load(save(tmp_path / "a.nii"))
    with collected() as words:  # as the file itself is read, told in the same words
        assert Volume.from_nibabel(bare).grid.same_as(read_grid(tmp_path / "a.nii"))
    assert len(words) == 1


def test_a_pair_of_files_and_an_analyze(tmp_path):
    image = nib.Nifti1Pair(np.arange(960, dtype=np.int16).reshape(SHAPE), oblique())
    image.header.set_qform(oblique(0.0), 1)
    nib.save(image, tmp_path / "p.img")
    for name in ("p.hdr", "p.img"):
        grid, words = told(tmp_path / name)
        np.testing.assert_allclose(LPS @ grid.affine, oblique(), atol=1e-4)
        assert len(words) == 1
    nib.save(
        nib.AnalyzeImage(np.arange(960, dtype=np.int16).reshape(SHAPE), np.diag([-2, 2, 3, 1.0])), tmp_path / "q.img"
    )
    _, words = told(tmp_path / "q.hdr")
    assert len(words) == 1 and "Analyze" in words[0]


def test_nifti_2_headers():
    header = nib.Nifti2Header()
    header.set_data_shape(SHAPE)
    header.set_sform(oblique(), 1)
    header["pixdim"][1:4] = 2.0, 1.5, 4.0
    affine, words = place_of(header, "x")
    np.testing.assert_allclose(LPS @ affine, oblique(), atol=1e-9)
    assert words == ()


def test_a_qform_whose_sign_or_spacing_is_none_is_one_line(tmp_path):
    def sign(header):
        header["pixdim"][0] = 5

    path = save(tmp_path / "a.nii", qform=oblique(), codes=(0, 1), edit=sign)
    with pytest.raises(ImageError, match="a.nii: its qform is damaged"):
        read_image(path)
