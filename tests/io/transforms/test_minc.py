"""MINC: `.xfm` by hand, and `.mnc` images beside nibabel."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from grids import AT, FIXED, FLIP, IMAGES, MOVING, some_affine, waves

from jssr.core.bridges import to_sitk
from jssr.core.transform import Displacement
from jssr.errors import TransformError
from jssr.io.images import read_grid, read_image
from jssr.io.transforms import read_any, read_transform, write_any

SHIFT = "MNI Transform File\n%by hand\n\nTransform_Type = Linear;\nLinear_Transform =\n 1 0 0 5\n 0 1 0 0\n 0 0 1 0;\n"


def test_an_xfm_goes_from_moving_to_fixed_in_ras(tmp_path: Path) -> None:
    """The moving image lies 5 mm further to the left: the file shifts it by 5 mm to the right."""
    (tmp_path / "a.xfm").write_text(SHIFT)
    assert read_transform(tmp_path / "a.xfm")([0, 0, 0]).tolist() == [5, 0, 0]
    (tmp_path / "b.xfm").write_text(SHIFT.replace("Linear;\n", "Linear;\nInvert_Flag = True;\n"))
    assert read_transform(tmp_path / "b.xfm")([0, 0, 0]).tolist() == [-5, 0, 0]
    (tmp_path / "c.xfm").write_text(
        SHIFT + "Transform_Type = Linear;\nLinear_Transform =\n 2 0 0 0\n 0 2 0 0\n 0 0 2 0;\n"
    )
    assert read_transform(tmp_path / "c.xfm")([4, 8, 2]).tolist() == [7, 4, 1]  # halved first, then shifted


def test_what_is_written_is_mincs(tmp_path: Path) -> None:
    write_any(some_affine(), tmp_path / "a.xfm")
    numbers = [
        float(v) for v in (tmp_path / "a.xfm").read_text().partition("Linear_Transform =")[2].strip(" ;\n").split()
    ]
    there = some_affine()(AT) * FLIP
    matrix = np.reshape(numbers, (3, 4))
    np.testing.assert_allclose((there @ matrix[:, :3].T + matrix[:, 3]) * FLIP, AT, atol=1e-6)
    np.testing.assert_allclose(read_transform(tmp_path / "a.xfm")(AT), some_affine()(AT), atol=1e-6)
    with pytest.raises(TransformError, match="only matrices are written for minc"):
        write_any(Displacement.from_millimetres(waves(), FIXED), tmp_path / "bent.xfm")
    assert not (tmp_path / "bent.xfm").exists()


def mnc(path: Path, array: np.ndarray, grid=FIXED) -> Path:
    """A MINC 2 file whose world numbers are RAS, as MINC means them."""
    image = to_sitk(array, grid)
    image.SetOrigin((FLIP * grid.origin).tolist())
    image.SetDirection((np.diag(FLIP) @ grid.direction).ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("inverted", [True, False])
def test_grids_lie_beside_and_are_ras(inverted: bool, tmp_path: Path) -> None:
    """An inverted grid pulls by itself; another one lies on the moving side, and its inverse is sought."""
    grid = FIXED if inverted else MOVING
    mnc(tmp_path / "g_grid_0.mnc", np.moveaxis(0.3 * waves(grid) * FLIP, -1, 0), grid)
    block = f"Transform_Type = Grid_Transform;\nInvert_Flag = {inverted};\nDisplacement_Volume = g_grid_0.mnc;\n"
    (tmp_path / "g.xfm").write_text("MNI Transform File\n" + block)
    found = read_any(tmp_path / "g.xfm", images=IMAGES)
    if inverted:
        np.testing.assert_allclose(found(AT), AT + 0.3 * waves(), atol=1e-4)
    else:
        inner = AT[3:-3, 3:-3, 3:-3]
        forth = Displacement.from_millimetres(0.3 * waves(MOVING), MOVING)
        np.testing.assert_allclose(forth(found(inner)), inner, atol=0.01)
        with pytest.raises(TransformError, match="--fixed"):
            read_transform(tmp_path / "g.xfm")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("MNI Transform File\n", "no Transform_Type"),
        (SHIFT.replace("0 0 1 0", "0 0 1"), "expected 12 numbers"),
        (SHIFT.replace("0 0 1 0", "0 0 0 0"), "invertible"),
        (SHIFT.replace("Linear;", "Thin_Plate_Spline_Transform;"), "Thin_Plate_Spline"),
        (
            "MNI Transform File\nTransform_Type = Grid_Transform;\nDisplacement_Volume = no.mnc;\n",
            "no.mnc is not beside",
        ),
    ],
)
def test_damaged_xfm_files_are_one_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.xfm").write_text(text)
    with pytest.raises(TransformError, match=words) as caught:
        read_any(tmp_path / "a.xfm", images=IMAGES)
    assert str(tmp_path / "a.xfm") in str(caught.value)


def test_mnc_images_lie_where_nibabel_puts_them(tmp_path: Path) -> None:
    """SimpleITK alone turns them by 180 degrees."""
    values = np.random.default_rng(0).uniform(0, 100, FIXED.shape).astype(np.float32)
    file = mnc(tmp_path / "a.mnc", values[None])
    found, theirs = read_image(file), nib.load(file)
    assert found.grid.same_as(FIXED, 1e-4) and read_grid(file).same_as(FIXED, 1e-4)
    assert found.grid.shape == theirs.shape[::-1]
    for index in ((1, 2, 3), (8, 0, 6)):
        x, y, z, _ = theirs.affine @ [*index[::-1], 1]
        assert found.grid.world(index).tolist() == pytest.approx([-x, -y, z], abs=1e-3)
        assert float(found.array[index]) == pytest.approx(float(theirs.dataobj[index[::-1]]), abs=1e-2)


def test_an_xfm_that_does_not_begin_as_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.xfm").write_text(SHIFT.replace("MNI", "MNJ", 1))
    with pytest.raises(TransformError, match="a.xfm: expected 'MNI Transform File'"):
        read_transform(tmp_path / "a.xfm")
