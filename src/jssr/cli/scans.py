"""Commands on the scans of one patient: register, series, align, segment, synthesise, warp, convert."""

from __future__ import annotations

import re
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import typer

import jssr
from jssr.cli.options import Choice, Knobs, Modality, Options, Out, arg, command, opt
from jssr.cli.session import Session, read_json
from jssr.core.notes import collected
from jssr.io.formats import FORMATS_READ, FORMATS_WRITTEN

LABELS = "Its label map: Dice, HD95 and ASD before and after are measured."
NAMES = "Names of the label values: JSON, a colour table (.ctbl, FreeSurfer's), ITK-SNAP's; default: the map's own."
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
    fixed: Path = arg("The scan that stays: NIfTI, NRRD, MHA or a DICOM folder.")
    moving: Path = arg("The scan that is moved onto it.")
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
def register(options: RegisterOptions, session: Session) -> None:
    """Align one scan to another.

    Writes moved.nii.gz, displacement.nii.gz (the full transform on the fixed grid, mm, LPS), inverse.nii.gz, what the
    system synthesises and segments, result.json and report.html.

    Example: jssr register venous.nii.gz arterial.nii.gz -o aligned
    """
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
    from jssr.cli.tables import series_rows, series_table

    session.finish(series_rows(found), *series_table(found))


@dataclass(frozen=True, kw_only=True)
class AlignOptions(PairOptions):
    study: Path = arg("Folder of one patient: scans named by phase, a case of a cohort, or DICOM.")
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
def align(options: AlignOptions, series: SeriesOptions, session: Session) -> None:
    """Align every scan of a patient to the reference phase.

    Writes a folder per phase with the files of `jssr register`, results.csv, result.json and one report.html. For
    DICOM it first lists which series it takes for which phase, as `jssr series` does.

    Example: jssr align patient7 -o patient7-aligned --reference-phase venous
    """
    study = jssr.read_study(options.study, *series.chosen(), by_folder=not options.anonymise)
    from jssr.cli.tables import carried_rows, doubts_of, series_table, study_table, study_warnings

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
    image: Path = arg("The scan.")
    out: Path = opt(MISSING, "Label map to write, or a folder for segmentation.nii.gz.", "-o", "--out")
    system: str | None = opt(
        None, "By default the checkpoint's, else segmentor, for radiographs jrsnet.", metavar="NAME"
    )
    moving: bool = opt(False, "A scan of the moving modality: macJNet has a segmentor for each.")


@command
def segment(options: SegmentOptions, session: Session) -> None:
    """Label the organs of one scan, on its own grid. The names of the labels are written beside it, as JSON.

    Example: jssr segment venous.nii.gz -o venous_organs.nii.gz
    """
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


@dataclass(frozen=True, kw_only=True)
class WarpOptions(Options):
    source: Path = arg(
        "Image, label map, points (CSV, .mrk.json, .fcsv, elastix's .txt), or DICOM Segmentation, RT Structure Set or "
        "RT Dose.",
        metavar="INPUT",
    )
    transform: Path = opt(
        MISSING,
        "displacement.nii.gz, or any that jssr convert reads; flirt:FILE names its format; identity moves nothing.",
        metavar="FILE",
    )
    out: Path = opt(
        MISSING, "File to write; points as .csv, .mrk.json, .fcsv or .txt; a DICOM object also as .dcm.", "-o", "--out"
    )
    reference: Path | None = opt(None, "Image whose grid the result takes. See above for the default.")
    to: Literal["fixed", "moving"] = opt("fixed", "The space in which the result lies.")
    kind: Literal["auto", "image", "labels"] = opt(
        "auto", "Labels keep their numbers; auto tells by the header and by whether values are constant in pieces."
    )
    label_names: Path | None = opt(None, NAMES + " They are written beside the result.")
    dose: Path | None = opt(None, "RT Dose in the space of an RT Structure Set: tells the structures' mean dose.")
    contours: Literal["shape", "points"] = opt(
        "shape", "Of an RT Structure Set: its inside is carried and cut on the slices, or its points are carried."
    )


@command
def warp(options: WarpOptions, session: Session) -> None:
    """Apply a transform to an image, a label map or points.

    T takes points of the fixed space to the moving space. `--to` is the space of the RESULT, whatever the input is.

    --to fixed: INPUT belongs to the moving scan. An image is pulled onto the fixed grid (--reference; by default the
    grid of the displacement field); points are carried by the inverse of T.

    --to moving: INPUT belongs to the fixed scan. An image is pulled through the inverse of T onto the moving scan's
    grid (--reference is needed); points are carried by T itself.

    A DICOM Segmentation, RT Structure Set or RT Dose written as .dcm belongs to the series that --reference names.

    Example: jssr warp arterial_labels.nii.gz --transform aligned/displacement.nii.gz -o moved_labels.nii.gz

    Example: jssr warp RS.dcm --transform aligned/displacement.nii.gz --reference fixed/ -o carried.dcm
    """
    from jssr.api.objects import Carried  # loads torch

    with collected() as told:
        found = jssr.warp(**options.given())
    kind = getattr(found, "kind", "points")
    data: dict[str, Any] = {"written": str(options.out), "kind": kind, "space": options.to}
    line = f"{kind} in {options.to} space written to {options.out}"
    if isinstance(found, Carried):
        from jssr.cli.tables import carried_table

        told += found.warnings
        data |= {"structures": found.structures, "dose": found.dose, "warnings": told}
        session.finish(data, line, *carried_table(found.structures, found.dose), warnings=told)
    else:
        session.finish(data | {"warnings": told}, line, warnings=told)


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(Options):
    transforms: list[Path] = arg("Transforms; a point of the fixed space goes through the first one first.")
    out: Path = opt(
        MISSING, "A field (.nii.gz .nrrd .mha), ITK's transform (.h5 .tfm .mat), or what --to names.", "-o", "--out"
    )
    written_by: str = opt(
        "auto",
        f"One of {', '.join(FORMATS_READ)}; auto goes by content. FORMAT:FILE is of one file.",
        "--from",
        metavar="FORMAT",
    )
    to: str = opt(
        "itk", f"One of {', '.join(FORMATS_WRITTEN)}; itk is read by ITK, ANTs, 3D Slicer and jssr.", metavar="FORMAT"
    )
    fixed: Path | None = opt(None, "The fixed image: for FSL and AFNI, and as the grid of a field.")
    moving: Path | None = opt(None, "The moving image: for FSL and AFNI.")
    inverse: bool = opt(False, "Invert the transform; a field then lies on --moving's grid.")


@command
def convert(options: ConvertOptions, session: Session) -> None:
    """Bring transforms from other programs into one file, or to other programs.

    What is written maps fixed to moving space, LPS millimetres, as everything here does. ANTs writes a warp and an
    affine: name them in this order.

    Example: jssr convert out1Warp.nii.gz out0GenericAffine.mat -o displacement.nii.gz

    Example: jssr convert TransformParameters.1.txt -o displacement.nii.gz

    Example: jssr convert y_subject.nii -o displacement.h5

    Example: jssr convert flirt.mat --from flirt --fixed fixed.nii.gz --moving moving.nii.gz -o affine.tfm
    """
    jssr.convert(**options.given())
    data = {"written": str(options.out), "to": options.to, "inverse": options.inverse}
    session.finish(data, f"written to {options.out}")
