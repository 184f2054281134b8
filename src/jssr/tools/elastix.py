"""elastix (Klein et al. 2010; the package itk-elastix): rigid, affine and B-spline with mutual information."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.transform import Displacement, Transform
from jssr.core.volume import Volume
from jssr.tools.base import Tool, missing

__all__ = ["TOOLS"]

STAGES = ("rigid", "affine", "bspline")
RESOLUTIONS = 4
GRID_MM = 16.0
COMMON = {
    # Without the bending energy of the toolbox's B-spline map, which took most of the time and crashed at times.
    "Registration": ("MultiResolutionRegistration",),
    "Metric": ("AdvancedMattesMutualInformation",),
    "NumberOfSpatialSamples": ("4096",),
    "AutomaticTransformInitialization": ("false",),
    "RandomSeed": ("1",),
    "WriteResultImage": ("false",),
}


def _run(stages: Sequence[str], fixed: Volume, moving: Volume, threads: int) -> Transform:
    # The compiled modules themselves: the package's own import loads all of ITK's templates.
    from itk import elxParameterObjectPython, itkElastixRegistrationMethodPython, itkPyBufferPython

    images = itkPyBufferPython.itkPyBufferIF3
    chosen = elxParameterObjectPython.elastixParameterObject.New()
    for stage in stages:
        settings = dict(chosen.GetDefaultParameterMap(stage, RESOLUTIONS, GRID_MM))
        settings |= COMMON
        chosen.AddParameterMap(settings)
    method = itkElastixRegistrationMethodPython.itkElastixRegistrationMethodIF3IF3.New()
    y, x = _itk(images, fixed), _itk(images, moving)
    method.SetFixedImage(y)
    method.SetMovingImage(x)
    method.SetParameterObject(chosen)
    method.SetLogToConsole(False)
    method.SetNumberOfThreads(threads)
    method.UpdateLargestPossibleRegion()
    with tempfile.TemporaryDirectory() as folder:  # transformix leaves a copy of the field where it is told to, or here
        return Displacement.from_millimetres(_field(method, x, folder), fixed.grid)


def _field(method: Any, x: Any, folder: str) -> NDArray[np.float64]:
    """The displacement of what was found, LPS millimetres, (*fixed shape, 3)."""
    from itk import itkPyBufferPython, itkTransformixFilterPython

    apply = itkTransformixFilterPython.itkTransformixFilterIF3.New()
    apply.SetMovingImage(x)
    apply.SetTransformParameterObject(method.GetTransformParameterObject())
    apply.SetComputeDeformationField(True)
    apply.SetOutputDirectory(folder)
    apply.SetLogToConsole(False)
    apply.UpdateLargestPossibleRegion()
    field = itkPyBufferPython.itkPyBufferIVF33.GetArrayFromImage(apply.GetOutputDeformationField())
    return np.asarray(field, dtype=np.float64).transpose(2, 1, 0, 3)


def _itk(buffer: object, volume: Volume) -> object:
    grid: Grid = volume.grid
    array = np.ascontiguousarray(volume.array.transpose(2, 1, 0), dtype=np.float32)
    image = buffer.GetImageFromArray(array)  # type: ignore[attr-defined]
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(grid.origin.tolist())
    image.SetDirection(np.ascontiguousarray(grid.direction))
    return image


TOOLS = (
    Tool(
        "elastix",
        f"its default parameter maps {', '.join(STAGES)} with mutual information alone, {RESOLUTIONS} resolutions, "
        f"4096 samples, final grid of {GRID_MM:g} mm",
        True,
        lambda fixed, moving, rigid, threads: _run(STAGES, fixed, moving, threads),
        missing("itk"),
    ),
    Tool(
        "affine",
        "elastix's default parameter maps rigid and affine, likewise",
        True,
        lambda fixed, moving, rigid, threads: _run(STAGES[:2], fixed, moving, threads),
        missing("itk"),
    ),
)
