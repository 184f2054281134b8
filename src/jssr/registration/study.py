"""A patient's study aligned: every scan to one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from jssr.core.notes import collected
from jssr.errors import OptionError
from jssr.io.files import output_folder, write_json
from jssr.io.study import Study
from jssr.metrics.results import CaseResult
from jssr.registration.model import load_model
from jssr.registration.options import KnownDict, OptionsDict, parse_options
from jssr.registration.outputs import OUTPUTS
from jssr.registration.pipeline import register
from jssr.registration.result import Registration, Saving
from jssr.registration.schema import StudyModel

if TYPE_CHECKING:
    from jssr.io.dicom.headers import Sources


@dataclass(frozen=True, eq=False)
class StudyAlignment:
    """Every scan of a study aligned to the reference_phase: a `Registration` by phase. `carried` is what became of the
    study's DICOM structure sets, segmentations and doses (`jssr.api.study_objects.carry_study`)."""

    name: str
    reference_phase: str
    registrations: dict[str, Registration]
    carried: tuple[dict[str, Any], ...] = ()

    @property
    def results(self) -> list[CaseResult]:
        """Numbers of each state of each phase."""
        return [r for phase, one in self.registrations.items() for r in state_results(self.name, phase, one)]

    def save(
        self,
        out: str | os.PathLike[str],
        report: bool = True,
        dicom: Mapping[str, Sources] | None = None,
        keep: bool = False,
    ) -> Path:
        """Write a folder per phase, `results.csv`, `result.json` and `report.html`: all of it or nothing.

        Args:
            dicom: for each phase the headers of its series and the reference phase's, to write `PHASE/jssr_dicom/` too.
            keep: as `Saving` has it.

        Raises:
            OutputError: the folder cannot be written; what was there stays.
        """
        from jssr.report.tables import write_csv

        with output_folder(out, outputs_of(self.registrations)) as folder:
            for phase, one in self.registrations.items():
                how = Saving((dicom or {}).get(phase), phase, keep, Path(out) / phase)
                one.save(folder / phase, report=False, how=how)
            write_csv(self.results, folder / "results.csv")
            write_json(self.summary(), folder / "result.json")
            if report:
                from jssr.report.html import write_report

                rows = [one.view(phase, self.reference_phase) for phase, one in self.registrations.items()]
                title = f"{self.name}: aligned to {self.reference_phase}"
                write_report(folder / "report.html", title=title, rows=rows, provenance=self.summary())
        return Path(out)

    def summary(self) -> dict[str, Any]:
        """What `result.json` of the study holds (`jssr.registration.schema.StudyModel`)."""
        first = next(iter(self.registrations.values()))
        keys = ("covered_percent", "folds_percent", "log_jacobian_sd", "peak_memory_mib", "warnings")
        modality = ("modality", "modality_from")
        data = {
            "study": self.name,
            "reference_phase": self.reference_phase,
            **{key: first.result[key] for key in ("schema_version", "convention", "system", "weights", "provenance")},
            "phases": {
                phase: {key: one.result[key] for key in keys}
                | {key: one.result["moving"][key] for key in modality}
                | {"time_s": one.result["time_s"]["total"]}
                for phase, one in self.registrations.items()
            },
        }
        return StudyModel.model_validate(data).model_dump(mode="json")


def outputs_of(phases: Iterable[str]) -> tuple[str, ...]:
    """Names of what is written of a study with these phases, relative to its folder; some are patterns."""
    return ("results.csv", "result.json", "report.html", *(f"{escape(p)}/{name}" for p in phases for name in OUTPUTS))


def align(
    study: Study, reference_phase: str, on_stage: Callable[[str], None] | None = None, **options: Unpack[OptionsDict]
) -> StudyAlignment:
    """Align every scan of a patient to the reference phase, as `jssr.align` does it.

    Args:
        on_stage: called with phase and stage.

    Raises:
        CohortError: no such phase, or nothing to align; otherwise as `register`.
    """
    chosen, known = parse_options(options)
    if known:
        raise TypeError(f"unexpected option {next(iter(known))!r}: labels, landmarks and masks belong to the study")
    if chosen.initial not in ("geometry", "centre"):
        raise OptionError("initial: a transform is of one pair: give it to register, one phase at a time")
    study.check(reference_phase)
    named = chosen.system is not None or chosen.checkpoint is not None
    if named:
        how = chosen.device, chosen.deterministic, chosen.descriptor
        model = load_model(chosen.system, chosen.checkpoint, *how)
        options = {**options, "system": None, "checkpoint": model}
    reads = bool(chosen.rigid_labels) or (named and model.system.reads_structure)
    with collected() as told:
        fixed = study.volume(reference_phase)
    done: dict[str, Registration] = {}
    for phase in study.images:
        if phase == reference_phase:
            continue

        def stage(name: str, phase: str = phase) -> None:
            if on_stage is not None:
                on_stage(f"{phase}: {name}")

        beside = known_of(study, reference_phase, phase, reads)
        with collected() as more:
            moving = study.volume(phase)
        done[phase] = register(fixed, moving, on_stage=stage, **options, **beside)
        done[phase].result["warnings"][:0] = [*told, *more]
    return StudyAlignment(study.name, reference_phase, done)


def known_of(study: Study, reference_phase: str, phase: str, alone: bool = False) -> KnownDict:
    """What is known of a pair, as `register` takes it: labels and landmarks where both scans have them, the masks there
    are; the reference phase's labels `alone` for systems that read them, and for parts that stay rigid."""
    known: Any = {"structures": study.structures}
    for what, held in (("labels", study.labels), ("landmarks", study.landmarks)):
        if reference_phase in held and phase in held:
            known |= {f"fixed_{what}": held[reference_phase], f"moving_{what}": held[phase]}
    if alone and reference_phase in study.labels:
        known["fixed_labels"] = study.labels[reference_phase]
    roles = {"fixed": reference_phase, "moving": phase}
    known |= {f"{role}_mask": study.masks[one] for role, one in roles.items() if one in study.masks}
    found: KnownDict = known
    return found


def state_results(case: str, phase: str, one: Registration) -> list[CaseResult]:
    """The numbers of each state of a registration; without known labels those of the system's own segmentations."""
    found = []
    own = one.result["dice"].get("segmentations", {}) if one.known.fixed_labels is None else {}
    for state, values in one.states.items():
        dice = {f"dice/{name}": float("nan") if v is None else v for name, v in own.get(state, {}).items()}
        cost = {}
        if state == list(one.states)[-1]:
            cost = {"seconds": one.result["time_s"]["total"], "peak_mb": float(one.result["peak_memory_mib"])}
        found.append(CaseResult(case, phase, state, {**dice, **values}, **cost))
    return found
