"""itk-elastix without its own import, which loads all of ITK's templates: 15 s on one core against 0.7 s."""

from __future__ import annotations

import tempfile
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from jssr.core.grid import Grid


def modules() -> tuple[ModuleType, ModuleType]:
    """The compiled modules of parameter objects and of the registration."""
    from itk import elxParameterObjectPython, itkElastixRegistrationMethodPython

    return elxParameterObjectPython, itkElastixRegistrationMethodPython


def load() -> None:
    """Import all that is used here: some seconds, which no measurement is to hold."""
    modules()
    import_module("itk.itkPyBufferPython")
    import_module("itk.itkTransformixFilterPython")


def itk_image(array: NDArray[np.generic], grid: Grid, dtype: DTypeLike = np.float32) -> Any:
    """An array of the grid's shape as an ITK image of float32 or uint8. ITK's arrays have the last index axis first."""
    from itk import itkPyBufferPython

    kind = {"float32": "F", "uint8": "UC"}[np.dtype(dtype).name]
    buffer = getattr(itkPyBufferPython, f"itkPyBufferI{kind}{grid.ndim}")
    image = buffer.GetImageFromArray(np.ascontiguousarray(array.T, dtype=dtype))  # copies
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(grid.origin.tolist())
    image.SetDirection(np.ascontiguousarray(grid.direction))
    return image


def field_of(transform: Any, moving: Any, n: int) -> NDArray[np.float64]:
    """The displacement of a parameter object with a transform, on the grid that it names: LPS millimetres, (*shape, n).

    Args:
        transform: as elastix gives it, or read from its files.
        moving: any ITK image; transformix wants one.
    """
    from itk import itkPyBufferPython, itkTransformixFilterPython

    apply = getattr(itkTransformixFilterPython, f"itkTransformixFilterIF{n}").New()
    apply.SetMovingImage(moving)
    apply.SetTransformParameterObject(transform)
    apply.SetComputeDeformationField(True)
    apply.SetLogToConsole(False)
    with tempfile.TemporaryDirectory() as folder:  # it writes a copy of the field to its output directory
        apply.SetOutputDirectory(folder)
        apply.UpdateLargestPossibleRegion()
        buffer = getattr(itkPyBufferPython, f"itkPyBufferIVF{n}{n}")
        field = buffer.GetArrayFromImage(apply.GetOutputDeformationField())
    return np.asarray(field, dtype=np.float64).transpose(*reversed(range(n)), n)
