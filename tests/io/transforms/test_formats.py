"""Transforms of other programs against those programs themselves, or a second library (nitransforms)."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nitransforms.io.fsl import FSLLinearTransform
from typer.testing import CliRunner

from jssr.cli import app
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Chain, Displacement
from jssr.core.volume import volume_of
from jssr.errors import OutputError, TransformError
from jssr.io import formats
from jssr.io.images import write_image
from jssr.io.itk_elastix import itk_image, modules
from jssr.io.transforms import (
    MATRIX_WRITERS,
    READERS,
    WRITERS,
    Images,
    fsl,
    niftyreg,
    read_any,
    read_transform,
    write_affine,
    write_any,
    write_displacement,
)
from jssr.io.transforms.base import write_matrix
from jssr.io.transforms.recognise import format_of

TILT = np.array([[0.0, -1.0, 0.0], [0.96, 0.0, -0.28], [0.28, 0.0, 0.96]])
FIXED = Grid.of((9, 8, 7), (2.0, 2.5, 3.0), (-7, 5, 11), TILT)
MOVING = Grid.of((6, 9, 8), (3.0, 2.0, 2.0), (4, -9, 2), np.diag([-1.0, 1.0, 1.0]))
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def some_affine() -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.98, 0.1, 0.02], [-0.12, 1.03, 0.05], [0.01, -0.04, 0.97]]
    matrix[:3, 3] = 3, -7, 5
    return Affine(matrix)


def points(count: int = 40) -> np.ndarray:
    return FIXED.world(np.random.default_rng(0).uniform(0.5, 5.5, (count, 3)))


def image(grid: Grid, path: Path) -> Path:
    write_image(volume_of(np.random.default_rng(0).uniform(size=grid.shape).astype(np.float32), grid), path)
    return path


def run(*words: object, code: int = 0) -> str:
    said = CliRunner().invoke(app, [str(w) for w in words])
    assert said.exit_code == code, said.output + said.stderr
    return said.stderr


@pytest.mark.parametrize("turned", [False, True])
def test_flirt_is_nitransforms(turned: bool, tmp_path: Path) -> None:
    """With voxels that run to the right and to the left: FSL turns x in one case only."""
    fixed, moving = (MOVING, FIXED) if turned else (FIXED, MOVING)
    y, x = image(fixed, tmp_path / "y.nii.gz"), image(moving, tmp_path / "x.nii.gz")
    ours = fsl.flirt_of(some_affine(), fixed, moving)
    # nitransforms holds what pulls: fixed to moving, RAS.
    theirs = FSLLinearTransform.from_ras(RAS @ some_affine().matrix @ RAS, moving=nib.load(x), reference=nib.load(y))
    np.testing.assert_allclose(ours, np.asarray(theirs["parameters"]), atol=1e-4)
    write_matrix(ours, tmp_path / "a.mat")
    run("convert", tmp_path / "a.mat", "--from", "flirt", "--fixed", y, "--moving", x, "-o", tmp_path / "back.tfm")
    np.testing.assert_allclose(read_transform(tmp_path / "back.tfm")(points()), some_affine()(points()), atol=1e-4)


def test_flirt_there_and_back_by_the_command_line(tmp_path: Path) -> None:
    y, x = image(FIXED, tmp_path / "y.nii.gz"), image(MOVING, tmp_path / "x.nii.gz")
    write_affine(some_affine(), tmp_path / "a.tfm")
    run("convert", tmp_path / "a.tfm", "--to", "flirt", "--fixed", y, "--moving", x, "-o", tmp_path / "f.mat")
    np.testing.assert_allclose(np.loadtxt(tmp_path / "f.mat"), fsl.flirt_of(some_affine(), FIXED, MOVING), atol=1e-5)
    said = run("convert", tmp_path / "a.tfm", "--to", "flirt", "-o", tmp_path / "g.mat", code=1)
    assert "--fixed and --moving" in said


def test_niftyreg_matrices_are_ras(tmp_path: Path) -> None:
    niftyreg.write_niftyreg(some_affine(), tmp_path / "a.txt", Images())
    p = np.array([1.0, 2.0, 3.0])
    ras = np.loadtxt(tmp_path / "a.txt") @ [-1.0, -2.0, 3.0, 1.0]
    assert (ras[:3] * [-1, -1, 1]).tolist() == pytest.approx(some_affine()(p).tolist())
    run("convert", tmp_path / "a.txt", "--from", "niftyreg", "-o", tmp_path / "b.tfm")
    np.testing.assert_allclose(read_transform(tmp_path / "b.tfm")(p), some_affine()(p), atol=1e-6)


@pytest.mark.parametrize("kind", [0, 1])
def test_niftyreg_fields_are_positions_or_shifts_in_ras(kind: int, tmp_path: Path) -> None:
    index = np.stack(np.meshgrid(*[np.arange(s) for s in FIXED.shape], indexing="ij"), axis=-1)
    at = FIXED.world(index)
    vectors = some_affine()(at) - (at if kind else 0)
    made = nib.Nifti1Image((vectors * [-1, -1, 1]).astype(np.float32)[:, :, :, None], RAS @ FIXED.affine)
    made.header["intent_code"], made.header["intent_name"], made.header["intent_p1"] = 1007, b"NREG_TRANS", kind
    nib.save(made, tmp_path / "field.nii.gz")
    assert format_of(tmp_path / "field.nii.gz") == "niftyreg"
    run("convert", tmp_path / "field.nii.gz", "-o", tmp_path / "ours.nii.gz")
    np.testing.assert_allclose(read_transform(tmp_path / "ours.nii.gz")(points()), some_affine()(points()), atol=2e-3)


def test_niftyreg_splines_are_refused(tmp_path: Path) -> None:
    made = nib.Nifti1Image(np.zeros((4, 4, 4, 1, 3), np.float32), np.eye(4))
    made.header["intent_code"], made.header["intent_name"], made.header["intent_p1"] = 1007, b"NREG_TRANS", 2
    nib.save(made, tmp_path / "cpp.nii.gz")
    with pytest.raises(TransformError, match="reg_transform -def"):
        read_any(tmp_path / "cpp.nii.gz")


def test_fnirt_shifts_are_in_fsls_millimetres(tmp_path: Path) -> None:
    """A field that says of every voxel what FLIRT's matrix says."""
    y, x = image(FIXED, tmp_path / "y.nii.gz"), image(MOVING, tmp_path / "x.nii.gz")
    back = np.linalg.inv(fsl.flirt_of(some_affine(), FIXED, MOVING))  # fixed to moving millimetres
    index = np.stack(np.meshgrid(*[np.arange(s) for s in FIXED.shape], indexing="ij"), axis=-1).astype(float)
    mm = index * FIXED.spacing
    if np.linalg.det(FIXED.affine[:3, :3]) > 0:
        mm[..., 0] = (FIXED.shape[0] - 1) * FIXED.spacing[0] - mm[..., 0]
    shifts = mm @ back[:3, :3].T + back[:3, 3] - mm
    made = nib.Nifti1Image(shifts.astype(np.float32), RAS @ FIXED.affine)
    made.header["intent_code"] = 2006
    nib.save(made, tmp_path / "warp.nii.gz")
    words = ["--from", "fnirt", "--fixed", y, "--moving", x]
    run("convert", tmp_path / "warp.nii.gz", *words, "-o", tmp_path / "ours.nii.gz")
    np.testing.assert_allclose(read_transform(tmp_path / "ours.nii.gz")(points()), some_affine()(points()), atol=2e-3)


def blobs(grid: Grid, shift: float = 0.0) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(s) for s in grid.shape], indexing="ij"), axis=-1)
    at = grid.world(index) - shift
    return sum(np.exp(-((at - c) ** 2).sum(-1) / 60) for c in ((0, 4, 2), (10, -6, 8), (-8, 2, -6))).astype(np.float32)


def test_elastix_as_elastix_itself_says(tmp_path: Path) -> None:
    """A rigid map and the splines that start from it, as elastix's files, against transformix on points."""
    from itk import itkTransformixFilterPython

    parameters, registration = modules()
    grid = Grid.of((24, 22, 20), 2.0, (-22, -20, -18), TILT)
    y, x = itk_image(blobs(grid), grid), itk_image(blobs(grid, 2.0), grid)
    chosen = parameters.elastixParameterObject.New()
    for stage in ("rigid", "bspline"):
        settings = dict(chosen.GetDefaultParameterMap(stage, 1, 12.0))
        settings["MaximumNumberOfIterations"] = ("20",)
        settings["WriteResultImage"] = ("false",)
        chosen.AddParameterMap(settings)
    method = registration.itkElastixRegistrationMethodIF3IF3.New()
    method.SetFixedImage(y)
    method.SetMovingImage(x)
    method.SetParameterObject(chosen)
    method.SetOutputDirectory(str(tmp_path))
    method.SetLogToConsole(False)
    method.UpdateLargestPossibleRegion()
    assert (tmp_path / "TransformParameters.1.txt").is_file()
    run("convert", tmp_path / "TransformParameters.1.txt", "-o", tmp_path / "ours.nii.gz")
    ours = read_transform(tmp_path / "ours.nii.gz")
    rigid = tmp_path / "TransformParameters.0.txt"
    run("convert", rigid, "-o", tmp_path / "rigid.tfm")
    inner = grid.world(np.random.default_rng(0).integers(3, 17, (12, 3)))
    field_of_rigid = read_transform(rigid)
    np.testing.assert_allclose(read_transform(tmp_path / "rigid.tfm")(inner), field_of_rigid(inner), atol=2e-3)
    assert np.abs(field_of_rigid(inner) - inner).max() > 0.1
    field = sitk.ReadImage(str(tmp_path / "ours.nii.gz"))
    assert field.GetSize() == (24, 22, 20)
    marks = grid.world(np.random.default_rng(1).integers(3, 17, (12, 3)))
    listed = "\n".join(" ".join(f"{v:.6f}" for v in p) for p in marks)
    (tmp_path / "points.txt").write_text(f"point\n{len(marks)}\n{listed}\n")
    apply = itkTransformixFilterPython.itkTransformixFilterIF3.New()
    apply.SetMovingImage(x)
    apply.SetTransformParameterObject(method.GetTransformParameterObject())
    apply.SetFixedPointSetFileName(str(tmp_path / "points.txt"))
    apply.SetOutputDirectory(str(tmp_path))
    apply.SetLogToConsole(False)
    apply.UpdateLargestPossibleRegion()
    theirs = [
        [float(v) for v in line.split("OutputPoint = [")[1].split("]")[0].split()]
        for line in (tmp_path / "outputpoints.txt").read_text().splitlines()
    ]
    np.testing.assert_allclose(ours(marks), theirs, atol=5e-3)
    assert np.abs(np.array(theirs) - marks).max() > 0.5


def test_antss_warp_and_affine_become_one_field(tmp_path: Path) -> None:
    """The order that ANTs applies: a point goes through the warp first."""
    u = np.random.default_rng(2).normal(0, 1.0, (*FIXED.shape, 3))
    warp = Displacement.from_millimetres(u, FIXED)
    write_displacement(warp, tmp_path / "1Warp.nii.gz")
    write_affine(some_affine(), tmp_path / "0GenericAffine.mat")
    run("convert", tmp_path / "1Warp.nii.gz", tmp_path / "0GenericAffine.mat", "-o", tmp_path / "whole.nii.gz")
    at = FIXED.world(np.random.default_rng(0).integers(0, 7, (30, 3)))
    np.testing.assert_allclose(read_transform(tmp_path / "whole.nii.gz")(at), Chain(warp, some_affine())(at), atol=2e-3)
    run("convert", tmp_path / "1Warp.nii.gz", tmp_path / "0GenericAffine.mat", "-o", tmp_path / "whole.h5")
    np.testing.assert_allclose(read_transform(tmp_path / "whole.h5")(at), Chain(warp, some_affine())(at), atol=2e-3)
    said = run("convert", tmp_path / "1Warp.nii.gz", "-o", tmp_path / "no.mat", code=1)
    assert "this transform bends" in said


def test_matrices_are_multiplied_and_turned_round(tmp_path: Path) -> None:
    shift = np.eye(4)
    shift[:3, 3] = 1, 2, 3
    write_affine(some_affine(), tmp_path / "a.tfm")
    write_affine(Affine(shift), tmp_path / "b.tfm")
    run("convert", tmp_path / "a.tfm", tmp_path / "b.tfm", "--inverse", "-o", tmp_path / "c.tfm")
    there = some_affine()(points()) + [1, 2, 3]
    np.testing.assert_allclose(read_transform(tmp_path / "c.tfm")(there), points(), atol=1e-6)
    y = image(FIXED, tmp_path / "y.nii.gz")
    run("convert", tmp_path / "a.tfm", "--fixed", y, "-o", tmp_path / "field.nii.gz")
    np.testing.assert_allclose(read_transform(tmp_path / "field.nii.gz")(points()), some_affine()(points()), atol=2e-3)
    assert "name the image" in run("convert", tmp_path / "a.tfm", "-o", tmp_path / "x.nii.gz", code=1)


def test_what_is_no_transform_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_text("1 2 3\n")
    y, x = image(FIXED, tmp_path / "y.nii.gz"), image(MOVING, tmp_path / "x.nii.gz")
    words = ["--from", "flirt", "--fixed", y, "--moving", x, "-o", tmp_path / "o.tfm"]
    assert "no invertible 4 x 4" in run("convert", tmp_path / "a.mat", *words, code=1)
    assert "no such file" in run("convert", tmp_path / "none.mat", *words, code=1)
    lines = (
        '(Transform "EulerTransform")',
        '(InitialTransformParametersFileName "gone.txt")',
        "(TransformParameters 0 0)",
    )
    (tmp_path / "e.txt").write_text("\n".join(lines))
    said = run("convert", tmp_path / "e.txt", "-o", tmp_path / "o.nii.gz", code=1)
    assert "starts from a file that is not there" in said


UPRIGHT = Grid.of((9, 8, 7), (2.0, 2.5, 3.0), (-7, 5, 11), np.diag([-1.0, 1.0, 1.0]))


@pytest.mark.parametrize("name", formats.FORMATS_WRITTEN)
def test_what_is_written_is_read_again(name: str, tmp_path: Path) -> None:
    """Every format that is written, by its entry alone."""
    path = tmp_path / ("a.txt" if name in ("niftyreg", "elastix") else "a.mat")
    images = Images(UPRIGHT, UPRIGHT) if name == "afni" else Images(FIXED, MOVING)
    at = images.fixed.world(np.random.default_rng(0).uniform(0.5, 5.5, (40, 3)))
    write_any(some_affine(), path, name, images)
    np.testing.assert_allclose(read_any(path, name, images)(at), some_affine()(at), atol=1e-5)
    bent = np.random.default_rng(3).normal(0, 1.0, (*FIXED.shape, 3))
    if name in MATRIX_WRITERS or name == "itk":
        with pytest.raises((TransformError, OutputError), match="transform bends"):
            write_any(Displacement.from_millimetres(bent, FIXED), path, name, images)
        np.testing.assert_allclose(read_any(path, name, images)(at), some_affine()(at), atol=1e-5)  # untouched
    write_any(some_affine().displacement(images.fixed), path, name, images)  # a field that does not bend is a matrix
    np.testing.assert_allclose(read_any(path, name, images)(at), some_affine()(at), atol=2e-3)


def test_one_file_names_its_format(tmp_path: Path) -> None:
    """Files of several programs in one chain, and in warp."""
    y, x = image(FIXED, tmp_path / "y.nii.gz"), image(MOVING, tmp_path / "x.nii.gz")
    write_any(some_affine(), tmp_path / "g.mat", "greedy")
    write_any(some_affine(), tmp_path / "n.txt", "niftyreg")
    chain = [f"greedy:{tmp_path / 'g.mat'}", f"niftyreg:{tmp_path / 'n.txt'}"]
    run("convert", *chain, "--inverse", "-o", tmp_path / "two.tfm")
    there = some_affine()(some_affine()(points()))
    np.testing.assert_allclose(read_transform(tmp_path / "two.tfm")(there), points(), atol=1e-5)
    write_any(some_affine(), tmp_path / "f.mat", "flirt", Images(FIXED, MOVING))
    for name, given in (("a", f"flirt:{tmp_path / 'f.mat'}"), ("b", chain[0])):
        run("warp", x, "--transform", given, "--reference", y, "-o", tmp_path / f"{name}.nii.gz")
    a, b = (nib.load(tmp_path / f"{name}.nii.gz").get_fdata() for name in "ab")
    np.testing.assert_allclose(a, b, atol=1e-4)
    assert a.std() > 0.01


def test_formats_and_their_words_are_one_registry(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/reference/transforms.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines()]
    documented = {row[1].strip("`"): row for row in rows if len(row) == 10 and row[1].startswith("`")}
    help_text = "".join(CliRunner().invoke(app, ["convert", "--help"]).output.split())  # lines break at a hyphen
    for name in formats.FORMATS_READ[1:]:
        assert name in READERS and name in help_text
        written = name == "itk" or name in MATRIX_WRITERS or name in WRITERS
        assert written == bool(documented[name][4]) == (name in formats.FORMATS_WRITTEN)
    (tmp_path / "a.txt").write_text("1")
    assert "did you mean 'flirt'" in run("convert", tmp_path / "a.txt", "--from", "flrt", "-o", "b.tfm", code=1)
    assert "did you mean 'niftyreg'" in run("convert", tmp_path / "a.txt", "--to", "niftireg", "-o", "b.tfm", code=1)
