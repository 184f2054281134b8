from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jssr.core.nifti_header import _FIRST, _SECOND, TYPES, qform_of, read_header, sform_of

KINDS = {"one": nib.Nifti1Header, "two": nib.Nifti2Header}


def made(kind: str, seed: int) -> nib.Nifti1Header:
    rng = np.random.default_rng(seed)
    header = KINDS[kind]()
    header.set_data_shape((7, 8, 9, 1, 3))
    affine = np.eye(4)
    turn = Rotation.random(random_state=seed).as_matrix() @ np.diag([1, 1, (-1) ** seed])
    affine[:3, :3], affine[:3, 3] = turn * rng.uniform(0.5, 4, 3), rng.uniform(-200, 200, 3)
    header.set_qform(affine, 1)
    header.set_sform(affine @ np.diag([1, 1, 1.1, 1]), 2)
    header.set_xyzt_units("mm", "sec")
    header.set_intent("vector", (), name="a field")
    header["descrip"] = b"made here"
    return header


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("seed", range(4))
def test_fields_and_transforms_are_those_of_nibabel(kind: str, order: str, seed: int) -> None:
    theirs = made(kind, seed).as_byteswapped(order)
    ours = read_header(theirs.binaryblock + b"\0" * 9)
    assert ours is not None
    for name in _FIRST if kind == "one" else _SECOND:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert ours.dtype["datatype"].newbyteorder(order) == ours.dtype["datatype"]
    np.testing.assert_array_equal(sform_of(ours), theirs.get_sform())
    for header in (ours, theirs):
        np.testing.assert_allclose(qform_of(header), theirs.get_qform(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_lose_no_sign(axis: int) -> None:
    header = nib.Nifti1Header()
    quaternion = np.zeros(3, np.float32)
    quaternion[axis] = 1 + 1e-7  # float32 rounds it up
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion
    header["pixdim"][:4] = 1, 2, 3, 4
    signs = -np.ones(3)
    signs[axis] = 1
    np.testing.assert_allclose(qform_of(header), np.diag([*(signs * (2, 3, 4)), 1]), atol=1e-6)
    np.testing.assert_allclose(qform_of(header), header.get_qform(), atol=1e-12)


def test_damaged_qforms_are_refused() -> None:
    for name, value, words in (
        ("quatern_b", 1.5, "longer than 1"),
        ("pixdim", [1, 1, -2, 1, 1, 1, 1, 1], "negative"),
        ("pixdim", [0, 1, 1, 1, 1, 1, 1, 1], "sign"),
    ):
        header = nib.Nifti1Header()
        header[name] = value
        with pytest.raises(ValueError, match=words):
            qform_of(header)


def test_what_is_no_header_is_none() -> None:
    block = made("one", 0).binaryblock
    assert read_header(block[:347]) is None
    assert read_header(b"\x1f\x8b" + block[2:]) is None
    assert read_header(b"") is None


def test_types_are_those_of_the_standard() -> None:
    from nibabel.nifti1 import data_type_codes

    assert {int(code) for code in data_type_codes.code.values()} <= TYPES | {0}
    assert len(TYPES) == 19
