"""Transforms on disk: what ITK writes we read, what we write ITK reads, with the same points."""

from __future__ import annotations

import gzip
import math
import os
import struct

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.transform import Affine, Chain, Displacement
from jssr.errors import OutputError, TransformError
from jssr.io.transforms import Images, read_any, read_transform, write_affine, write_any, write_displacement

AXES = Rotation.from_euler("xyz", (25, -10, 40), degrees=True).as_matrix()
GRID = Grid.of((9, 8, 7), (1.0, 2.0, 3.0), (-20, 5, 100), AXES)
VECTORS = np.random.default_rng(0).uniform(-4, 4, (*GRID.shape, 3))
FIELD = Displacement.from_millimetres(VECTORS, GRID)
POINTS = GRID.world(np.random.default_rng(1).uniform(0.5, np.array(GRID.shape) - 1.5, (40, 3)))


def euler(centre=(3.0, -5.0, 110.0)):
    out = sitk.Euler3DTransform(centre, 0.1, -0.2, 0.3, (4.0, 5.0, -6.0))
    return out


def itk_field(vectors=VECTORS, grid=GRID):
    image = sitk.GetImageFromArray(np.ascontiguousarray(vectors.transpose(2, 1, 0, 3)), isVector=True)
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(grid.origin.tolist())
    image.SetDirection(grid.direction.ravel().tolist())
    return image


def by_itk(transform, points=POINTS):
    return np.array([transform.TransformPoint(p.tolist()) for p in points])


def itk_kinds():
    similarity = sitk.Similarity3DTransform()
    similarity.SetTranslation((1, 2, 3))
    both = sitk.CompositeTransform([euler(), sitk.TranslationTransform(3, (1.0, 2.0, 3.0))])
    spline = sitk.BSplineTransformInitializer(sitk.Image(8, 8, 8, sitk.sitkFloat32), (2, 2, 2))
    return [euler(), sitk.Euler2DTransform((1, 2), 0.3, (4, 5)), similarity, both, spline, itk_field_transform()]


def itk_field_transform():
    return sitk.DisplacementFieldTransform(sitk.Cast(itk_field(), sitk.sitkVectorFloat64))


@pytest.mark.parametrize("kind", range(6))
def test_text_of_itk_that_breaks_off_is_refused(tmp_path, kind):
    path = tmp_path / "t.tfm"
    sitk.WriteTransform(itk_kinds()[kind], str(path))
    images = Images(Grid.of((4, 4, 4), (1, 1, 1), (0, 0, 0), np.eye(3)))
    assert read_transform(path, images=images) if kind == 4 else read_transform(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]))  # up to the first kind
    with pytest.raises(TransformError, match="truncated"):
        read_transform(path)
    numbers = [k for k, line in enumerate(lines) if "Parameters:" in line]
    for k in numbers:
        for text in (lines[:k], [*lines[:k], lines[k].rsplit(maxsplit=1)[0]]):
            if text[-1:] == [lines[k].strip()]:
                continue  # without numbers
            path.write_text("".join(text))
            with pytest.raises(TransformError, match=r"t\.tfm"):
                read_transform(path, images=images)


@pytest.mark.parametrize("ending", ["nii.gz", "nii", "nrrd", "mha"])
def test_displacement_round_trip(tmp_path, ending):
    path = tmp_path / f"u.{ending}"
    write_displacement(FIELD, path)
    again = read_transform(path)
    assert isinstance(again, Displacement) and again.grid.same_as(GRID, 1e-4)
    assert torch.allclose(again.u, FIELD.u, atol=1e-3)
    vector = sitk.ReadImage(str(path))[4, 3, 2]  # LPS millimetres in the file, as given
    assert np.allclose(vector, VECTORS[4, 3, 2], atol=0.0005)


def test_nifti_header_says_what_it_is(tmp_path):
    write_displacement(FIELD, tmp_path / "u.nii.gz")
    header = gzip.decompress((tmp_path / "u.nii.gz").read_bytes())[:352]
    assert struct.unpack_from("<8h", header, 40)[:6] == (5, 9, 8, 7, 1, 3)
    assert struct.unpack_from("<h", header, 68)[0] == 1007  # NIFTI_INTENT_VECTOR
    assert struct.unpack_from("<h", header, 70)[0] == 16  # float32
    assert b"mm LPS" in header[148:228]


def test_field_of_itk_is_read(tmp_path):
    sitk.WriteImage(itk_field(), str(tmp_path / "u.nii.gz"))
    expected = by_itk(sitk.DisplacementFieldTransform(itk_field()))
    assert np.abs(read_transform(tmp_path / "u.nii.gz")(POINTS) - expected).max() < 0.01


@pytest.mark.parametrize(
    ("kind", "code", "slope", "shift", "numbers_mm"),
    [
        ("<i2", 4, 0.125, 2.0, (3, 1, 12)),  # 0.125 * number + 2
        ("<f4", 16, 0.125, 2.0, (3, 1, 12)),
        ("<i2", 4, 0.0, 3.0, (8, -8, 80)),  # a slope of 0 is none, and takes the shift with it
        ("<f4", 16, 0.0, 3.0, (8, -8, 80)),
    ],
)
def test_vectors_with_a_slope_that_itk_does_not_read(tmp_path, kind, code, slope, shift, numbers_mm):
    write_displacement(FIELD, tmp_path / "u.nii.gz")
    header = bytearray(gzip.decompress((tmp_path / "u.nii.gz").read_bytes())[:352])
    struct.pack_into("<2h", header, 70, code, 8 * np.dtype(kind).itemsize)
    struct.pack_into("<2f", header, 112, slope, shift)
    numbers = np.zeros((3, 7, 8, 9), kind)
    numbers[:, 2, 3, 4] = 8, -8, 80
    (tmp_path / "scaled.nii").write_bytes(bytes(header) + numbers.tobytes())
    found = read_transform(tmp_path / "scaled.nii").millimetres()
    rest = shift if slope else 0
    assert np.allclose(found[4, 3, 2], numbers_mm, atol=1e-6) and np.allclose(found[0, 0, 0], rest, atol=1e-6)


@pytest.mark.parametrize("ending", ["tfm", "txt", "mat", "h5"])
@pytest.mark.parametrize(
    "transform",
    [
        euler(),
        sitk.VersorRigid3DTransform((0.0, 0.6, 0.0, 0.8), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0)),
        sitk.TranslationTransform(3, (1.0, -2.0, 3.0)),
        sitk.AffineTransform((1.1, 0.1, 0, 0, 0.9, 0, 0.2, 0, 1.0), (1.0, 2.0, 3.0), (10.0, 0.0, 5.0)),
        sitk.Similarity3DTransform(1.2, (0.0, 0.0, 1.0), math.pi / 7, (1.0, 2.0, 3.0), (4.0, 4.0, 4.0)),
        sitk.Transform(3, sitk.sitkIdentity),
    ],
    ids=lambda t: t.GetName(),
)
def test_linear_transforms_of_itk(tmp_path, transform, ending):
    path = tmp_path / f"t.{ending}"
    sitk.WriteTransform(transform, str(path))
    again = read_transform(path)
    assert isinstance(again, Affine)
    assert np.abs(again(POINTS) - by_itk(transform)).max() < 1e-6


@pytest.mark.parametrize("ending", ["tfm", "h5", "mat"])
def test_affine_round_trip(tmp_path, ending):
    matrix = np.eye(4)
    matrix[:3, :3] = AXES * 1.1
    matrix[:3, 3] = (1 / 3, -200.123456, 7)
    write_affine(Affine(matrix), tmp_path / f"a.{ending}")
    assert np.abs(read_transform(tmp_path / f"a.{ending}").matrix - matrix).max() < 1e-12
    expected = by_itk(sitk.ReadTransform(str(tmp_path / f"a.{ending}")))
    assert np.abs(Affine(matrix)(POINTS) - expected).max() < 1e-9


def test_two_dimensional_affine(tmp_path):
    matrix = np.array([[0.0, -1, 3], [1, 0, 4], [0, 0, 1]])
    write_affine(Affine(matrix), tmp_path / "a.tfm")
    assert np.allclose(read_transform(tmp_path / "a.tfm").matrix, matrix)


def test_displacement_transform_in_h5(tmp_path):
    sitk.WriteTransform(sitk.DisplacementFieldTransform(itk_field()), str(tmp_path / "t.h5"))
    again = read_transform(tmp_path / "t.h5")
    assert isinstance(again, Displacement)
    assert np.abs(again(POINTS) - by_itk(sitk.DisplacementFieldTransform(itk_field()))).max() < 0.01


def test_composite_applies_the_last_added_first(tmp_path):
    composite = sitk.CompositeTransform(3)
    composite.AddTransform(euler())
    composite.AddTransform(sitk.AffineTransform((2, 0, 0, 0, 1, 0, 0, 0, 1.0), (0.0, 0.0, 0.0)))
    composite.AddTransform(sitk.DisplacementFieldTransform(itk_field()))
    sitk.WriteTransform(composite, str(tmp_path / "t.h5"))
    again = read_transform(tmp_path / "t.h5")
    assert isinstance(again, Chain) and [type(p) for p in again.parts] == [Displacement, Affine, Affine]
    assert np.abs(again(POINTS) - by_itk(composite)).max() < 0.02
    other_way = Chain(*reversed(again.parts))
    assert np.abs(other_way(POINTS) - by_itk(composite)).max() > 1  # the order does matter here


def refused(path, words):
    with pytest.raises(TransformError, match=words) as caught:
        read_transform(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_image_is_no_field(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.float32)), str(tmp_path / "a.nii.gz"))
    refused(tmp_path / "a.nii.gz", "1 value.s. per voxel in 3D")


def test_nan_is_refused(tmp_path):
    vectors = VECTORS.copy()
    vectors[0, 0, 0, 0] = np.nan
    for name in ("u.nii.gz", "u.mha"):
        sitk.WriteImage(itk_field(vectors), str(tmp_path / name))
        refused(tmp_path / name, "NaN")
    with pytest.raises(OutputError, match="NaN"):
        write_displacement(Displacement.from_millimetres(vectors, GRID), tmp_path / "v.nii.gz")


def test_missing_truncated_and_foreign(tmp_path):
    refused(tmp_path / "no.tfm", "no such file")
    write_displacement(FIELD, tmp_path / "u.nii.gz")
    (tmp_path / "t.nii.gz").write_bytes((tmp_path / "u.nii.gz").read_bytes()[:-500])
    refused(tmp_path / "t.nii.gz", "truncated")
    (tmp_path / "t.txt").write_text("(Transform EulerTransform)\n(NumberOfParameters 6)\n")
    refused(tmp_path / "t.txt", "is not a transform of elastix, or is truncated")
    (tmp_path / "t.h5").write_bytes(b"nothing")
    refused(tmp_path / "t.h5", "not a readable transform")


def test_splines_are_sampled_on_the_fixed_grid(tmp_path):
    """Alone and in a composite; without the fixed image they are refused."""
    spline = sitk.BSplineTransformInitializer(itk_field(), [3, 3, 3])
    spline.SetParameters(np.random.default_rng(3).uniform(-3, 3, len(spline.GetParameters())).tolist())
    at = GRID.world(np.random.default_rng(4).integers(0, 7, (20, 3)))
    for transform in (spline, sitk.CompositeTransform([euler(), spline])):
        sitk.WriteTransform(transform, str(tmp_path / "b.h5"))
        found = read_any(tmp_path / "b.h5", images=Images(fixed=GRID))
        assert np.abs(found(at) - by_itk(transform, at)).max() < 1e-4
        refused(tmp_path / "b.h5", "--fixed")
    with pytest.raises(TransformError, match="3D transform, and the fixed image is 2D"):
        read_any(tmp_path / "b.h5", images=Images(fixed=Grid.of((4, 4))))


@pytest.mark.parametrize("ending", ["h5", "tfm", "txt", "hdf5"])
def test_what_bends_is_written_for_itk(tmp_path, ending):
    """A field, and a field before a matrix: the same points by SimpleITK."""
    matrix = np.eye(4)
    matrix[:3, :3] = AXES * 1.1
    for transform in (FIELD, Chain(FIELD, Affine(matrix))):
        write_any(transform, tmp_path / f"t.{ending}")
        assert np.abs(by_itk(sitk.ReadTransform(str(tmp_path / f"t.{ending}"))) - transform(POINTS)).max() < 1e-3
        assert np.abs(read_transform(tmp_path / f"t.{ending}")(POINTS) - transform(POINTS)).max() < 1e-4


def test_unknown_endings(tmp_path):
    with pytest.raises(OutputError, match="end its name in"):
        write_displacement(FIELD, tmp_path / "u.tfm")
    with pytest.raises(OutputError, match=".mat holds matrices"):
        write_any(FIELD, tmp_path / "u.mat")
    with pytest.raises(OutputError, match=".tfm"):
        write_affine(Affine.identity(), tmp_path / "a.nii.gz")


def test_hdf5_that_breaks_off_is_refused_in_one_line(tmp_path, capfd):
    path = tmp_path / "t.h5"
    for kind in (euler(), itk_field_transform()):
        sitk.WriteTransform(kind, str(path))
        whole = path.read_bytes()
        assert read_transform(path).ndim == 3
        for size in (len(whole) // 2, len(whole) - 1, 100):
            path.write_bytes(whole[:size])
            with pytest.raises(TransformError, match=r"t\.h5.*truncated"):
                read_transform(path)
    assert capfd.readouterr() == ("", "")


def test_damaged_hdf5_is_refused_without_the_words_of_its_library(tmp_path, capfd):
    """Whatever becomes of its bytes: read, or refused in one line."""
    path = tmp_path / "t.h5"
    sitk.WriteTransform(itk_field_transform(), str(path))
    whole, random, refusals = path.read_bytes(), np.random.default_rng(0), 0
    starts = [12, 40, 96, 140, 500, *random.integers(0, len(whole) - 64, 20).tolist()]
    for start in starts:
        path.write_bytes(whole[:start] + random.bytes(40) + whole[start + 40 :])
        try:
            read_transform(path)
        except TransformError as error:
            refusals += 1
            assert str(path) in str(error) and "\n" not in str(error) and "HDF5-DIAG" not in str(error)
    assert refusals >= 3
    assert capfd.readouterr() == ("", "")
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"


def composite(path, count=3):
    made = sitk.CompositeTransform(3)
    for k in range(count):
        made.AddTransform(sitk.TranslationTransform(3, (float(k + 1), 0.0, 0.0)))
    sitk.WriteTransform(made, str(path))
    return path.read_text()


def test_composite_text_that_is_cut_where_its_next_transform_begins(tmp_path):
    path = tmp_path / "t.tfm"
    text = composite(path)
    at = text.index("#Transform 3")
    for end in (at + 1, at + 5, at + len("#Transform 3"), at + len("#Transform 3\n")):
        path.write_text(text[:end])
        with pytest.raises(TransformError, match=r"t\.tfm.*truncated"):
            read_transform(path)
    path.write_text(text)
    assert np.allclose(read_transform(path)(np.zeros((1, 3))), [[6.0, 0.0, 0.0]])


def test_a_composite_of_one_transform_is_told(tmp_path):
    """ITK's text does not say how many transforms there are: cut right after one it looks whole."""
    path = tmp_path / "t.tfm"
    text = composite(path)
    for end, count in ((text.index("#Transform 2"), 1), (text.index("#Transform 3"), 0), (len(text), 0)):
        path.write_text(text[:end])
        with collected() as told:
            read_transform(path)
        assert len(told) == count and all("one transform" in words for words in told)


@pytest.mark.parametrize("parts", [2, 3])
def test_our_own_text_knows_how_many_transforms_it_holds(tmp_path, parts):
    path = tmp_path / "t.tfm"
    matrix = np.eye(4)
    matrix[:3, 3] = 1.0, 2.0, 3.0
    write_any(Chain(FIELD, *[Affine(matrix)] * (parts - 1)), path)
    text = path.read_text()
    cuts = [i for i in range(len(text)) if text.startswith("#Transform ", i)][2:]
    assert len(cuts) == parts - 1
    for end in cuts:
        path.write_text(text[:end])
        with pytest.raises(TransformError, match=r"t\.tfm.*truncated.*of"):
            read_transform(path)


def test_shifts_that_no_patient_has_are_damage(tmp_path):
    field = sitk.Image([4, 4, 4], sitk.sitkVectorFloat64, 3)
    field[1, 1, 1] = (1e200, 0.0, 0.0)
    sitk.WriteTransform(sitk.DisplacementFieldTransform(field), str(tmp_path / "t.h5"))
    refused(tmp_path / "t.h5", "damaged")
