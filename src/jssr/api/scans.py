"""Scans of one patient: aligned as a study, segmented, synthesised."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np

from jssr.api.pairs import STAGES, wants_dicom
from jssr.api.session import OnProgress, PathLike, Steps, begin
from jssr.api.studies import read_study
from jssr.api.study_objects import carry_study
from jssr.core.notes import collected
from jssr.core.volume import Modality, Volume
from jssr.errors import CohortError, JssrError, nearest
from jssr.io.files import check_output, check_path
from jssr.io.images import as_volume, write_image
from jssr.io.itk import WRITABLE
from jssr.io.label_names import write_label_names
from jssr.io.overwrite import check_folder, check_not_input
from jssr.io.study import Image, Study, anonymous_study
from jssr.preprocessing.modality import decide_modality
from jssr.registration import pipeline
from jssr.registration import study as studies
from jssr.registration.inputs import image_of
from jssr.registration.model import load_model, segmenting_model
from jssr.registration.options import ModelOptions, OptionsDict
from jssr.registration.phase import Phase, phase_of
from jssr.registration.plausible import implausible
from jssr.registration.study import StudyAlignment, outputs_of

__all__ = ["Segmentation", "align", "segment", "synthesise"]

log = logging.getLogger(__name__)


def align(
    study: Study | Mapping[str, Image] | PathLike,
    reference_phase: str = "venous",
    *,
    modalities: Mapping[str, Modality] | None = None,
    out: PathLike | None = None,
    report: bool = True,
    dicom: bool = False,
    anonymise: bool = False,
    threads: int | None = None,
    on_progress: OnProgress | None = None,
    **options: Unpack[OptionsDict],
) -> StudyAlignment:
    """Align every scan of a patient to the reference phase: `jssr align`.

        done = jssr.align({"venous": venous, "arterial": arterial}, "venous")
        done.registrations["arterial"].moved

    Args:
        study: scans by phase, a folder of scans named by phase, a case of a cohort, a DICOM folder, or what
            `read_study` gives of one.
        reference_phase: the phase that stays.
        modalities: phase to "ct", "mr", "us" (ultrasound) or "radiograph", where no DICOM header names it.
        out, report, dicom, anonymise, threads, on_progress: as in `register`; `out` gets a folder per phase.
        options: of `register`: system, checkpoint, refine, descriptor, rigid, initial (no transform), preset,
            similarity, smoothness, spacing, sliding, rigid_labels, device, deterministic, fixed_modality (the reference
            phase's) and moving_modality (that of all others).

    Raises:
        CohortError: no such phase, or nothing to align; otherwise as `register`.
    """
    begin(options, OptionsDict, threads)
    if isinstance(study, Mapping):
        study = Study("study", dict(study))
    elif not isinstance(study, (Study, str, os.PathLike)):
        raise JssrError(f"study: expected scans by phase, a Study or a folder, got {study!r}")
    elif not isinstance(study, Study):
        study = read_study(study, by_folder=not anonymise)
    study.check(reference_phase)
    files = (study.images, study.labels, study.landmarks, study.masks)
    check_folder(out, outputs_of(study.images), *(one for held in files for one in held.values()))
    headers = None
    if wants_dicom(dicom, out):
        from jssr.registration.dicom import study_sources

        headers = study_sources(study, reference_phase, anonymise)
    scans, study = study, anonymous_study(study) if anonymise else study
    study = _with_modalities(study, modalities or {})
    steps = Steps(STAGES * max(1, len(study.images) - 1) + 1, on_progress)
    done = studies.align(study, reference_phase, on_stage=steps.begin, **options)
    if out is not None:
        steps.begin("writing")
        done.save(out, report, headers, anonymise)
        if headers and scans.series:
            done = replace(done, carried=carry_study(scans.images[reference_phase], headers, done.registrations, out))
    return done


def _with_modalities(study: Study, modalities: Mapping[str, Modality]) -> Study:
    images = dict(study.images)
    for phase, modality in modalities.items():
        if phase not in images:
            raise CohortError(f"{study.name}: has no phase {phase!r}{nearest(phase, images)}")
        scan, warnings = decide_modality(as_volume(images[phase], name=phase), option=modality)
        if scan.modality != modality:  # what an option contradicts; the rest is in the result's warnings
            log.warning(warnings[0])
        images[phase] = scan
    return replace(study, images=images)


@dataclass(frozen=True)
class Segmentation:
    """The label map of one scan, on its grid.

    Attributes:
        labels: the label map.
        label_names: value to structure.
        warnings: why the label map may be wrong.
        written: the file, where it was written.
        phase: a CT's contrast phase as the organs found in it tell; None where they do not.
    """

    labels: Volume
    label_names: dict[int, str]
    warnings: tuple[str, ...] = ()
    written: Path | None = None
    phase: Phase | None = None

    @property
    def sizes(self) -> dict[str, float]:
        """Structures that were found to their millilitres; in radiographs, pixels."""
        voxel = float(np.prod(self.labels.grid.spacing)) / 1000 if self.labels.grid.ndim == 3 else 1.0
        values, counts = np.unique(self.labels.array, return_counts=True)
        return {
            self.label_names[int(v)]: round(voxel * int(n), 1)
            for v, n in zip(values, counts, strict=True)
            if int(v) in self.label_names
        }

    def save(self, out: PathLike) -> Path:
        """Write the label map (a file, or `segmentation.nii.gz` in a folder) and its names beside it, as JSON."""
        path = image_path(Path(out), "segmentation.nii.gz")
        check_output(path.parent)
        write_image(self.labels, path)
        write_label_names(self.label_names, path)
        return path


def segment(
    image: Image,
    *,
    out: PathLike | None = None,
    moving: bool = False,
    threads: int | None = None,
    on_progress: OnProgress | None = None,
    **options: Unpack[ModelOptions],
) -> Segmentation:
    """Label the organs of one scan, on its own grid: `jssr segment`.

    Args:
        image: the scan.
        out: label map to write, or a folder for `segmentation.nii.gz`.
        moving: the scan is of the moving modality, for systems with a segmentor of each (macJNet).
        threads, on_progress: as in `register`.
        options: of `register`: system, checkpoint, device, deterministic. With neither system nor checkpoint it is
            "segmentor", of radiographs "jrsnet".

    Raises:
        JssrError: the system has no segmentor, or none of its own for the moving modality; otherwise as `register`.
    """
    begin(options, ModelOptions, threads)
    check_path(out)
    if out is not None:
        check_not_input(image_path(Path(out), "segmentation.nii.gz"), image)
        check_output(image_path(Path(out), "segmentation.nii.gz").parent)
    steps = Steps(3, on_progress)
    steps.begin("loading")
    with collected() as told:
        scan = image_of(image)
    model = segmenting_model(scan, **options)
    steps.begin("segmenting")
    labels, warnings = pipeline.segment(scan, model, moving)
    doubt = model.doubt(scan, moving)
    phase = phase_of(scan, labels, model.label_names)
    told += [*((doubt,) if doubt else ()), *warnings, *implausible(labels, model.label_names)]
    found = Segmentation(labels, dict(model.label_names), tuple(told), phase=phase)
    if out is not None:
        steps.begin("writing")
        found = replace(found, written=found.save(out))
    return found


def synthesise(
    moving: Image,
    fixed: Image,
    *,
    out: PathLike | None = None,
    rigid: bool = True,
    threads: int | None = None,
    on_progress: OnProgress | None = None,
    **options: Unpack[ModelOptions],
) -> Volume:
    """The moving scan in the fixed scan's appearance, on the fixed grid: `jssr synthesise`.

    Aligned rigidly at most: anatomy stays where the moving scan has it.

    Args:
        moving, fixed: as in `register`.
        out: image to write, or a folder for `synthesised.nii.gz`.
        rigid: align rigidly first.
        threads, on_progress: as in `register`.
        options: of `register`: system, checkpoint, device, deterministic. With neither system nor checkpoint it is
            "jssr".

    Raises:
        JssrError: the system has no generator; otherwise as `register`.
    """
    begin(options, ModelOptions, threads)
    check_path(out)
    target = None if out is None else image_path(Path(out), "synthesised.nii.gz")
    if target is not None:
        check_not_input(target, moving, fixed)
        check_output(target.parent)
    steps = Steps(2, on_progress)
    steps.begin("synthesising")
    made = pipeline.synthesise(moving, fixed, load_model(**options), rigid)
    if target is not None:
        steps.begin("writing")
        write_image(made, target)
    return made


def image_path(out: Path, name: str) -> Path:
    """The file meant by `out`: itself, or `name` in a folder."""
    return out if out.name.lower().endswith(WRITABLE) else out / name
