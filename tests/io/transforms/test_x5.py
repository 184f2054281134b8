"""X5 beside nitransforms, which defines it."""

from __future__ import annotations

from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from grids import AT, FIXED, FLIP, RAS, some_affine, waves
from nitransforms.io.x5 import to_filename
from nitransforms.linear import Affine as Linear
from nitransforms.nonlinear import DenseFieldTransform

from jssr.core.transform import Chain, Displacement
from jssr.errors import TransformError
from jssr.io.transforms import Images, read_any, read_transform, write_any

WARP = Displacement.from_millimetres(waves(), FIXED)
POINTS = AT[1:-1, 1:-1, 1:-1].reshape(-1, 3)


def test_linear_ones_both_ways(tmp_path: Path) -> None:
    Linear(RAS @ some_affine().matrix @ RAS).to_filename(tmp_path / "a.x5", fmt="X5")
    np.testing.assert_allclose(read_transform(tmp_path / "a.x5")(POINTS), some_affine()(POINTS), atol=1e-6)
    write_any(some_affine(), tmp_path / "b.x5", images=Images(FIXED))
    theirs = Linear.from_filename(tmp_path / "b.x5", fmt="X5").map(POINTS * FLIP) * FLIP
    np.testing.assert_allclose(theirs, some_affine()(POINTS), atol=1e-6)


def test_fields_both_ways(tmp_path: Path) -> None:
    for deltas in (True, False):
        vectors = (waves() if deltas else AT + waves()) * FLIP
        made = DenseFieldTransform(nib.Nifti1Image(vectors, RAS @ FIXED.affine), is_deltas=deltas)
        to_filename(tmp_path / "f.x5", [made.to_x5()])
        np.testing.assert_allclose(read_transform(tmp_path / "f.x5")(POINTS), WARP(POINTS), atol=1e-4)
    bent = Chain(WARP, some_affine())
    write_any(bent, tmp_path / "g.x5")
    theirs = DenseFieldTransform.from_filename(tmp_path / "g.x5", fmt="X5").map(POINTS * FLIP) * FLIP
    np.testing.assert_allclose(theirs, bent(POINTS), atol=1e-3)


def test_what_is_no_x5_is_one_line(tmp_path: Path) -> None:
    write_any(WARP, tmp_path / "f.x5")
    whole = (tmp_path / "f.x5").read_bytes()
    (tmp_path / "short.x5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.x5").write_text("nothing")
    for name in ("short.x5", "text.x5"):
        with pytest.raises(TransformError, match="not a readable X5"):
            read_any(tmp_path / name, "x5")
    entry = Linear(np.eye(4)).to_x5()
    to_filename(tmp_path / "two.x5", [entry, entry])
    with pytest.raises(TransformError, match="expected one transform, got 2"):
        read_transform(tmp_path / "two.x5")
    write_any(some_affine(), tmp_path / "ours.h5")
    with pytest.raises(TransformError, match="no X5 of nitransforms"):
        read_any(tmp_path / "ours.h5", "x5")


def test_text_in_place_of_a_matrix_is_one_line(tmp_path: Path) -> None:
    write_any(some_affine(), tmp_path / "a.x5")
    with h5py.File(tmp_path / "a.x5", "r+") as file:
        del file["TransformGroup/0/Transform"]
        file["TransformGroup/0/Transform"] = "none"
    with pytest.raises(TransformError, match="a.x5: is not a readable X5"):
        read_transform(tmp_path / "a.x5")
