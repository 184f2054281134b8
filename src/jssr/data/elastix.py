"""The one call into elastix (Klein et al. 2010; through itk-elastix): a rigid motion by mutual information."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from jssr.core.grid import Grid

__all__ = ["euler_matrix", "run_elastix"]


def run_elastix(
    fixed: Tensor,
    fixed_mask: Tensor,
    fixed_grid: Grid,
    moving: Tensor,
    moving_mask: Tensor,
    moving_grid: Grid,
    iterations: int,
    samples: int,
    seed: int,
) -> NDArray[np.float64]:
    """Align two scans rigidly, beginning at the identity of physical space.

    Args:
        fixed, moving, fixed_mask, moving_mask: (1, 1, *shape); only where both masks are above 0 is compared.
        iterations, samples: in the second of two resolutions (half as many in the first), and per iteration.
        seed: of the random sampling.

    Returns:
        (4, 4) homogeneous matrix, fixed-space to moving-space points in LPS mm.

    Raises:
        RuntimeError: elastix gave up, usually because too few samples fell on the moving image.
    """
    parameters, method, buffer = _load()
    chosen = parameters.elastixParameterObject.New()
    chosen.AddParameterMap(_settings(iterations, samples, seed))
    run = method.itkElastixRegistrationMethodIF3IF3.New()
    run.SetFixedImage(_itk(buffer.itkPyBufferIF3, fixed, fixed_grid, np.float32))
    run.SetMovingImage(_itk(buffer.itkPyBufferIF3, moving, moving_grid, np.float32))
    run.SetFixedMask(_itk(buffer.itkPyBufferIUC3, fixed_mask, fixed_grid, np.uint8))
    run.SetMovingMask(_itk(buffer.itkPyBufferIUC3, moving_mask, moving_grid, np.uint8))
    run.SetParameterObject(chosen)
    run.SetLogToConsole(False)
    run.SetLogToFile(False)
    run.SetNumberOfThreads(min(4, torch.get_num_threads()))  # the outcome does not depend on it
    run.UpdateLargestPossibleRegion()
    result = run.GetTransformParameterObject().GetParameterMap(0)
    values = [float(v) for v in result["TransformParameters"]]
    centre = [float(v) for v in result["CenterOfRotationPoint"]]
    return euler_matrix(values, centre)


def euler_matrix(parameters: list[float], centre: list[float]) -> NDArray[np.float64]:
    """Homogeneous matrix of elastix's EulerTransform: angles x, y, z (radians), shift (mm), about `centre`.

    ITK's Euler3DTransform with ComputeZYX off: R = Rz Rx Ry, and x -> R (x - c) + c + t.
    """
    (cx, cy, cz), (sx, sy, sz) = np.cos(parameters[:3]), np.sin(parameters[:3])
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = rz @ rx @ ry
    about = np.asarray(centre, dtype=np.float64)
    matrix[:3, 3] = about + np.asarray(parameters[3:], dtype=np.float64) - matrix[:3, :3] @ about
    return matrix


def _settings(iterations: int, samples: int, seed: int) -> dict[str, tuple[str, ...]]:
    """elastix's parameter file. The images come small already: two smoothings of one grid instead of a pyramid."""
    return {
        "Registration": ("MultiResolutionRegistration",),
        "FixedInternalImagePixelType": ("float",),
        "MovingInternalImagePixelType": ("float",),
        "FixedImagePyramid": ("FixedSmoothingImagePyramid",),
        "MovingImagePyramid": ("MovingSmoothingImagePyramid",),
        "NumberOfResolutions": ("2",),
        "ImagePyramidSchedule": ("2", "2", "2", "1", "1", "1"),
        "Metric": ("AdvancedMattesMutualInformation",),
        "NumberOfHistogramBins": ("24",),
        "Interpolator": ("LinearInterpolator",),
        "ResampleInterpolator": ("FinalLinearInterpolator",),
        "Resampler": ("DefaultResampler",),
        "Optimizer": ("AdaptiveStochasticGradientDescent",),
        "MaximumNumberOfIterations": (str(max(1, iterations // 2)), str(iterations)),
        "AutomaticParameterEstimation": ("true",),
        "ASGDParameterEstimationMethod": ("DisplacementDistribution",),
        "MaximumStepLength": ("8.0", "2.0"),
        "Transform": ("EulerTransform",),
        "AutomaticScalesEstimation": ("true",),
        "AutomaticTransformInitialization": ("false",),
        "ImageSampler": ("RandomCoordinate",),
        "NumberOfSpatialSamples": (str(samples),),
        "NewSamplesEveryIteration": ("true",),
        "RequiredRatioOfValidSamples": ("0.1",),
        "RandomSeed": (str(seed),),
        "ErodeMask": ("false",),
        "UseDirectionCosines": ("true",),
        "WriteResultImage": ("false",),
    }


def _itk(buffer: Any, tensor: Tensor, grid: Grid, dtype: DTypeLike) -> Any:
    """(1, 1, *shape) on its grid as an ITK image. ITK's arrays have the last index axis first."""
    array = np.ascontiguousarray(tensor[0, 0].numpy().transpose(2, 1, 0), dtype=dtype)
    image = buffer.GetImageFromArray(array)  # copies: a view would outlive the array
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(grid.origin.tolist())
    image.SetDirection(np.ascontiguousarray(grid.direction))
    return image


def _load() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Import elastix's compiled modules themselves: `itk.ElastixRegistrationMethod` first loads all of ITK's templates.

    That takes 15 s on one core, this 0.7 s (once torch is loaded).
    """
    from itk import elxParameterObjectPython, itkElastixRegistrationMethodPython, itkPyBufferPython

    return elxParameterObjectPython, itkElastixRegistrationMethodPython, itkPyBufferPython
