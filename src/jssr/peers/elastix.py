"""elastix (Klein et al. 2010; the package itk-elastix): rigid, affine and B-spline with mutual information, and what
the paper of JRS-Net sets for radiographs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.core.volume import Volume
from jssr.io.itk_elastix import field_of, itk_image, load, modules
from jssr.peers.base import Peer

STAGES = ("rigid", "affine", "bspline")
RESOLUTIONS = 4
GRID_MM = 16.0
GRIDS_2D_MM = (80.0, 40.0, 20.0, 10.0, 5.0)
SHRINK_2D = (4, 3, 2, 1, 1)
FILM_MM = 360.0
"""The longer side of a radiograph whose pixels have no millimetres."""
TUNED_GRID_MM, TUNED_ITERATIONS, TUNED_SAMPLES = 15.0, 1000, 2048
COMMON: dict[str, tuple[str, ...]] = {
    # Without the bending energy of elastix's B-spline map, which took most of the time and crashed at times.
    "Registration": ("MultiResolutionRegistration",),
    "Metric": ("AdvancedMattesMutualInformation",),
    "NumberOfSpatialSamples": ("4096",),
    "AutomaticTransformInitialization": ("false",),
    "RandomSeed": ("1",),
    "WriteResultImage": ("false",),
}


def _run(stages: Sequence[str], fixed: Volume, moving: Volume, start: Affine, threads: int) -> Transform:
    if fixed.grid.ndim == 2:
        return _register_2d(stages, fixed, moving, start, threads)
    settings = [(stage, RESOLUTIONS, GRID_MM, COMMON) for stage in stages]
    return Displacement.from_millimetres(_found(settings, fixed, moving, threads), fixed.grid)


def _run_tuned(fixed: Volume, moving: Volume, start: Affine, threads: int) -> Transform:
    """What elastix's users set for a difficult pair: more iterations, each with random samples of its own."""
    more = {
        **COMMON,
        "MaximumNumberOfIterations": (str(TUNED_ITERATIONS),),
        "ImageSampler": ("RandomCoordinate",),
        "NewSamplesEveryIteration": ("true",),
        "NumberOfSpatialSamples": (str(TUNED_SAMPLES),),
    }
    first = {**more, "AutomaticTransformInitializationMethod": ("GeometricalCenter",)}
    if nominal(fixed.grid) and nominal(moving.grid):
        first["AutomaticTransformInitialization"] = ("true",)
    settings = [(stage, RESOLUTIONS, TUNED_GRID_MM, more) for stage in STAGES]
    settings[0] = (STAGES[0], RESOLUTIONS, TUNED_GRID_MM, first)
    return Displacement.from_millimetres(_found(settings, fixed, moving, threads), fixed.grid)


def nominal(grid: Grid) -> bool:
    """Whether a grid begins at the origin of its frame, to a voxel: its place in the scanner was lost."""
    return bool((np.abs(grid.origin) <= grid.spacing * (1 + 1e-3)).all())


def _register_2d(stages: Sequence[str], fixed: Volume, moving: Volume, start: Affine, threads: int) -> Transform:
    """The paper's settings: affine, then normalised mutual information and B-splines of 80 to 5 mm.

    The moving image is put where `start` has it, and both are given as films of `FILM_MM` where a pixel is of no size.
    """
    side = float((np.array(fixed.grid.shape) * fixed.grid.spacing).max())
    scale = np.diag([FILM_MM / side] * 2 + [1.0]) if (fixed.grid.spacing == 1.0).all() else np.eye(3)
    there = Grid(moving.grid.shape, scale @ np.linalg.inv(start.matrix) @ moving.grid.affine)
    here = Grid(fixed.grid.shape, scale @ fixed.grid.affine)
    y, x = Volume(fixed.data, here), Volume(moving.data, there)
    levels = len(GRIDS_2D_MM)
    splines = {
        "Metric": ("NormalizedMutualInformation",),
        "FinalGridSpacingInPhysicalUnits": (str(GRIDS_2D_MM[-1]),),
        "GridSpacingSchedule": tuple(str(g / GRIDS_2D_MM[-1]) for g in GRIDS_2D_MM for _ in range(2)),
        "ImagePyramidSchedule": tuple(str(s) for s in SHRINK_2D for _ in range(2)),
    }
    settings = [("affine", RESOLUTIONS, GRID_MM, COMMON)]
    if "bspline" in stages:
        settings.append(("bspline", levels, GRIDS_2D_MM[-1], {**COMMON, **splines}))
    field = Displacement.from_millimetres(_found(settings, y, x, threads), here)
    return Chain(Displacement(field.u, fixed.grid), start)


def _found(
    settings: Sequence[tuple[str, int, float, dict[str, tuple[str, ...]]]], fixed: Volume, moving: Volume, threads: int
) -> NDArray[np.float64]:
    """Run elastix with one parameter map after the other: the displacement, LPS millimetres, (*fixed shape, n)."""
    parameters, registration = modules()
    n = fixed.grid.ndim
    chosen = parameters.elastixParameterObject.New()
    for stage, levels, spacing, more in settings:
        chosen.AddParameterMap({**dict(chosen.GetDefaultParameterMap(stage, levels, spacing)), **more})
    method = getattr(registration, f"itkElastixRegistrationMethodIF{n}IF{n}").New()
    y, x = (itk_image(volume.array, volume.grid) for volume in (fixed, moving))
    method.SetFixedImage(y)
    method.SetMovingImage(x)
    method.SetParameterObject(chosen)
    method.SetLogToConsole(False)
    method.SetNumberOfThreads(threads)
    method.UpdateLargestPossibleRegion()
    return field_of(method.GetTransformParameterObject(), x, n)


class Elastix(Peer):
    """A peer of the core."""

    def load(self) -> None:
        load()


def _peer(name: str, settings: str, count: int) -> Peer:
    return Elastix(name, settings, partial(_run, STAGES[:count]), package="itk-elastix", dims=(2, 3))


PEERS = (
    _peer(
        "elastix",
        f"its default parameter maps {', '.join(STAGES)} with mutual information alone, {RESOLUTIONS} resolutions, "
        f"4096 samples, final grid of {GRID_MM:g} mm; radiographs: affine, then B-splines of 80 to 5 mm by normalised "
        "mutual information (Mahapatra et al. 2018)",
        3,
    ),
    Elastix(
        "elastix-tuned",
        f"{', '.join(STAGES)} with mutual information alone, {RESOLUTIONS} resolutions of {TUNED_ITERATIONS} "
        f"iterations, each with {TUNED_SAMPLES} random coordinates of its own, final grid of {TUNED_GRID_MM:g} mm; "
        "centre on centre first where both scans begin at the origin of their frame, which says that the frames are "
        "nominal",
        _run_tuned,
        package="itk-elastix",
    ),
    _peer("affine", "elastix's default parameter maps rigid and affine, likewise", 2),
)
