"""Phantoms: cohorts made by formula, and the demo's patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from jssr.api.session import OnProgress, PathLike, Steps, begin
from jssr.errors import CohortError, JssrError, nearest
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_image
from jssr.io.label_names import read_label_names
from jssr.io.overwrite import check_folder
from jssr.io.study import study_of
from jssr.phantom import recolour, writer
from jssr.phantom import study as phantoms
from jssr.phantom.pelvic_study import PELVIC_PHASES
from jssr.phantom.phases import CT_PHASES, MR_PHASES, REFERENCE_PHASE
from jssr.phantom.thorax_study import VISITS
from jssr.preprocessing.prepare import check_labels
from jssr.registration.model import load_model
from jssr.registration.options import OptionsDict
from jssr.registration.study import StudyAlignment
from jssr.registration.study import align as align_study

__all__ = ["PhantomOptions", "demo", "make_phantom"]

DEMO_SEED = 20_000
"""Far from the seeds of the training cohorts: no scan of the demo was seen in training."""


class PhantomOptions(TypedDict, total=False):
    """What a phantom shows."""

    anatomy: Literal["abdomen", "body", "pelvis", "thorax"]
    population: Literal["target", "supervised"]
    phases: Sequence[str] | None
    shape: Sequence[int] | None
    slice_thickness: float | None
    paired: bool
    field: Sequence[float] | None
    ct_and_labels: tuple[PathLike, PathLike] | None
    names: PathLike | None


def make_phantom(
    out: PathLike,
    patients: int = 10,
    seed: int = 0,
    *,
    workers: int = 2,
    on_progress: OnProgress | None = None,
    **options: Unpack[PhantomOptions],
) -> Cohort:
    """Write a cohort of phantom patients with exact ground truth: `jssr phantom`.

    Args:
        out: folder to write to.
        patients: how many.
        seed: the same seed gives the same bytes.
        workers: processes.
        on_progress: called with patients done, all patients, words.
        anatomy: "abdomen" (CT and MR), "body" (the same from neck to thighs), "pelvis" (CT and MR; bladder and rectum
            change) or "thorax" (radiographs).
        population: "target", or "supervised": another population, labelled, venous unless `phases` says otherwise.
        phases: of the scans; None takes the anatomy's.
        shape: voxels of each scan; None takes the anatomy's.
        slice_thickness: mm; the number of slices follows from the coverage.
        field: of a body: lowest and highest slice, mm above the middle of the vertebra L1; None takes all.
        paired: of two phases, each state is also scanned as the other, to train `dual`.
        ct_and_labels: a real CT and its multi-organ label map: its anatomy, recoloured and moved.
        names: JSON of the organs' names (TotalSegmentator's), where the label map does not hold them.

    Raises:
        CohortError: an unknown phase; JssrError: options that do not go together; ImageError: an unusable CT.
    """
    begin(options, PhantomOptions)
    wanted: dict[str, Any] = dict(options)
    real, names = wanted.pop("ct_and_labels", None), wanted.pop("names", None)
    phases, anatomy = wanted.pop("phases", None), wanted.get("anatomy", "abdomen")
    if real is not None and (anatomy != "abdomen" or any(wanted.get(k) for k in ("paired", "shape", "field"))):
        raise JssrError("--from takes the CT as it is: remove --paired, --anatomy, --field and --shape")
    _check_phases(phases, anatomy)
    done = Steps(patients, on_progress, "patients").end
    try:
        if real is None:
            return writer.write_cohort(out, patients, seed, phases=phases, workers=workers, on_study=done, **wanted)
        ct, labels = real
        check_folder(out, ("*/*", "cohort.json"), ct, labels, names)
        check_labels(read_image(labels, "labels", 3), read_image(ct, ndim=3))  # before worker processes read them
        known = read_label_names(Path(names or labels))
        how = recolour.Recolouring(phases=phases or CT_PHASES)
        return recolour.write_recoloured(out, ct, labels, known, patients, seed, workers=workers, on_study=done, **how)
    except ValueError as error:  # the phantom's own words about its arguments
        raise JssrError(str(error)) from error


def _check_phases(phases: Sequence[str] | None, anatomy: str) -> None:
    known = {"pelvis": PELVIC_PHASES, "thorax": VISITS}.get(anatomy, (*CT_PHASES, *MR_PHASES))
    for phase in phases or ():
        if phase not in known:
            raise CohortError(f"unknown phase {phase!r}{nearest(phase, known)}")


def demo(
    out: PathLike, *, threads: int | None = None, on_progress: OnProgress | None = None, **options: Unpack[OptionsDict]
) -> StudyAlignment:
    """Make a phantom patient in four phases, align it to the venous phase and write the report: `jssr demo`.

    Args:
        out: folder for the patient and the results.
        threads, on_progress, options: as in `align`. With neither system nor checkpoint it is "jssr", because that
            also segments and synthesises.
    """
    begin(options, OptionsDict, threads)
    folder, wanted = Path(out), dict[str, Any](options)
    wanted["checkpoint"] = load_model(
        wanted.pop("system", None), wanted.pop("checkpoint", None), wanted.get("device", "cpu"),
        wanted.get("deterministic", False),
    )  # fmt: skip
    steps = Steps(3 * 8 + 3, on_progress)
    steps.begin("making a patient")
    patient = phantoms.make_study(DEMO_SEED, 0)
    case = Case(**writer.write_study(patient, folder)["case"])
    cohort = Cohort(
        name="demo", reference_phase=REFERENCE_PHASE, cases=[case], label_names=patient.label_names,
        regions=writer.regions_of(patient.label_names), root=folder,
    )  # fmt: skip
    cohort.save()
    done = align_study(study_of(cohort, case), cohort.reference_phase, on_stage=steps.begin, **wanted)
    steps.begin("writing")
    done.save(folder)
    return done
