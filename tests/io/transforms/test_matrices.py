"""Matrices of greedy, ITK-SNAP and AFNI, and of nobody who signs."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from grids import AT, FIXED, IMAGES, RAS, some_affine

from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.errors import TransformError
from jssr.io.transforms import Images, read_any, read_named, read_transform, write_any

UPRIGHT = Grid.of((8, 7, 6), (2.0, 2.0, 3.0), (4, 5, 6), np.diag([-1.0, 1.0, 1.0]))
BOTH = Images(UPRIGHT, UPRIGHT)


def test_greedys_matrix_is_ras(tmp_path: Path) -> None:
    """2 mm to the patient's right: 2 in RAS, -2 in LPS."""
    shift = np.eye(4)
    shift[0, 3] = 2
    np.savetxt(tmp_path / "g.mat", shift)
    assert read_any(tmp_path / "g.mat", "greedy")([0, 0, 0]).tolist() == [-2, 0, 0]
    write_any(some_affine(), tmp_path / "h.mat", "greedy")
    np.testing.assert_allclose(np.loadtxt(tmp_path / "h.mat"), RAS @ some_affine().matrix @ RAS, atol=1e-9)
    np.testing.assert_allclose(read_named(f"greedy:{tmp_path / 'h.mat'}")(AT), some_affine()(AT), atol=1e-6)


def test_a_matrix_alone_is_asked_for(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "m.mat", some_affine().matrix)
    with pytest.raises(TransformError, match=r"name --from flirt, greedy .* or niftyreg"):
        read_transform(tmp_path / "m.mat")
    np.savetxt(tmp_path / "m.1D", some_affine().matrix[:3].reshape(1, -1))
    with pytest.raises(TransformError, match="--from afni"):
        read_transform(tmp_path / "m.1D")


def test_afnis_twelve_numbers_are_lps(tmp_path: Path) -> None:
    write_any(some_affine(), tmp_path / "a.aff12.1D", "afni", BOTH)
    lines = (tmp_path / "a.aff12.1D").read_text().splitlines()
    assert lines[0].startswith("# 3dvolreg matrices") and len(lines[1].split()) == 12
    assert [float(v) for v in lines[1].split()[:4]] == [0.98, 0.1, 0.02, 3]
    np.testing.assert_allclose(read_transform(tmp_path / "a.aff12.1D", BOTH)(AT), some_affine()(AT), atol=1e-6)
    np.savetxt(tmp_path / "rows.1D", some_affine().matrix[:3])
    np.testing.assert_allclose(read_any(tmp_path / "rows.1D", "afni", BOTH)(AT), some_affine()(AT), atol=1e-6)


def test_afni_leaves_the_tilt_out(tmp_path: Path) -> None:
    for images, words in ((IMAGES, "tilted by 16.3 degrees: make it upright"), (Images(), "--fixed and --moving")):
        with pytest.raises(TransformError, match=words):
            write_any(some_affine(), tmp_path / "a.1D", "afni", images)
    assert not (tmp_path / "a.1D").exists() and FIXED is IMAGES.fixed
    np.savetxt(tmp_path / "two.1D", np.tile(some_affine().matrix[:3].reshape(1, -1), (2, 1)))
    with pytest.raises(TransformError, match="got 2 matrices"):
        read_any(tmp_path / "two.1D", "afni", BOTH)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n", r"no invertible 4 x 4 matrix, its numbers are \(3, 4\)"),
        ("1 0 0 0\n0 1 0 0\n0 0 0 0\n0 0 0 1\n", "singular"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 1 1\n", "0 0 0 1 as the last row"),
        ("1 0 0 nan\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "not finite"),
        ("1 0 0 0\n0 1 0\n", "no matrix of numbers"),
    ],
)
def test_damaged_matrices_are_one_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "m.mat").write_text(text)
    for of in ("greedy", "flirt", "niftyreg"):
        with pytest.raises(TransformError, match=words) as caught:
            read_any(tmp_path / "m.mat", of, BOTH)
        assert "\n" not in str(caught.value) and str(tmp_path / "m.mat") in str(caught.value)


def test_matrices_are_of_3d(tmp_path: Path) -> None:
    with pytest.raises(TransformError, match="greedy holds 3D transforms, and this one is 2D"):
        write_any(Affine.identity(2), tmp_path / "m.mat", "greedy")


def test_a_file_without_numbers_is_refused_without_a_remark_of_numpy(tmp_path: Path) -> None:
    (tmp_path / "a.1D").write_text("# 3dvolreg matrices\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TransformError, match="a.1D: expected one matrix of AFNI, 12 numbers, got 0"):
            read_any(tmp_path / "a.1D", "afni", BOTH)
