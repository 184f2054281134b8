"""Joint synthesis, segmentation and registration of one patient's scans.

    import jssr

    found = jssr.register("venous.nii.gz", "arterial.nii.gz")
    found.moved, found.displacement, found.inverse, found.synthesised, found.fixed_segmentation, found.result
    found.save("out")

`align` does it for all scans of a study. Every command of `jssr ...` is a function here: `segment`, `synthesise`,
`warp`, `convert`, `train`, `evaluate`, `benchmark`, `prepare`, `check`,
`make_phantom`, `make_report`, `info`, `series`, `demo`.
`load_result` reads a result back; `load_model` loads weights once for many calls.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jssr._version import __version__

if TYPE_CHECKING:
    from jssr.api.batch import estimate_cohort, run_cohort
    from jssr.api.cohorts import check, prepare
    from jssr.api.conversions import convert
    from jssr.api.evaluation import benchmark, evaluate, make_report
    from jssr.api.learning import train
    from jssr.api.pairs import register
    from jssr.api.phantoms import demo, make_phantom
    from jssr.api.results import load_result
    from jssr.api.scans import align, segment, synthesise
    from jssr.api.studies import read_study, series
    from jssr.api.transforms import warp
    from jssr.api.weights import info
    from jssr.core.grid import Grid
    from jssr.core.points import move_points
    from jssr.core.resampling import resample
    from jssr.core.transform import Affine, Chain, Displacement, Transform
    from jssr.core.volume import Points, Volume
    from jssr.errors import JssrError
    from jssr.io.cohort import Case, Cohort
    from jssr.io.images import read_image, write_image
    from jssr.io.points import read_points, write_points
    from jssr.io.study import Study
    from jssr.io.transforms import read_transform, write_displacement
    from jssr.registration.model import Model, load_model
    from jssr.registration.result import Registration
    from jssr.registration.study import StudyAlignment

_NAMES = {
    "api.batch": ("estimate_cohort", "run_cohort"),
    "api.cohorts": ("check", "prepare"),
    "api.evaluation": ("benchmark", "evaluate", "make_report"),
    "api.learning": ("train",),
    "api.phantoms": ("demo", "make_phantom"),
    "api.results": ("load_result",),
    "api.pairs": ("register",),
    "api.scans": ("align", "segment", "synthesise"),
    "api.studies": ("read_study", "series"),
    "api.conversions": ("convert",),
    "api.transforms": ("warp",),
    "api.weights": ("info",),
    "core.grid": ("Grid",),
    "core.points": ("move_points",),
    "core.resampling": ("resample",),
    "core.transform": ("Affine", "Chain", "Displacement", "Transform"),
    "core.volume": ("Points", "Volume"),
    "errors": ("JssrError",),
    "io.cohort": ("Case", "Cohort"),
    "io.images": ("read_image", "write_image"),
    "io.points": ("read_points", "write_points"),
    "io.study": ("Study",),
    "io.transforms": ("read_transform", "write_displacement"),
    "registration.model": ("Model", "load_model"),
    "registration.result": ("Registration",),
    "registration.study": ("StudyAlignment",),
}
"""Loaded when first used: `import jssr` and `jssr --help` need no torch."""
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Affine", "Case", "Chain", "Cohort", "Displacement", "Grid", "JssrError", "Model", "Points", "Registration",
    "Study", "StudyAlignment", "Transform", "Volume", "__version__", "align", "benchmark", "check", "convert", "demo",
    "estimate_cohort", "evaluate", "info", "load_model", "load_result", "make_phantom", "make_report", "move_points",
    "prepare", "read_image", "read_points", "read_study", "read_transform", "register", "resample", "run_cohort",
    "segment", "series", "synthesise", "train", "warp", "write_displacement", "write_image", "write_points",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"jssr.{_HOME[name]}"), name)
    raise AttributeError(f"module 'jssr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
