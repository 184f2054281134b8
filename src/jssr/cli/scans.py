"""Commands on the scans of one patient: register, series, align, segment, synthesise."""

from __future__ import annotations

import re
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import typer

import jssr
from jssr.cli.batch import CohortOptions, LayoutOptions, for_many, means_many, run_many
from jssr.cli.options import NAMES, Choice, Knobs, Modality, Options, Out, arg, command, opt
from jssr.cli.session import Session, read_json
from jssr.errors import OptionError

LABELS = "Its label map, or DICOM Segmentation or RT Structure Set: Dice, HD95 and ASD before and after are measured."
LANDMARKS = "Its landmarks (CSV name,x,y,z in LPS mm, .mrk.json, .fcsv, elastix's .txt), matched by name."


INITIAL = "Start of the rigid step: the headers, or centre on centre."
MASK = "Only what is not 0 in it counts, in the rigid step and in the cost; on its scan's grid."


@dataclass(frozen=True, kw_only=True)
class PairOptions(Knobs, Out):
    initial: str = opt("geometry", INITIAL, metavar="geometry|centre")
    fixed_modality: Modality | None = opt(
        None, "Of the fixed scan, where no DICOM header names it; by default a guess."
    )
    moving_modality: Modality | None = opt(
        None, "Of every moving scan, where no DICOM header names it; by default a guess."
    )
    report: bool = opt(True, "Write report.html.")
    dicom: bool = opt(False, "Also write DICOM, for DICOM scans: the moved series, segmentations, the deformation.")
    anonymise: bool = opt(
        False, "Write nothing of the patient's identity: no paths, and DICOM by PS3.15's basic profile."
    )


@dataclass(frozen=True, kw_only=True)
class RegisterOptions(PairOptions):
    fixed: Path = arg("The scan that stays: NIfTI, NRRD, MHA or a DICOM folder; or a CSV of pairs.")
    moving: Path | None = arg("The scan that is moved onto it.", None)
    initial: str = opt(
        "geometry", INITIAL[:-1] + "; or a transform that jssr convert reads, in place of the headers.",
        metavar="geometry|centre|FILE",
    )  # fmt: skip
    fixed_mask: Path | None = opt(None, MASK)
    moving_mask: Path | None = opt(None, MASK)
    fixed_labels: Path | None = opt(None, LABELS)
    moving_labels: Path | None = opt(None, LABELS)
    label_names: Path | None = opt(None, NAMES)
    fixed_landmarks: Path | None = opt(None, LANDMARKS)
    moving_landmarks: Path | None = opt(None, LANDMARKS)

    def given(self) -> dict[str, Any]:
        """The names of labels are structures."""
        values = super().given()
        names = values.pop("label_names", None)
        return values | ({} if names is None else {"structures": names})


@command
def register(options: RegisterOptions, cohort: CohortOptions, session: Session) -> None:
    """Align one scan to another, or every pair of a table (CSV with the columns fixed, moving).

    Writes moved.nii.gz, displacement.nii.gz (the full transform on the fixed grid, mm, LPS), inverse.nii.gz, what the
    system synthesises and segments, result.json and report.html.

    Example: jssr register venous.nii.gz arterial.nii.gz -o aligned

    Example: jssr register pairs.csv -o aligned --workers 2
    """
    if options.moving is None:
        if not means_many("register", options.fixed):
            raise typer.BadParameter("name the scan that is moved, after the one that stays")
        run_many("register", options.fixed, options.out, for_many(options, "fixed"), cohort, session)
        return
    cohort.check_unused()
    found = session.run(jssr.register, **options.given())
    from jssr.cli.tables import cost_of, doubts_of, pair_table

    words = f"{cost_of(found)}; written to {options.out}"
    told = [] if found.verdict is None else [found.verdict.line]
    doubts, warnings = doubts_of({"": found}), found.result["warnings"]
    session.finish(read_json(options.out), *pair_table(found), *told, words, warnings=warnings, doubts=doubts)


@dataclass(frozen=True, kw_only=True)
class SeriesOptions(Options):
    phase: list[str] | None = opt(
        None, "DICOM: which series is which phase, arterial=5 (its number or UID); repeat it."
    )
    leave: list[str] | None = opt(None, "DICOM: a series to leave out; repeat it.")

    def chosen(self) -> tuple[dict[str, str], list[str]]:
        """Phase to series, and what is left out."""
        return _by_phase(self.phase, "a phase and one series, as in --phase arterial=5"), self.leave or []


def _by_phase(given: list[str] | None, expected: str) -> dict[str, str]:
    """Phase to value of the words PHASE=VALUE."""
    out: dict[str, str] = {}
    for words in given or []:
        phase, equals, value = (part.strip() for part in words.partition("="))
        if phase in out:
            raise typer.BadParameter(f"{words!r}: the phase {phase!r} is named twice: name it once")
        if not (re.fullmatch(r"[\w][\w +-]{0,63}", phase) and equals and value):
            raise typer.BadParameter(f"{words!r}: name {expected}")
        out[phase] = value
    return out


@dataclass(frozen=True, kw_only=True)
class SeriesStudy(Options):
    """A study of DICOM."""

    study: Path = arg("Folder of one patient's DICOM.")


@command
def series(options: SeriesStudy, series: SeriesOptions, session: Session) -> None:
    """List the series of a DICOM study and which phase `jssr align` takes each for, and why.

    Example: jssr series patient7 --phase arterial=5
    """
    found = jssr.series(options.study, *series.chosen())
    from jssr.cli.lists import series_rows, series_table

    session.finish(series_rows(found), *series_table(found))


@dataclass(frozen=True, kw_only=True)
class AlignOptions(PairOptions):
    study: Path = arg(
        "Folder of one patient: scans named by phase, a case of a cohort, or DICOM. Or a cohort: a folder of patients, "
        "a CSV (patient, phase, image ...), cohort.json, BIDS."
    )
    reference_phase: str = opt("venous", "The phase that stays.", "--reference-phase", "--anchor")
    modality: list[str] | None = opt(None, "Of one phase: PHASE=ct, mr, us or radiograph; repeat it.")

    def given(self) -> dict[str, Any]:
        """With the modalities by phase."""
        modalities = _by_phase(self.modality, "a phase and its modality, as in --modality t2=mr")
        unknown = next((word for word in modalities.values() if word not in get_args(Modality)), None)
        if unknown:
            raise typer.BadParameter(f"{unknown!r}: expected ct, mr, us or radiograph")
        return {k: v for k, v in super().given().items() if k != "modality"} | {"modalities": modalities}


@command
def align(options: AlignOptions, series: SeriesOptions, cohort: LayoutOptions, session: Session) -> None:
    """Align every scan of a patient, or of every patient of a cohort, to the reference phase.

    Writes a folder per phase with the files of `jssr register`, results.csv, result.json and one report.html. For
    DICOM it first lists which series it takes for which phase, as `jssr series` does.

    Of a cohort, a folder per patient, and one table of all: index.html, cohort.csv. What is done is kept: the same
    command goes on where another ended.

    Example: jssr align patient7 -o patient7-aligned --reference-phase venous

    Example: jssr align cohort -o aligned --workers 2
    """
    if means_many("align", options.study):
        if any(series.chosen()):
            raise OptionError(
                "phase, leave: are of one patient: a CSV (patient, phase, image) names the series of many"
            )
        run_many("align", options.study, options.out, for_many(options, "study"), cohort, session)
        return
    cohort.check_unused()
    study = jssr.read_study(options.study, *series.chosen(), by_folder=not options.anonymise)
    from jssr.cli.lists import series_table
    from jssr.cli.tables import carried_rows, doubts_of, study_table, study_warnings

    if study.series:
        session.show(*series_table(study.series))
    done = session.run(jssr.align, **options.given() | {"study": study})
    words = f"written to {options.out}"
    carried, warnings = carried_rows(done.carried), [said for one in done.carried for said in one["warnings"]]
    data = {**read_json(options.out), **({"carried": done.carried} if done.carried else {})}
    warnings, doubts = [*study_warnings(done), *warnings], doubts_of(done.registrations)
    session.finish(data, *study_table(done), *carried, words, warnings=warnings, doubts=doubts)


@dataclass(frozen=True, kw_only=True)
class SegmentOptions(Choice):
    image: Path = arg("The scan; or a cohort, all of whose scans are labelled.")
    out: Path = opt(MISSING, "Label map to write, or a folder for segmentation.nii.gz.", "-o", "--out")
    system: str | None = opt(
        None, "By default the checkpoint's, else segmentor, for radiographs jrsnet.", metavar="NAME"
    )
    moving: bool = opt(False, "A scan of the moving modality: macJNet has a segmentor for each.")


@command
def segment(options: SegmentOptions, cohort: CohortOptions, session: Session) -> None:
    """Label the organs of one scan, on its own grid. The names of the labels are written beside it, as JSON.

    Example: jssr segment venous.nii.gz -o venous_organs.nii.gz

    Example: jssr segment cohort -o organs --workers 2
    """
    if means_many("segment", options.image):
        run_many("segment", options.image, options.out, for_many(options, "image"), cohort, session)
        return
    cohort.check_unused()
    found = session.run(jssr.segment, **options.given())
    data = {
        "written": str(found.written),
        "label_names": found.label_names,
        "sizes": found.sizes,
        "phase": None if found.phase is None else asdict(found.phase),
        "warnings": list(found.warnings),
    }
    unit = "ml" if found.labels.grid.ndim == 3 else "pixels"
    names = ", ".join(f"{name} {size:.0f} {unit}" for name, size in found.sizes.items())
    told = () if found.phase is None else (found.phase.line,)
    session.finish(data, f"{found.written}: {names or 'nothing found'}", *told, warnings=found.warnings)


@dataclass(frozen=True, kw_only=True)
class SynthesiseOptions(Choice):
    moving: Path = arg("The scan to show in another appearance.")
    fixed: Path = arg("The scan whose appearance and grid it takes.")
    out: Path = opt(MISSING, "Image to write, or a folder for synthesised.nii.gz.", "-o", "--out")
    system: str | None = opt(None, "By default the checkpoint's, else jssr, whatever the scan.", metavar="NAME")
    rigid: bool = opt(True, "Align rigidly first, or trust the headers.")


@command
def synthesise(options: SynthesiseOptions, session: Session) -> None:
    """Show the moving scan as if it had been taken like the fixed one.

    On the fixed grid, aligned rigidly at most: anatomy stays where the moving scan has it. Intensities beyond the
    window that the system was trained with are cut off.

    Example: jssr synthesise arterial.nii.gz venous.nii.gz -o arterial_as_venous.nii.gz
    """
    session.run(jssr.synthesise, **options.given())
    session.finish({"written": str(options.out)}, f"written to {options.out}")
