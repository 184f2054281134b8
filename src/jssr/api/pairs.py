"""Two scans of one patient, registered. The scans are read while torch is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Unpack

from jssr.api.session import OnProgress, PathLike, Steps, begin
from jssr.errors import JssrError, OptionError
from jssr.io.ahead import read_ahead
from jssr.io.files import check_output
from jssr.io.formats import split_format
from jssr.io.label_names import names_given
from jssr.io.overwrite import check_folder
from jssr.io.study import Image, anonymous, named_in
from jssr.registration.options import RegistrationOptionsDict, parse_options
from jssr.registration.outputs import OUTPUTS

if TYPE_CHECKING:
    from jssr.io.dicom.headers import Sources
    from jssr.registration.result import Registration

__all__ = ["register"]

STAGES = 8
"""Stages of one registration: read, load, prepare, network, refine, fullsize, inverse, measure."""


def register(
    fixed: Image,
    moving: Image,
    *,
    out: PathLike | None = None,
    report: bool = True,
    dicom: bool = False,
    anonymise: bool = False,
    threads: int | None = None,
    on_progress: OnProgress | None = None,
    **options: Unpack[RegistrationOptionsDict],
) -> Registration:
    """Align the moving scan to the fixed one: `jssr register`.

        found = jssr.register("venous.nii.gz", "arterial.nii.gz", refine=40)
        found.moved, found.displacement, found.inverse, found.result["folds_percent"]

    Args:
        fixed, moving: scans of one patient, both 3D or both 2D, of any geometry: a path (NIfTI, NRRD, MHA, PNG or a
            DICOM folder), a `Volume`, a SimpleITK or nibabel image, or (array, RAS affine).
        out: folder for the files of `jssr register`; None writes nothing (`Registration.save` does it later).
        report, dicom, anonymise: with `out`, also `report.html`; also DICOM (of two DICOM series); nothing of identity.
        threads, on_progress: of the CPU; called with stages done, all stages, and the stage that begins.
        system: "jssr", "discrete", "rigid" ...; None takes the checkpoint's, else "discrete", which needs no training.
        checkpoint: weights file, run folder or loaded `Model`; None takes the system's shipped weights.
        refine: steps of instance optimisation; None takes the recipe's.
        descriptor: what these steps compare, and what "discrete" searches with: "mind-ssc", "mind" or "macmind".
        rigid: align rigidly first; otherwise the headers' geometry holds. Only in 3D.
        fixed_modality, moving_modality: "ct", "mr", "us" (ultrasound) or "radiograph", where no DICOM header names it;
            None guesses from the intensities, which never say ultrasound.
        initial: where it begins: "geometry" (the headers), "centre" (the bodies' centres on one another), or a
            transform from fixed to moving space in place of the headers (a path, "flirt:PATH" where the format must be
            named, `Transform`, matrix). The rigid step goes on from a linear one; a field replaces it.
        fixed_mask, moving_mask: only what is not 0 in them counts, in the rigid step and in the cost.
        preset: options by task, "ct-abdomen", "ct-lung", "ct-mr", "mr-mr", "mr-us", "head" or "xray".
        similarity, smoothness, spacing, sliding, rigid_labels: of the instance optimisation: what is compared ("lncc",
            "mind", "mi", "mixture"), a factor of the regulariser's weight, mm between control points, whether organs
            slide, and values or names of the fixed label map that stay rigid.
        fixed_labels, moving_labels: label maps, segmentations or structure sets of the scans, for Dice and distances.
        fixed_landmarks, moving_landmarks: points, LPS millimetres, for the TRE; matched by name.
        structures, label_names: one of them: name to values, or value to name; also files. None takes the maps' own.
        device, deterministic: "cpu", "cuda", "mps"; only algorithms that repeat bit for bit.

    Raises:
        ImageError, PointsError: an input that cannot be used. GeometryError: no overlap, or label maps on other grids.
        CheckpointError: no such checkpoint, or one that cannot be used. OutputError: `out` cannot be written.
    """
    begin(options, RegistrationOptionsDict)
    check_folder(out, OUTPUTS, fixed, moving, *map(_file, options.values()))
    headers = _sources(fixed, moving, anonymise) if wants_dicom(dicom, out) else None
    options = _with_names(options)
    scans = _begun(fixed, moving, anonymise)
    steps = Steps(STAGES + 2, on_progress)
    found = _pipeline(options, threads).register(*scans, on_stage=steps.begin, **options)
    if out is not None:
        from jssr.registration.result import Saving  # torch

        steps.begin("writing")
        found.save(out, report, Saving(headers, keep=anonymise))
    return found


def _file(option: Any) -> Any:
    """The file that an option names, without the format of a transform before it."""
    return split_format(option)[1] if isinstance(option, str) else option


def _begun(fixed: Image, moving: Image, anonymise: bool) -> list[Any]:
    """Both scans: being read where torch must be imported first, else as they are; without their names to anonymise."""
    if anonymise:
        return [anonymous(fixed, "fixed"), anonymous(moving, "moving")]
    return [fixed, moving] if "torch" in sys.modules else read_ahead(fixed, moving)


def _pipeline(options: RegistrationOptionsDict, threads: int | None) -> ModuleType:
    """`jssr.registration.pipeline`, whose import takes as long as reading the scans, with so many threads."""
    from jssr.registration import pipeline

    begin(options, RegistrationOptionsDict, threads)
    return pipeline


def _sources(fixed: Image, moving: Image, anonymise: bool) -> Sources:
    from jssr.registration.dicom import sources_of  # needs an extra

    return sources_of(fixed, moving, anonymise)


def _with_names(options: RegistrationOptionsDict) -> RegistrationOptionsDict:
    """With the structures that the names of labels make; of the cohort beside the fixed label map where none are.

    What cannot be used is refused here, before anything is read.
    """
    names = options.pop("label_names", None)
    if names is not None and options.get("structures") is not None:
        raise OptionError("structures and label_names: both name the labels' values: give one of them")
    if names is not None:
        given: Any = names if isinstance(names, (str, os.PathLike)) else names_given(names)
        options["structures"] = given
    labels = options.get("fixed_labels")
    if options.get("structures") is None and isinstance(labels, (str, os.PathLike)):
        options["structures"] = named_in(Path(labels).parent)
    parse_options(options)
    return options


def wants_dicom(dicom: bool, out: PathLike | None) -> bool:
    """Whether DICOM is to be written; what cannot be written is refused before the work."""
    if out is not None:
        check_output(out)
    elif dicom:
        raise JssrError("dicom=True writes files: name their folder with out=")
    return dicom
