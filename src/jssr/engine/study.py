"""A patient's study: several scans, found by name, all aligned to one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jssr.core.volume import Points, Volume
from jssr.data.cohort import Case, Cohort
from jssr.engine.infer import register
from jssr.engine.model import Model, load_model
from jssr.engine.output import output_folder, write_json
from jssr.engine.recipe import nearest
from jssr.engine.registration import Registration
from jssr.errors import CohortError, ImageError, JssrError
from jssr.evaluate.metrics import CaseResult
from jssr.io.images import WRITABLE, read_image

__all__ = ["Study", "StudyAlignment", "align", "named_in", "read_study"]

Image = Volume | str | os.PathLike[str]
_KNOWN = ("_labels", "_landmarks", "_displacement", "_segmentation")
PHASES = {
    "uncontrast": ("uncontrast", "non-contrast", "noncontrast", "unenhanced", "native", "plain", "without contrast"),
    "arterial": ("arterial", "art "),
    "venous": ("venous", "portal", "pv "),
    "delay": ("delay", "equilibrium", "late"),
}
"""Words of a DICOM series description that tell its phase."""


@dataclass(frozen=True)
class Study:
    """The scans of one patient by phase, and what is known of them.

    `structures` says which label values make which structure; None takes each value under its number.
    """

    name: str
    images: dict[str, Image]
    labels: dict[str, Image] = field(default_factory=dict)
    landmarks: dict[str, Points | Path] = field(default_factory=dict)
    structures: Mapping[str, Sequence[int]] | None = None

    def check(self, anchor: str) -> None:
        """Make sure that there is an anchor and something to align to it.

        Raises:
            CohortError: there is not.
        """
        if anchor not in self.images:
            raise CohortError(f'{self.name}: has no phase "{anchor}"{nearest(anchor, self.images)}')
        if len(self.images) < 2:
            raise CohortError(f"{self.name}: has only one scan ({anchor}); there is nothing to align to it")


@dataclass(frozen=True, eq=False)
class StudyAlignment:
    """Every scan of a study aligned to the anchor: a `Registration` by phase."""

    name: str
    anchor: str
    registrations: dict[str, Registration]

    @property
    def results(self) -> list[CaseResult]:
        """Numbers of each state of each phase."""
        return [r for phase, one in self.registrations.items() for r in state_results(self.name, phase, one)]

    def save(self, out: str | os.PathLike[str], report: bool = True) -> Path:
        """Write a folder per phase, `results.csv`, `result.json` and `report.html`: all of it or nothing.

        Raises:
            OutputError: the folder cannot be written; what was there stays.
        """
        from jssr.evaluate.tables import write_csv

        with output_folder(out, ("results.csv", "result.json", "report.html")) as folder:
            for phase, one in self.registrations.items():
                one.save(folder / phase, report=False)
            write_csv(self.results, folder / "results.csv")
            write_json(self.summary(), folder / "result.json")
            if report:
                from jssr.evaluate.report import write_report

                rows = [one.view(phase) for phase, one in self.registrations.items()]
                write_report(
                    folder / "report.html",
                    title=f"{self.name}: aligned to {self.anchor}",
                    rows=rows,
                    provenance=self.summary(),
                )
        return Path(out)

    def summary(self) -> dict[str, Any]:
        """What `result.json` of the study holds."""
        first = next(iter(self.registrations.values()))
        keys = ("covered_percent", "folds_percent", "log_jacobian_sd", "peak_memory_mb", "warnings")
        return {
            "study": self.name,
            "anchor": self.anchor,
            **{key: first.result[key] for key in ("convention", "system", "weights", "provenance")},
            "phases": {
                phase: {key: one.result[key] for key in keys} | {"seconds": one.result["seconds"]["total"]}
                for phase, one in self.registrations.items()
            },
        }


def align(
    study: Study | Mapping[str, Image] | str | os.PathLike[str],
    anchor: str = "venous",
    *,
    system: str | None = None,
    checkpoint: str | os.PathLike[str] | Model | None = None,
    refine: int | None = None,
    rigid: bool = True,
    descriptor: str | None = None,
    initial: Literal["geometry", "centre"] = "geometry",
    device: str = "cpu",
    deterministic: bool = False,
    on_stage: Callable[[str], None] | None = None,
) -> StudyAlignment:
    """Align every scan of a patient to the anchor.

    Args:
        study: scans by phase, or a folder (see `read_study`). Labels and landmarks beside the scans are measured.
        anchor: the phase that stays.
        system, checkpoint, refine, rigid, descriptor, initial, device, deterministic: as in `register`.
        on_stage: called with phase and stage.

    Raises:
        CohortError: no such phase, or nothing to align; otherwise as `register`.
    """
    if isinstance(study, Mapping):
        study = Study("study", dict(study))
    elif not isinstance(study, Study):
        study = read_study(study)
    study.check(anchor)
    chosen = system is not None or checkpoint is not None
    model = load_model(system, checkpoint, device, deterministic, descriptor) if chosen else None
    fixed = study.images[anchor]
    fixed = fixed if isinstance(fixed, Volume) else read_image(fixed)
    done: dict[str, Registration] = {}
    for phase, moving in study.images.items():
        if phase == anchor:
            continue

        def told(stage: str, phase: str = phase) -> None:
            if on_stage is not None:
                on_stage(f"{phase}: {stage}")

        done[phase] = register(
            fixed, moving, checkpoint=model, refine=refine, rigid=rigid, descriptor=descriptor, initial=initial,
            structures=study.structures, device=device, deterministic=deterministic, on_stage=told,
            **known_of(study, anchor, phase, model is not None and model.system.reads_structure),
        )  # fmt: skip
    return StudyAlignment(study.name, anchor, done)


def known_of(study: Study, anchor: str, phase: str, alone: bool = False) -> dict[str, Any]:
    """The labels and landmarks of a pair, as `register` takes them, where both scans have them; the anchor's labels
    `alone` for systems that read them."""
    known: dict[str, Any] = {}
    for what, held in (("labels", study.labels), ("landmarks", study.landmarks)):
        if anchor in held and phase in held:
            known |= {f"fixed_{what}": held[anchor], f"moving_{what}": held[phase]}
    if alone and anchor in study.labels:
        known["fixed_labels"] = study.labels[anchor]
    return known


def state_results(case: str, phase: str, one: Registration) -> list[CaseResult]:
    """The numbers of each state of a registration; without known labels those of the system's own segmentations."""
    found = []
    own = one.result["dice"].get("segmentations", {}) if one.truth.fixed_labels is None else {}
    for state, values in one.states.items():
        dice = {f"dice/{name}": float("nan") if v is None else v for name, v in own.get(state, {}).items()}
        last = state == list(one.states)[-1]
        cost = (
            {"seconds": one.result["seconds"]["total"], "peak_mb": float(one.result["peak_memory_mb"])} if last else {}
        )
        found.append(CaseResult(case, phase, state, {**dice, **values}, **cost))
    return found


def study_of(cohort: Cohort, case: Case) -> Study:
    """A case of a cohort as a study."""
    return Study(
        case.id,
        {phase: cohort.path(p) for phase, p in case.images.items()},
        {phase: cohort.path(p) for phase, p in case.labels.items()},
        {phase: cohort.path(p) for phase, p in case.landmarks.items()},
        cohort.structures() or None,
    )


def read_study(folder: str | os.PathLike[str]) -> Study:
    """Find the scans of a patient in a folder.

    Either image files named by phase (`venous.nii.gz`, with `venous_labels.nii.gz` and `venous_landmarks.csv` where
    known; a `cohort.json` in the folder above names the labels), or DICOM: a subfolder per phase, or series whose
    descriptions tell the phase.

    Raises:
        ImageError: no such folder, or no scans in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder; a study is a folder of scans named by phase")
    if (folder / "cohort.json").is_file():
        cases = ", ".join(case.id for case in Cohort.load(folder).cases[:3])
        raise ImageError(f"{folder}: is a whole cohort; align one of its cases ({cases} ...), or use jssr evaluate")
    images: dict[str, Any] = {}
    files = sorted(p for p in folder.iterdir() if p.is_file())
    # Beside volumes a picture is a picture of them; alone they are radiographs.
    volumes = [p for p in files if p.suffix.lower() != ".png"]
    for path in volumes if any(_stem(p) is not None for p in volumes) else files:
        stem = _stem(path)
        if stem is not None and not stem.endswith(_KNOWN):
            if stem in images:
                raise ImageError(f"{folder}: holds two scans named {stem!r} ({images[stem].name} and {path.name})")
            images[stem] = path
    if not images:
        images = _dicom(folder)
    if not images:
        raise ImageError(f"{folder}: holds no scans; name them by phase (venous.nii.gz, arterial.nii.gz ...)")
    labels: dict[str, Image] = {}
    landmarks: dict[str, Points | Path] = {}
    for phase in images:
        for ending in WRITABLE:
            if (folder / f"{phase}_labels{ending}").is_file():
                labels[phase] = folder / f"{phase}_labels{ending}"
        if (folder / f"{phase}_landmarks.csv").is_file():
            landmarks[phase] = folder / f"{phase}_landmarks.csv"
    return Study(folder.resolve().name, images, labels, landmarks, named_in(folder))


def _stem(path: Path) -> str | None:
    """The phase that an image file is named by."""
    for ending in WRITABLE:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return None


def named_in(folder: Path) -> Mapping[str, Sequence[int]] | None:
    """The structures that the cohort names to which a case's folder belongs; None where there is no cohort."""
    try:
        return Cohort.load(folder.resolve().parent).structures() or None
    except JssrError:
        return None


def _dicom(folder: Path) -> dict[str, Image]:
    """Series by phase: by the name of their subfolder, else by words of their description."""
    from jssr.io.dicom import find_series

    parts = [p for p in sorted(folder.iterdir()) if p.is_dir() and find_series(p)]
    if len(parts) > 1:
        return {p.name.lower(): p for p in parts}
    images: dict[str, Image] = {}
    found = find_series(folder)
    for series in found:
        said = f"{series.description.lower()} "
        phases = [phase for phase, words in PHASES.items() if any(word in said for word in words)]
        if len(phases) == 1 and phases[0] not in images:
            images[phases[0]] = folder / series.uid
    if found and len(images) < 2:
        listed = "; ".join(str(s) for s in found[:6])
        raise ImageError(
            f"{folder}: the phases of its series are not clear ({listed}); put each in a folder named by phase"
        )
    return images
