"""Joint synthesis, segmentation and registration of one patient's scans.

    import jssr

    found = jssr.register("venous.nii.gz", "arterial.nii.gz")
    found.moved, found.displacement, found.inverse, found.synthesised, found.fixed_segmentation, found.result
    found.save("out")

`align` does it for all scans of a study, `segment` and `synthesise` are the other two tasks, `load_model` loads weights
once for many calls.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jssr._version import __version__

if TYPE_CHECKING:
    from jssr.core.grid import Grid
    from jssr.core.transform import Affine, Chain, Displacement, Transform, move_points, resample
    from jssr.core.volume import Points, Volume
    from jssr.errors import JssrError
    from jssr.io.cohort import Case, Cohort
    from jssr.io.images import read_image, write_image
    from jssr.io.points import read_points, write_points
    from jssr.io.study import Study, read_study
    from jssr.io.transforms import read_transform, write_displacement
    from jssr.registration.model import Model, load_model
    from jssr.registration.pipeline import register, segment, synthesise
    from jssr.registration.result import Registration
    from jssr.registration.study import StudyAlignment, align

_HOME = {
    "Grid": "core.grid",
    "Affine": "core.transform",
    "Chain": "core.transform",
    "Displacement": "core.transform",
    "Transform": "core.transform",
    "move_points": "core.transform",
    "resample": "core.transform",
    "Points": "core.volume",
    "Volume": "core.volume",
    "Case": "io.cohort",
    "Cohort": "io.cohort",
    "register": "registration.pipeline",
    "segment": "registration.pipeline",
    "synthesise": "registration.pipeline",
    "Model": "registration.model",
    "load_model": "registration.model",
    "Registration": "registration.result",
    "Study": "io.study",
    "StudyAlignment": "registration.study",
    "align": "registration.study",
    "read_study": "io.study",
    "JssrError": "errors",
    "read_image": "io.images",
    "write_image": "io.images",
    "read_points": "io.points",
    "write_points": "io.points",
    "read_transform": "io.transforms",
    "write_displacement": "io.transforms",
}
"""Loaded when first used: `import jssr` and `jssr --help` need no torch."""

__all__ = [
    "Affine", "Case", "Chain", "Cohort", "Displacement", "Grid", "JssrError", "Model", "Points", "Registration",
    "Study", "StudyAlignment", "Transform", "Volume", "__version__", "align", "load_model", "move_points", "read_image",
    "read_points", "read_study", "read_transform", "register", "resample", "segment", "synthesise",
    "write_displacement", "write_image", "write_points",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"jssr.{_HOME[name]}"), name)
    raise AttributeError(f"module 'jssr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
