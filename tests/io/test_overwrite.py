"""Outputs that are inputs are refused before anything is computed or written."""

from __future__ import annotations

import os

import numpy as np
import pytest
from dicom_series import write_volume
from tiny_jssr import ball, ball_labels
from typer.testing import CliRunner

import jssr
from jssr.cli import app
from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.core.volume import volume_of
from jssr.errors import OutputError
from jssr.io.images import write_image
from jssr.io.overwrite import check_folder, check_not_input
from jssr.io.transforms import write_affine


@pytest.fixture
def pair(tmp_path):
    """Two scans under the names of results, a label map and a transform."""
    for name, volume in (("moved", ball()), ("fixed", ball((2, 0, 0))), ("fixed_segmentation", ball_labels())):
        write_image(volume, tmp_path / "out" / f"{name}.nii.gz")
    write_affine(Affine.identity(3), tmp_path / "out" / "t.tfm")
    return tmp_path / "out"


def untouched(folder):
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "more",
    [("fixed.nii.gz", "moved.nii.gz"), ("moved.nii.gz", "fixed.nii.gz"),
     ("fixed.nii.gz", "fixed.nii.gz", "--fixed-labels", "fixed_segmentation.nii.gz", "--moving-labels",
      "fixed_segmentation.nii.gz")],
)  # fmt: skip
def test_register_into_the_folder_of_its_inputs(pair, more):
    before = untouched(pair)
    words = [str(pair / word) if word.endswith(".gz") else word for word in more]
    found = CliRunner().invoke(app, ["register", *words, "-o", str(pair)])
    assert found.exit_code == 1 and "would be overwritten" in found.output
    assert untouched(pair) == before


def test_align_into_its_study(pair):
    write_image(ball(), pair / "arterial" / "moved.nii.gz")
    study = {"venous": pair / "fixed.nii.gz", "arterial": pair / "arterial" / "moved.nii.gz"}
    before = untouched(pair)
    with pytest.raises(OutputError, match=r"arterial.moved\.nii\.gz"):
        jssr.align(study, "venous", out=pair)
    assert untouched(pair) == before


def test_inputs_beside_the_results_do_not_matter(pair):
    check_folder(pair, ("moved.nii.gz", "jssr_dicom/moved/????.dcm"), pair / "fixed.nii.gz", None, np.zeros(3))
    check_folder(pair / "new", ("moved.nii.gz",), pair / "moved.nii.gz")
    check_folder(None, ("moved.nii.gz",), pair / "moved.nii.gz")


def test_two_names_of_one_file(pair):
    os.link(pair / "moved.nii.gz", pair / "hard.nii.gz")
    (pair / "soft.nii.gz").symlink_to(pair / "moved.nii.gz")
    for name in ("hard.nii.gz", "soft.nii.gz"):
        with pytest.raises(OutputError, match=name):
            check_not_input(pair / name, pair / "moved.nii.gz")
    with pytest.raises(OutputError, match="overwritten"):
        jssr.warp(pair / "moved.nii.gz", pair / "t.tfm", reference=pair / "fixed.nii.gz", out=pair / "hard.nii.gz")


def test_a_slice_of_a_series_is_an_input(tmp_path):
    grid = Grid.of((6, 5, 4), 2.0)
    values = np.random.default_rng(0).integers(0, 9, grid.shape).astype(np.float32)
    folder = write_volume(tmp_path / "out" / "jssr_dicom" / "moved", volume_of(values, grid))
    first = sorted(folder.iterdir())[0]
    with pytest.raises(OutputError, match=first.name):
        check_not_input(first, folder)
    check_not_input(folder / "new.dcm", folder)
    first.rename(folder / "0001.dcm")
    with pytest.raises(OutputError, match=r"0001\.dcm"):
        check_folder(tmp_path / "out", ("jssr_dicom/moved/????.dcm",), folder)


def test_names_and_fields_that_are_written_beside_an_output(pair):
    (pair / "names.json").write_text('{"1": "ball"}')
    labels, reference = pair / "fixed_segmentation.nii.gz", pair / "fixed.nii.gz"
    with pytest.raises(OutputError, match=r"names\.json"):
        jssr.warp(labels, pair / "t.tfm", reference=reference, label_names=pair / "names.json",
                  out=pair / "names.nii.gz")  # fmt: skip
    (pair / "x_displacement.nii.gz").write_bytes(b"no field")
    with pytest.raises(OutputError, match="x_displacement"):
        jssr.convert(pair / "x_displacement.nii.gz", to="elastix", out=pair / "x.txt")
    with pytest.raises(OutputError, match="is an input"):
        jssr.convert(pair / "t.tfm", out=pair / "t.tfm")
