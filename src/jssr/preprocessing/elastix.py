"""The one call into elastix (Klein et al. 2010; through itk-elastix): a rigid motion by mutual information."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from jssr.core.grid import Grid
from jssr.io.itk_elastix import itk_image, modules


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
    parameters, method = modules()
    chosen = parameters.elastixParameterObject.New()
    chosen.AddParameterMap(_settings(iterations, samples, seed))
    run = method.itkElastixRegistrationMethodIF3IF3.New()
    run.SetFixedImage(itk_image(fixed[0, 0].numpy(), fixed_grid))
    run.SetMovingImage(itk_image(moving[0, 0].numpy(), moving_grid))
    run.SetFixedMask(itk_image(fixed_mask[0, 0].numpy(), fixed_grid, np.uint8))
    run.SetMovingMask(itk_image(moving_mask[0, 0].numpy(), moving_grid, np.uint8))
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
    x, y, z = parameters[:3]
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("ZXY", (z, x, y)).as_matrix()
    matrix[:3, 3] = np.add(centre, parameters[3:]) - matrix[:3, :3] @ centre
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
