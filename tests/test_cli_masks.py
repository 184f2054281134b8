"""Masks, an initial transform and knobs on the command line: what is used, and what is refused with one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_jssr import ball, ball_labels, tiny_weights
from typer.testing import CliRunner

from jssr.cli import app
from jssr.core.transform import Affine
from jssr.core.volume import volume_of
from jssr.io.images import write_image
from jssr.io.transforms.itk import write_affine


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("masks")
    tiny_weights(root)
    grid = ball().grid
    write_image(ball(), root / "y.nii.gz", np.int16)
    write_image(ball((6, 0, 0)), root / "x.nii.gz", np.int16)
    write_image(ball_labels(), root / "y_organ.nii.gz")
    for name, box in (("empty", slice(0, 0)), ("air", slice(0, 3)), ("left", slice(6, 9)), ("right", slice(23, 26))):
        data = np.zeros(grid.shape, np.uint8)
        data[box, 0 if name == "air" else 12 : 3 if name == "air" else 18, 0 if name == "air" else 8 : 16] = 1
        data[:, :, 3:] *= name != "air"
        write_image(volume_of(data, grid, "labels"), root / f"{name}.nii.gz")
    short = ball_labels(grid=grid.cropped((0, 0, 0), (32, 30, 20)))
    write_image(short, root / "short.nii.gz")
    for n, name, shift in ((3, "far", 900.0), (3, "near", 6.0), (2, "flat", 1.0)):
        matrix = np.eye(n + 1)
        matrix[0, n] = shift
        write_affine(Affine(matrix), root / f"{name}.tfm")
    return root


def run(place, *words):
    given = [
        "register",
        place / "y.nii.gz",
        place / "x.nii.gz",
        "-o",
        place / "out",
        "--no-rigid",
        "--no-report",
        *words,
    ]
    return CliRunner().invoke(app, [str(word) for word in given])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--fixed-mask", "empty.nii.gz"), ("empty.nii.gz", "mask is empty")),
        (("--moving-mask", "air.nii.gz"), ("air.nii.gz", "outside the body")),
        (("--fixed-mask", "short.nii.gz"), ("short.nii.gz", "another grid")),
        (("--fixed-mask", "none.nii.gz"), ("none.nii.gz", "no such file")),
        (("--fixed-mask", "left.nii.gz", "--moving-mask", "right.nii.gz"), ("right.nii.gz", "cannot overlap")),
        (("--initial", "flat.tfm"), ("flat.tfm", "expected a 3D transform")),
        (("--initial", "far.tfm"), ("far.tfm", "leads from", "out of")),
        (("--initial", "y.nii.gz"), ("y.nii.gz",)),
        (("--initial", "none.tfm"), ("initial must be", "none.tfm")),
        (("--preset", "ct-mr"), ("preset ct-mr", "is for ct and mr")),
        (("--smoothness", "0"), ("smoothness must be a number above 0",)),
        (("--smoothness", "-2"), ("smoothness must be a number above 0",)),
        (("--spacing", "1"), ("spacing: expected 4",)),
        (("--spacing", "900"), ("spacing: expected 4",)),
        (("--rigid-labels", "1"), ("rigid labels", "--fixed-labels")),
        (("--rigid-labels", "7", "--fixed-labels", "y_organ.nii.gz"), ("y_organ.nii.gz", "holds no")),
        (("--sliding", "--refine", "0"), ("sliding", "refine is 0")),
    ],
)
def test_what_cannot_be_used_is_one_line_and_writes_nothing(place, words, says):
    found = run(place, *(place / word if word.endswith((".gz", ".tfm")) else word for word in words))
    assert found.exit_code == 1, found.output
    said = found.stderr.removesuffix("\n")
    assert said.startswith("error: ") and "\n" not in said, said
    assert all(one in said for one in says), said
    assert not (place / "out").exists()


@pytest.mark.parametrize("words", [("--preset", "ct-spleen"), ("--similarity", "ncc")])
def test_an_unknown_word_is_wrong_use(place, words):
    assert run(place, *words).exit_code == 2


def test_what_was_used_stands_in_the_result(place, tmp_path):
    words = ["--initial", place / "near.tfm", "--fixed-mask", place / "y_organ.nii.gz", "--preset", "ct-lung"]
    words += ["--no-sliding", "--smoothness", "2", "--spacing", "20", "--refine", "2"]
    words += ["--rigid-labels", "1", "--fixed-labels", place / "y_organ.nii.gz", "-o", tmp_path / "out"]
    found = run(place, *words)
    assert found.exit_code == 0, found.output
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["preset"] == "ct-lung" and result["system"] == "discrete"
    assert "; compared by lncc; written to" in " ".join(found.output.split())
    assert result["initial"] == {
        "start": "linear",
        "matrix_lps_mm": [[1, 0, 0, 6], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    }
    assert 0 < result["masks"]["fixed_percent"] < 5 and result["masks"]["moving_percent"] is None
    assert result["optimisation"] == {
        "steps": 2, "similarity": "lncc", "smoothness": 2.0, "spacing_mm": 20.0, "sliding": False, "rigid_parts": 1,
    }  # fmt: skip


def test_a_study_takes_masks_beside_its_scans_and_no_transform(place, tmp_path):
    study = tmp_path / "patient"
    write_image(ball(), study / "venous.nii.gz", np.int16)
    write_image(ball((6, 0, 0)), study / "arterial.nii.gz", np.int16)
    write_image(ball_labels(), study / "venous_mask.nii.gz")
    words = ["align", study, "-o", tmp_path / "out", "--no-rigid", "--no-report", "--system", "rigid"]
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == 0, found.output
    result = json.loads((tmp_path / "out" / "arterial" / "result.json").read_text())
    assert 0 < result["masks"]["fixed_percent"] < 5 and result["masks"]["moving_percent"] is None
    refused = CliRunner().invoke(app, [str(word) for word in [*words, "--initial", place / "near.tfm"]])
    assert refused.exit_code == 1 and "a transform is of one pair" in refused.stderr
