"""elastix's files with transforms of others in them, and ours for transformix, beside transformix itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import FIXED, some_affine, waves

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Chain, Displacement
from jssr.errors import OutputError, TransformError
from jssr.io.itk_elastix import field_of, itk_image, modules
from jssr.io.transforms import Images, read_any, read_transform, write_any
from jssr.io.transforms.elastix import _parsed

GRID = Grid.of((16, 15, 14), (2.0, 2.5, 3.0), (-7, 5, 11), FIXED.direction)
WARP = Displacement.from_millimetres(waves(GRID), GRID)
POINTS = GRID.world(np.random.default_rng(0).integers(3, 10, (20, 3)))
BACK = Affine(np.linalg.inv(some_affine().matrix))
PLACED = Images(GRID)


def by_transformix(path: Path) -> Displacement:
    """What transformix makes of one parameter file."""
    chosen = modules()[0].elastixParameterObject.New()
    chosen.AddParameterMap(_parsed(path))
    return Displacement.from_millimetres(field_of(chosen, itk_image(np.zeros(GRID.shape), GRID), 3), GRID)


def named(path: Path, file: str, *more: str) -> Path:
    """A parameter file that names one of ITK, as 3D Slicer starts elastix."""
    path.write_text("\n".join(['(Transform "File")', f'(TransformFileName "{file}")', *more]) + "\n")
    return path


def test_transformix_reads_what_is_written(tmp_path: Path) -> None:
    bent = Chain(WARP, some_affine())
    for name, transform in (("affine", some_affine()), ("bent", bent)):
        write_any(transform, tmp_path / f"{name}.txt", "elastix", PLACED)
        np.testing.assert_allclose(by_transformix(tmp_path / f"{name}.txt")(POINTS), transform(POINTS), atol=1e-3)
        np.testing.assert_allclose(read_transform(tmp_path / f"{name}.txt")(POINTS), transform(POINTS), atol=1e-3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["affine.txt", "bent.txt", "bent_displacement.nii.gz"]


def test_files_of_itk_count_as_they_are(tmp_path: Path) -> None:
    write_any(some_affine(), tmp_path / "a.tfm")
    found = read_transform(named(tmp_path / "t.txt", "a.tfm"))
    assert isinstance(found, Affine)
    np.testing.assert_allclose(found(POINTS), some_affine()(POINTS), atol=1e-9)
    write_any(Chain(WARP, some_affine()), tmp_path / "b.h5")
    np.testing.assert_allclose(
        read_transform(named(tmp_path / "u.txt", str(tmp_path / "b.h5")))(POINTS),
        some_affine()(WARP(POINTS)),
        atol=1e-4,
    )
    spline = sitk.BSplineTransform(3)
    sitk.WriteTransform(spline, str(tmp_path / "s.h5"))
    with pytest.raises(TransformError, match="--fixed"):
        read_transform(named(tmp_path / "v.txt", "s.h5"))
    np.testing.assert_allclose(read_any(tmp_path / "v.txt", images=PLACED)(POINTS), POINTS, atol=1e-6)


@pytest.mark.parametrize("first", ["matrix", "field"])
def test_chains_of_itks_and_elastixs_own(first: str, tmp_path: Path) -> None:
    """elastix's own affine map starts from a file of ITK: the start comes first."""
    start = BACK if first == "matrix" else WARP
    write_any(start, tmp_path / "start.h5")
    named(tmp_path / "t0.txt", "start.h5")
    write_any(some_affine(), tmp_path / "t1.txt", "elastix", PLACED)
    text = (tmp_path / "t1.txt").read_text().replace('"NoInitialTransform"', '"t0.txt"')
    (tmp_path / "t1.txt").write_text(text)
    np.testing.assert_allclose(read_transform(tmp_path / "t1.txt")(POINTS), some_affine()(start(POINTS)), atol=1e-3)
    added = text.replace('"Compose"', '"Add"')
    (tmp_path / "t1.txt").write_text(added)
    both = start(POINTS) + some_affine()(POINTS) - POINTS
    np.testing.assert_allclose(read_transform(tmp_path / "t1.txt")(POINTS), both, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('(Transform "File")\n(TransformFileName "no.tfm")\n', "its TransformFileName no.tfm is not there"),
        ('(Transform "File")\n', "not named"),
        (
            '(Transform "DeformationFieldTransform")\n(DeformationFieldFileName "u.mha")\n(Size 4 4 4)\n',
            "lacks the place",
        ),
        ('(Transform "ExternalTransform")\n(TransformAddress "0x1")\n', "in the memory of a program that has ended"),
        ('(Transform "AffineTransform")\n(NumberOfParameters 12)\n', "lacks its parameters"),
        ('(Transform "AffineTransform")\n(TransformParameters 1 0 0 0 1 0 0 0 1 0 0 0)\n', "name the fixed image"),
    ],
)
def test_damaged_files_are_one_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(TransformError, match=words) as caught:
        read_transform(tmp_path / "t.txt")
    assert str(tmp_path / "t.txt") in str(caught.value) and "\n" not in str(caught.value)


def test_two_files_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """elastix looks in the working folder, people think of the parameter file's."""
    (tmp_path / "here").mkdir()
    for folder, transform in ((tmp_path, some_affine()), (tmp_path / "here", BACK)):
        write_any(transform, folder / "a.tfm")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(TransformError, match="in the working folder and beside it"):
        read_transform(named(tmp_path / "t.txt", "a.tfm"))


def test_nothing_is_half_written(tmp_path: Path) -> None:
    with pytest.raises(TransformError, match="end its name in .txt"):
        write_any(some_affine(), tmp_path / "a.tfm", "elastix", PLACED)
    with pytest.raises(TransformError, match="--fixed"):
        write_any(some_affine(), tmp_path / "a.txt", "elastix")
    (tmp_path / "bent.txt").mkdir()
    with pytest.raises(OutputError, match="folder of that name"):
        write_any(WARP, tmp_path / "bent.txt", "elastix")
    assert [p.name for p in tmp_path.iterdir()] == ["bent.txt"]


@pytest.mark.parametrize(("size", "says"), [("16 15 inf", "place of its fixed image"), ("99999 99999 99999", "voxels")])
def test_sizes_that_no_image_has_are_refused(tmp_path: Path, size: str, says: str) -> None:
    write_any(some_affine(), tmp_path / "t.txt", "elastix", PLACED)
    text = (tmp_path / "t.txt").read_text()
    assert "(Size 16 15 14)" in text
    (tmp_path / "t.txt").write_text(text.replace("(Size 16 15 14)", f"(Size {size})"))
    with pytest.raises(TransformError, match=says):
        read_transform(tmp_path / "t.txt")
