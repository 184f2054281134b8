"""Transforms of other programs against these programs themselves: `python benchmarks/transform_matrix.py [TOOL ...]`.

Prints a Markdown table: tool, version, file, direction (read: the tool's file by jssr; written: ours by the tool)
and the largest distance in mm between where jssr and the tool put the voxel centres of the fixed image, inside the
field. Fixed and moving image are oblique, anisotropic and of different shapes; AFNI takes upright ones. A tool maps
points itself, or pulls three images whose values are the moving space's coordinates. Tools that are not installed are
named and left out; SPM's and NiftyReg's files are also made by their documented definition.

Tools: pip install antspyx picsl-greedy picsl-c3d itk-elastix nitransforms fslpy, and Debian's minc-tools, plastimatch;
NiftyReg by CMAKE_POLICY_VERSION_MINIMUM=3.5 pip install niftyreg.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

import jssr
from jssr.core.bridges import to_nibabel
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.io.transforms.base import FLIP, RAS, indices
from jssr.io.transforms.fsl import _millimetres

Array = np.ndarray
Row = tuple[str, str, str, Array, Array]
"""File, direction, how the tool was run, what it found, what jssr found."""


def turn(x: float, y: float, z: float) -> Array:
    """A rotation from angles in degrees."""
    return np.array(sitk.Euler3DTransform((0, 0, 0), *np.radians([x, y, z])).GetMatrix()).reshape(3, 3)


FIXED = Grid.of((24, 22, 20), (2.0, 2.5, 3.0), (-30, 12, 40), turn(20, -15, 35))
MOVING = Grid.of((34, 36, 30), (1.9, 2.2, 2.7), (-48, 5, 22), turn(-12, 8, 20) @ np.diag([-1.0, 1.0, 1.0]))
UPRIGHT = Grid.of((24, 22, 20), (2.0, 2.5, 3.0), (-30, 12, 40), np.diag([-1.0, -1.0, 1.0]))
UPRIGHT_MOVING = Grid.of((38, 36, 32), (1.9, 2.2, 2.7), (-66, 20, 30), np.diag([1.0, -1.0, 1.0]))


def centred(fixed: Grid, moving: Grid) -> Grid:
    """The moving grid shifted so that the centres are 9 mm apart."""
    affine = moving.affine.copy()
    affine[:3, 3] += fixed.centre - moving.centre + [4, -6, 5]
    return Grid(moving.shape, affine)


MOVING, UPRIGHT_MOVING = centred(FIXED, MOVING), centred(UPRIGHT, UPRIGHT_MOVING)


def affine_between(fixed: Grid, moving: Grid) -> Affine:
    """A rotation, scaling and shear about the centres, and a shift."""
    linear = turn(6, -4, 9) @ np.array([[1.05, 0.03, 0], [0, 0.96, -0.02], [0, 0, 1.02]])
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = linear, moving.centre - [1.0, -1.5, 2.0] - linear @ fixed.centre
    return Affine(out)


AFFINE = affine_between(FIXED, MOVING)
AT = FIXED.world(indices(FIXED))
INNER = (slice(3, -3),) * 3


def waves(grid: Grid) -> Displacement:
    """Smooth shifts of up to 3 mm along each axis."""
    at = grid.world(indices(grid)) - grid.centre
    u = [3 * np.sin(at[..., (k + 1) % 3] / 11 + k) * np.cos(at[..., k] / 14) for k in range(3)]
    return Displacement.from_millimetres(np.stack(u, axis=-1), grid)


WARP = waves(FIXED)
BENT = Chain(WARP, AFFINE)


class Lab:
    """A folder with both images and the coordinates of the moving space."""

    def __init__(self, folder: Path, fixed: Grid = FIXED, moving: Grid = MOVING) -> None:
        self.folder, self.fixed_grid, self.moving_grid = folder, fixed, moving
        folder.mkdir(exist_ok=True)
        self.fixed, self.moving = folder / "fixed.nii.gz", folder / "moving.nii.gz"
        at = moving.world(indices(moving))
        nib.save(to_nibabel(blobs(fixed, fixed.centre), fixed), self.fixed)
        nib.save(to_nibabel(blobs(moving, moving.centre), moving), self.moving)
        self.axes = [folder / f"axis{k}.nii.gz" for k in range(3)]
        for k, file in enumerate(self.axes):
            nib.save(to_nibabel(at[..., k].astype(np.float32), moving), file)

    def path(self, name: str) -> Path:
        return self.folder / name

    def pulled(self, run: Callable[[Path, Path], object]) -> Array:
        """Where the fixed voxels land, by a tool that pulls an image: `run(moving, out)`."""
        found = []
        for k, file in enumerate(self.axes):
            out = self.path(f"pulled{k}.nii.gz")
            run(file, out)
            found.append(np.asarray(nib.load(out).dataobj, dtype=np.float64).reshape(self.fixed_grid.shape))
        return np.stack(found, axis=-1)

    def read(self, *files: Path | str, of: str = "auto") -> Array:
        """Where jssr puts the fixed voxels."""
        found = jssr.convert(list(files), written_by=of, fixed=self.fixed, moving=self.moving)
        return found(self.fixed_grid.world(indices(self.fixed_grid)))

    def write(self, transform: Transform, name: str, to: str = "itk") -> Path:
        """A transform as jssr writes it."""
        jssr.convert(transform, to=to, fixed=self.fixed, moving=self.moving, out=self.path(name))
        return self.path(name)


def blobs(grid: Grid, centre: Array) -> Array:
    """An image to register."""
    at = grid.world(indices(grid)) - centre
    spots = ((0, 4, 2), (12, -9, 8), (-11, 5, -9), (4, 12, -6), (-8, -10, 6))
    return sum(np.exp(-((at - c) ** 2).sum(-1) / 60) for c in spots).astype(np.float32)  # type: ignore[return-value]


def by_itk(transform: sitk.Transform, at: Array = AT) -> Array:
    flat = [transform.TransformPoint(p.tolist()) for p in at.reshape(-1, 3)]
    return np.array(flat).reshape(at.shape)


def itk(lab: Lab) -> Iterator[Row]:
    """SimpleITK: its files and ours."""
    both = {"affine": AFFINE, "field": WARP, "field and affine": BENT}
    spline = sitk.BSplineTransformInitializer(sitk.ReadImage(str(lab.fixed)), [5, 4, 4])
    spline.SetParameters(np.random.default_rng(0).uniform(-4, 4, len(spline.GetParameters())).tolist())
    files = {"affine": ("tfm", "txt", "mat", "h5"), "field": ("tfm", "h5"), "field and affine": ("tfm", "h5", "hdf5")}
    for name, endings in files.items():
        for ending in endings:
            made = both[name].sitk()
            sitk.WriteTransform(made, str(lab.path(f"a.{ending}")))
            yield f"{name}, .{ending}", "read", "points", by_itk(made), lab.read(lab.path(f"a.{ending}"))
            ours = sitk.ReadTransform(str(lab.write(both[name], f"b.{ending}")))
            yield f"{name}, .{ending}", "written", "points", by_itk(ours), both[name](AT)
    for made, name in ((spline, "B-spline"), (sitk.CompositeTransform([AFFINE.sitk(), spline]), "B-spline and affine")):
        sitk.WriteTransform(made, str(lab.path("s.h5")))
        yield f"{name}, .h5", "read", "points", by_itk(made), lab.read(lab.path("s.h5"))
    for ending in ("nii.gz", "nrrd", "mha"):
        image = WARP.sitk().GetDisplacementField()
        sitk.WriteImage(image, str(lab.path(f"f.{ending}")))
        yield f"field, .{ending}", "read", "points", by_itk(WARP.sitk()), lab.read(lab.path(f"f.{ending}"))
        ours = sitk.ReadImage(str(lab.write(BENT, f"g.{ending}")), sitk.sitkVectorFloat64)
        yield f"field, .{ending}", "written", "points", by_itk(sitk.DisplacementFieldTransform(ours)), BENT(AT)
    made = nib.Nifti1Image((WARP.millimetres() * FLIP)[:, :, :, None], RAS @ FIXED.affine)
    made.header.set_intent(1006)
    nib.save(made, lab.path("d.nii.gz"))
    theirs = sitk.DisplacementFieldTransform(sitk.ReadImage(str(lab.path("d.nii.gz")), sitk.sitkVectorFloat64))
    yield "field, .nii.gz, intent 1006", "read", "points", by_itk(theirs), lab.read(lab.path("d.nii.gz"))


def elastix(lab: Lab) -> Iterator[Row]:
    """elastix by transformix: fields that it makes of parameter files."""
    from jssr.io.itk_elastix import field_of, itk_image, modules
    from jssr.io.transforms.elastix import _parsed

    def theirs(*files: Path) -> Array:
        chosen = modules()[0].elastixParameterObject.New()
        for file in files:
            chosen.AddParameterMap(_parsed(file))
        return AT + field_of(chosen, itk_image(np.zeros(MOVING.shape), MOVING), 3)

    affine, bent = lab.write(AFFINE, "affine.txt", "elastix"), lab.write(BENT, "bent.txt", "elastix")
    yield "AffineTransform", "written", "transformix", theirs(affine), AFFINE(AT)
    yield "DeformationFieldTransform", "written", "transformix", theirs(bent), BENT(AT)
    yield "AffineTransform", "read", "transformix", theirs(affine), lab.read(affine)
    yield "DeformationFieldTransform", "read", "transformix", theirs(bent), lab.read(bent)
    lab.write(AFFINE, "a.tfm")
    lab.path("file.txt").write_text('(Transform "File")\n(TransformFileName "a.tfm")\n')
    yield 'Transform "File", affine', "read", "points", by_itk(AFFINE.sitk()), lab.read(lab.path("file.txt"))
    yield from _elastix_run(lab, modules, itk_image)


def _elastix_run(lab: Lab, modules: Callable, itk_image: Callable) -> Iterator[Row]:
    """Splines that start from a composite of ITK, as 3D Slicer runs elastix: against points by transformix."""
    from itk import itkTransformixFilterPython

    parameters, registration = modules()
    near = Affine(np.eye(4) + np.pad((MOVING.centre - FIXED.centre)[:, None], ((0, 1), (3, 0))))
    lab.write(near, "start.tfm")
    lab.path("start.txt").write_text(f'(Transform "File")\n(TransformFileName "{lab.path("start.tfm")}")\n')
    chosen = parameters.elastixParameterObject.New()
    settings = dict(chosen.GetDefaultParameterMap("bspline", 1, 14.0))
    chosen.AddParameterMap({**settings, "MaximumNumberOfIterations": ("30",), "WriteResultImage": ("false",)})
    method = registration.itkElastixRegistrationMethodIF3IF3.New()
    images = [itk_image(blobs(g, g.centre), g) for g in (FIXED, MOVING)]
    method.SetFixedImage(images[0])
    method.SetMovingImage(images[1])
    method.SetParameterObject(chosen)
    method.SetInitialTransformParameterFileName(str(lab.path("start.txt")))
    method.SetOutputDirectory(str(lab.folder))
    method.SetLogToConsole(False)
    method.UpdateLargestPossibleRegion()
    marks = AT[INNER][::3, ::3, ::3].reshape(-1, 3)
    listed = "\n".join(" ".join(f"{v:.6f}" for v in p) for p in marks)
    lab.path("points.txt").write_text(f"point\n{len(marks)}\n{listed}\n")
    apply = itkTransformixFilterPython.itkTransformixFilterIF3.New()
    apply.SetMovingImage(images[1])
    apply.SetTransformParameterObject(method.GetTransformParameterObject())
    apply.SetFixedPointSetFileName(str(lab.path("points.txt")))
    apply.SetOutputDirectory(str(lab.folder))
    apply.SetLogToConsole(False)
    apply.UpdateLargestPossibleRegion()
    lines = lab.path("outputpoints.txt").read_text().splitlines()
    found = np.array([[float(v) for v in line.split("OutputPoint = [")[1].split("]")[0].split()] for line in lines])
    ours = jssr.convert(lab.path("TransformParameters.0.txt"))(marks)
    yield 'BSplineTransform after Transform "File"', "read", "transformix", found, ours


def ants(lab: Lab) -> Iterator[Row]:
    """ANTs: its own registration, and our files, by antsApplyTransforms."""
    import ants as tool

    fixed = tool.image_read(str(lab.fixed))

    def apply(*files: Path | str) -> Array:
        def run(moving: Path, out: Path) -> None:
            named = [str(f) for f in files]
            tool.image_write(tool.apply_transforms(fixed, tool.image_read(str(moving)), named), str(out))

        return lab.pulled(run)

    made = tool.registration(
        fixed, tool.image_read(str(lab.moving)), "SyNAggro", outprefix=f"{lab.folder}/ants", reg_iterations=(20, 10)
    )["fwdtransforms"]
    yield "0GenericAffine.mat", "read", "images", apply(made[1]), lab.read(made[1])
    yield "1Warp.nii.gz, 0GenericAffine.mat", "read", "images", apply(*made), lab.read(*made)
    for name in ("affine.mat", "affine.tfm"):
        yield name, "written", "images", apply(lab.write(AFFINE, name)), AFFINE(AT)
    for name in ("field.nii.gz", "composite.h5"):
        yield name, "written", "images", apply(lab.write(BENT, name)), BENT(AT)


def greedy(lab: Lab) -> Iterator[Row]:
    """greedy: its own registration, and our files."""
    from picsl_greedy import Greedy3D

    def call(words: str) -> None:
        Greedy3D().execute(f"-V 0 -threads 1 {words}", out=StringIO(), err=StringIO())

    def apply(*files: Path) -> Array:
        named = " ".join(str(f) for f in files)
        return lab.pulled(lambda m, o: call(f"-rf {lab.fixed} -rt float -rm {m} {o} -r {named}"))

    pair = f"-i {lab.fixed} {lab.moving}"
    matrix, warp = lab.path("greedy.mat"), lab.path("warp.nii.gz")
    call(f"{pair} -a -dof 12 -ia-image-centers -m SSD -n 30x20 -o {matrix}")
    call(f"{pair} -m SSD -n 20x10 -it {matrix} -o {warp}")
    yield "matrix", "read", "images", apply(matrix), lab.read(f"greedy:{matrix}")
    yield "warp and matrix", "read", "images", apply(warp, matrix), lab.read(warp, f"greedy:{matrix}")
    yield "matrix", "written", "images", apply(lab.write(AFFINE, "ours.mat", "greedy")), AFFINE(AT)
    yield "field", "written", "images", apply(lab.write(BENT, "ours.nii.gz")), BENT(AT)


def c3d(lab: Lab) -> Iterator[Row]:
    """Convert3D, of ITK-SNAP's makers: `-reslice-matrix` takes the matrix that ITK-SNAP writes."""
    from picsl_c3d import Convert3D

    def run(matrix: Path) -> Array:
        def pull(m: Path, o: Path) -> None:
            Convert3D().execute(f"{lab.fixed} {m} -reslice-matrix {matrix} -o {o}", out=StringIO(), err=StringIO())

        return lab.pulled(pull)

    ours = lab.write(AFFINE, "snap.txt", "greedy")
    yield "matrix", "written", "images", run(ours), AFFINE(AT)
    yield "matrix", "read", "images", run(ours), lab.read(ours, of="greedy")


def fsl(lab: Lab) -> Iterator[Row]:
    """fslpy, of FSL's makers: FLIRT's matrix, FNIRT's fields and coefficients."""
    from fsl.data.image import Image
    from fsl.transform import affine as fa
    from fsl.transform import fnirt
    from fsl.transform.flirt import fromFlirt, toFlirt

    moving, fixed = Image(str(lab.moving)), Image(str(lab.fixed))
    ras = AT.reshape(-1, 3) * FLIP

    def world(points: Array) -> Array:
        return np.asarray(points).reshape(AT.shape) * FLIP

    matrix = toFlirt(RAS @ np.linalg.inv(AFFINE.matrix) @ RAS, moving, fixed, "world", "world")
    np.savetxt(lab.path("theirs.mat"), matrix)
    yield "FLIRT matrix", "read", "points", AFFINE(AT), lab.read(lab.path("theirs.mat"), of="flirt")
    ours = np.loadtxt(lab.write(AFFINE, "ours.mat", "flirt"))
    back = fromFlirt(ours, moving, fixed, "world", "world")
    yield "FLIRT matrix", "written", "points", world(fa.transform(ras, fa.invert(back))), AFFINE(AT)
    here = Affine(_millimetres(FIXED))(indices(FIXED))
    there = Affine(_millimetres(MOVING) @ np.linalg.inv(MOVING.affine))(BENT(AT))
    for kind, vectors in (("relative", there - here), ("absolute", there)):
        for intent in (2006, 1006):
            made = nib.Nifti1Image(vectors.astype(np.float32), RAS @ FIXED.affine)
            made.header["intent_code"] = intent
            nib.save(made, lab.path("fnirt.nii.gz"))
            field = fnirt.readFnirt(str(lab.path("fnirt.nii.gz")), moving, fixed, defType=kind, intent=2006)
            theirs = world(field.transform(ras, "world", "world"))
            for of in ("fnirt", f"fnirt-{kind}"):
                found = lab.read(lab.path("fnirt.nii.gz"), of=of)
                yield f"FNIRT field, {kind}, intent {intent}, --from {of}", "read", "points", theirs, found
    made = _coefficients(lab, matrix)
    field = fnirt.readFnirt(str(made), moving, fixed)
    theirs = world(field.transform(ras, "world", "world"))
    yield "FNIRT coefficients with a matrix", "read", "points", theirs, lab.read(made)


def _coefficients(lab: Lab, before: Array) -> Path:
    """Cubic coefficients as FNIRT writes them (fslpy, `toFnirt`)."""
    knots = [int(np.ceil((s + 1) / 4)) + 3 for s in FIXED.shape]
    values = np.random.default_rng(1).uniform(-3, 3, (*knots, 3)).astype(np.float32)
    made = nib.Nifti1Image(values, None)
    made.header["intent_code"] = 2007
    for axis in range(3):
        made.header[f"intent_p{axis + 1}"] = FIXED.spacing[axis]
    made.header.set_zooms([4, 4, 4, 1])
    qform = np.diag([4.0, 4, 4, 1])
    qform[:3, 3] = FIXED.shape
    made.set_sform(before, 1)
    made.set_qform(qform, 1)
    nib.save(made, lab.path("coef.nii.gz"))
    return lab.path("coef.nii.gz")


def nitransforms(lab: Lab) -> Iterator[Row]:
    """nitransforms: ITK's, FSL's and AFNI's matrices, fields, and X5."""
    from nitransforms.io.x5 import to_filename
    from nitransforms.linear import Affine as Linear
    from nitransforms.linear import load
    from nitransforms.nonlinear import DenseFieldTransform

    ras = AT.reshape(-1, 3) * FLIP
    theirs = Linear(RAS @ AFFINE.matrix @ RAS, reference=lab.fixed)
    for of in ("itk", "fsl"):
        theirs.to_filename(lab.path(f"{of}.txt"), fmt=of, moving=lab.moving)
        name = {"fsl": "flirt"}.get(of, of)
        found = lab.read(lab.path(f"{of}.txt"), of=name)
        yield f"{name} matrix", "read", "points", (theirs.map(ras) * FLIP).reshape(AT.shape), found
        ours = lab.write(AFFINE, f"{of}.tfm", name)
        back = load(ours, fmt=of, reference=lab.fixed, moving=lab.moving)
        yield f"{name} matrix", "written", "points", (back.map(ras) * FLIP).reshape(AT.shape), AFFINE(AT)
    theirs.to_filename(lab.path("linear.x5"), fmt="X5")
    yield "X5, linear", "read", "points", (theirs.map(ras) * FLIP).reshape(AT.shape), lab.read(lab.path("linear.x5"))
    back = Linear.from_filename(lab.write(AFFINE, "ours.x5"), fmt="X5")
    yield "X5, linear", "written", "points", (back.map(ras) * FLIP).reshape(AT.shape), AFFINE(AT)
    bent = BENT.displacement(FIXED)
    dense = DenseFieldTransform(nib.Nifti1Image(bent.millimetres() * FLIP, RAS @ FIXED.affine), is_deltas=True)
    to_filename(lab.path("dense.x5"), [dense.to_x5()])
    yield "X5, field", "read", "points", (dense.map(ras) * FLIP).reshape(AT.shape), lab.read(lab.path("dense.x5"))
    back = DenseFieldTransform.from_filename(lab.write(BENT, "field.x5"), fmt="X5")
    yield "X5, field", "written", "points", (back.map(ras) * FLIP).reshape(AT.shape), BENT(AT)
    yield from _afni(Lab(lab.folder / "upright", UPRIGHT, UPRIGHT_MOVING), load)


def _afni(lab: Lab, load: Callable) -> Iterator[Row]:
    affine = affine_between(UPRIGHT, UPRIGHT_MOVING)
    at = UPRIGHT.world(indices(UPRIGHT))
    ours = lab.write(affine, "ours.aff12.1D", "afni")
    back = load(ours, fmt="afni", reference=lab.fixed, moving=lab.moving)
    yield "AFNI matrix", "written", "points", (back.map(at.reshape(-1, 3) * FLIP) * FLIP).reshape(at.shape), affine(at)
    back.to_filename(lab.path("theirs.1D"), fmt="afni", moving=lab.moving)
    yield "AFNI matrix", "read", "points", affine(at), lab.read(lab.path("theirs.1D"), of="afni")


def minc(lab: Lab) -> Iterator[Row]:
    """MINC's mincresample: linear and inverted grid transforms; images by SimpleITK, checked against nibabel."""

    def mnc(file: Path) -> Path:
        out = file.with_name(file.name.replace(".nii.gz", ".mnc"))
        plain = out.with_suffix(".nii")
        nib.save(nib.load(file), plain)
        _quietly("nii2mnc", plain, out.with_suffix(".one"))
        _quietly("mincconvert", "-clobber", "-2", out.with_suffix(".one"), out)
        return out

    fixed, axes = mnc(lab.fixed), [mnc(file) for file in lab.axes]

    def run(xfm: Path) -> Array:
        found = []
        for k, axis in enumerate(axes):
            out = lab.path(f"{xfm.stem}{k}.mnc")
            _quietly("mincresample", "-clobber", "-2", "-like", fixed, "-transformation", xfm, axis, out)
            image = nib.load(out)
            place = np.linalg.inv(image.affine) @ RAS @ FIXED.affine  # nibabel's axes are the other way round
            at = np.rint(indices(FIXED) @ place[:3, :3].T + place[:3, 3]).astype(int)
            found.append(np.asarray(image.dataobj)[tuple(np.moveaxis(at, -1, 0))])
        return np.stack(found, axis=-1)

    ours = lab.write(AFFINE, "ours.xfm")
    theirs = run(ours)
    yield ".xfm, linear", "written", "images", theirs, AFFINE(AT)
    yield ".xfm, linear", "read", "images", theirs, lab.read(ours)
    image = WARP.sitk().GetDisplacementField()
    vectors = sitk.GetImageFromArray(sitk.GetArrayFromImage(image) * FLIP, isVector=True)
    flip = np.diag(FLIP)
    vectors.SetSpacing(image.GetSpacing())
    vectors.SetOrigin((flip @ np.array(image.GetOrigin())).tolist())
    vectors.SetDirection((flip @ np.array(image.GetDirection()).reshape(3, 3)).ravel().tolist())
    sitk.WriteImage(vectors, str(lab.path("g_grid_0.mnc")))
    head, grid = "MNI Transform File\n", "Transform_Type = Grid_Transform;\nInvert_Flag = True;\n"
    linear = ours.read_text().partition("\n\n")[2]
    lab.path("g.xfm").write_text(f"{head}\n{linear}{grid}Displacement_Volume = g_grid_0.mnc;\n")
    yield ".xfm, linear and inverted grid", "read", "images", run(lab.path("g.xfm")), lab.read(lab.path("g.xfm"))


def plastimatch(lab: Lab) -> Iterator[Row]:
    """plastimatch: vector fields in MetaImage, ITK's matrices in text."""

    def run(xf: Path) -> Array:
        def pull(m: Path, o: Path) -> None:
            words = ("--input", m, "--fixed", lab.fixed, "--xf", xf, "--output-img", o, "--output-type", "float")
            _quietly("plastimatch", "convert", *words)

        return lab.pulled(pull)

    yield "field, .mha", "written", "images", run(lab.write(BENT, "ours.mha")), BENT(AT)
    yield "affine, .tfm", "written", "images", run(lab.write(AFFINE, "ours.tfm")), AFFINE(AT)
    _quietly(
        "plastimatch", "xf-convert", "--input", lab.path("ours.tfm"), "--output", lab.path("theirs.mha"),
        "--output-type", "vf", "--fixed", lab.fixed,
    )  # fmt: skip
    yield "field, .mha", "read", "points", AFFINE(AT), lab.read(lab.path("theirs.mha"))


def niftyreg(lab: Lab) -> Iterator[Row]:
    """NiftyReg's reg_resample: its fields and our matrix."""
    package = importlib.util.find_spec("niftyreg")
    assert package is not None and package.origin is not None
    program = Path(package.origin).parent / "bin" / "reg_resample"

    def run(file: Path) -> Array:
        words = ("-ref", lab.fixed, "-trans", file, "-inter", "1")
        return lab.pulled(lambda m, o: _quietly(program, *words, "-flo", m, "-res", o))

    for name, kind in (("-def", 0), ("-disp", 1)):
        vectors = (BENT(AT) - AT * kind) * FLIP
        made = nib.Nifti1Image(vectors.astype(np.float32)[:, :, :, None], RAS @ FIXED.affine)
        made.header["intent_code"], made.header["intent_name"], made.header["intent_p1"] = 1007, b"NREG_TRANS", kind
        nib.save(made, lab.path("field.nii.gz"))
        yield f"field, {name}", "read", "images", run(lab.path("field.nii.gz")), lab.read(lab.path("field.nii.gz"))
    ours = lab.write(AFFINE, "reg.txt", "niftyreg")
    theirs = run(ours)
    yield "matrix", "written", "images", theirs, AFFINE(AT)
    yield "matrix", "read", "images", theirs, lab.read(ours, of="niftyreg")


def definitions(lab: Lab) -> Iterator[Row]:
    """SPM (spm_deformations.m, save_def) and NiftyReg (_reg_tools.h): their files by definition."""
    there = BENT(AT) * FLIP
    for name, vectors, label, kind, of in (
        ("SPM y_, Mapping", there, b"Mapping", 0, "auto"),
        ("SPM y_, unnamed", there, b"", 0, "spm"),
        ("NiftyReg -def", there, b"NREG_TRANS", 0, "auto"),
        ("NiftyReg -disp", there - AT * FLIP, b"NREG_TRANS", 1, "auto"),
    ):
        made = nib.Nifti1Image(vectors.astype(np.float32)[:, :, :, None], RAS @ FIXED.affine)
        made.header["intent_code"], made.header["intent_name"], made.header["intent_p1"] = 1007, label, kind
        nib.save(made, lab.path("y.nii"))
        yield name, "read", "definition", BENT(AT), lab.read(lab.path("y.nii"), of=of)
    ours = np.loadtxt(lab.write(AFFINE, "reg.txt", "niftyreg"))
    theirs = (np.c_[AT.reshape(-1, 3) * FLIP, np.ones(AT.size // 3)] @ ours.T)[:, :3] * FLIP
    yield "NiftyReg matrix", "written", "definition", theirs.reshape(AT.shape), AFFINE(AT)


def _quietly(*words: object) -> None:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stderr[-300:] or done.stdout[-300:]}")


TOOLS: dict[str, tuple[Callable[[Lab], Iterator[Row]], str]] = {
    "SimpleITK": (itk, "SimpleITK"),
    "elastix": (elastix, "itk-elastix"),
    "ANTs": (ants, "antspyx"),
    "greedy": (greedy, "picsl-greedy"),
    "c3d": (c3d, "picsl-c3d"),
    "FSL": (fsl, "fslpy"),
    "nitransforms": (nitransforms, "nitransforms"),
    "MINC": (minc, "mincresample"),
    "plastimatch": (plastimatch, "plastimatch"),
    "NiftyReg": (niftyreg, "niftyreg"),
    "definition": (definitions, "numpy"),
}
"""What checks a tool, and its package or its command."""


def version(package: str) -> str | None:
    """That of a package or of a command that is installed, else None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pass
    if shutil.which(package) is None:
        return None
    option = "-version" if package == "mincresample" else "--version"
    done = subprocess.run([package, option], capture_output=True, text=True)
    words = (done.stdout + done.stderr).split()
    return next((w for w in words if w[:1].isdigit()), "?")


HEAD = "| tool | file | direction | compared | largest difference, mm |\n| --- | --- | --- | --- | --- |"


def rows(name: str) -> None:
    """Print one tool's rows."""
    check, package = TOOLS[name]
    shown = name if name == "definition" else f"{name} {version(package)}"
    with tempfile.TemporaryDirectory() as folder:
        for file, direction, how, theirs, ours in check(Lab(Path(folder))):
            off = np.abs((theirs - ours)[INNER if theirs.ndim == 4 else ...])
            print(f"| {shown} | {file} | {direction} | {how} | {off.max():.4f} |", flush=True)


def main(names: list[str]) -> None:
    """Print the table. Each tool has a process of its own: two builds of ITK in one lose their file formats."""
    print(HEAD, flush=True)
    left_out = [name for name in names or TOOLS if version(TOOLS[name][1]) is None]
    for name in names or TOOLS:
        if name not in left_out:
            subprocess.run([sys.executable, __file__, "--rows", name], check=True)
    if left_out:
        print(f"\nNot installed, left out: {', '.join(f'{name} ({TOOLS[name][1]})' for name in left_out)}.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rows"]:
        rows(sys.argv[2])
    elif "--help" in sys.argv or set(sys.argv[1:]) - set(TOOLS):
        sys.exit(f"{__doc__}\nTools: {', '.join(TOOLS)}")
    else:
        main(sys.argv[1:])
