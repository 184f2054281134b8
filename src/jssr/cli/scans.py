"""Commands on the scans of one patient: register, series, align, segment, synthesise, warp, convert."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import jssr
from jssr.cli.options import Alignment, Choice, Options, Out, Rigid, Saving, command
from jssr.cli.session import Session, read_json
from jssr.io.formats import FORMATS_READ, FORMATS_WRITTEN

__all__ = ["align", "convert", "register", "segment", "series", "synthesise", "warp"]

Fixed = Annotated[
    Path, typer.Argument(help="The scan that stays: NIfTI, NRRD, MHA or a DICOM folder.", metavar="FIXED")
]
Moving = Annotated[Path, typer.Argument(help="The scan that is moved onto it.", metavar="MOVING")]
Labels = Annotated[Path | None, typer.Option(help="Its label map: Dice, HD95 and ASD before and after are measured.")]
Landmarks = Annotated[Path | None, typer.Option(help="Its landmarks, CSV name,x,y,z in LPS mm, matched by name.")]
Initial = Annotated[
    Literal["geometry", "centre"],
    typer.Option("--initial", help="Start of the rigid step: the headers, or centre on centre."),
]
FixedModality = Annotated[
    Literal["ct", "mr", "radiograph"] | None,
    typer.Option("--fixed-modality", help="The fixed scan's, where no DICOM header says so; by default a guess."),
]
MovingModality = Annotated[
    Literal["ct", "mr", "radiograph"] | None,
    typer.Option("--moving-modality", help="The moving scans', where no DICOM header says so; by default a guess."),
]


@dataclass(frozen=True)
class RegisterOptions(Alignment):
    """How one pair is aligned, and what is known of it."""

    initial: Initial = "geometry"
    fixed_modality: FixedModality = None
    moving_modality: MovingModality = None
    fixed_labels: Labels = None
    moving_labels: Labels = None
    fixed_landmarks: Landmarks = None
    moving_landmarks: Landmarks = None


@command
def register(
    fixed: Fixed, moving: Moving, out: Out, options: RegisterOptions, saving: Saving, session: Session
) -> None:
    """Align one scan to another.

    Writes moved.nii.gz, displacement.nii.gz (the full transform on the fixed grid, mm, LPS), inverse.nii.gz, what the
    system synthesises and segments, result.json and report.html.

    Example: jssr register venous.nii.gz arterial.nii.gz -o aligned --refine 40
    """
    with session.progress() as show:
        found = jssr.register(fixed, moving, out=out, on_progress=show, **options.given(), **saving.given())
    from jssr.cli.tables import cost_of, pair_table

    session.finish(
        read_json(out), *pair_table(found), f"{cost_of(found)}; written to {out}", warnings=found.result["warnings"]
    )


@dataclass(frozen=True)
class SeriesOptions(Options):
    """Which DICOM series is which phase."""

    phase: Annotated[
        list[str] | None,
        typer.Option("--phase", help="DICOM: which series is which phase, arterial=5 (its number or UID); repeat it."),
    ] = None
    leave: Annotated[list[str] | None, typer.Option("--leave", help="DICOM: a series to leave out; repeat it.")] = None

    def phases(self) -> dict[str, str]:
        """Phase to series."""
        return _by_phase(self.phase, "a phase and one series, as in --phase arterial=5")


def _by_phase(given: list[str] | None, expected: str) -> dict[str, str]:
    """Phase to value of the words PHASE=VALUE."""
    out: dict[str, str] = {}
    for words in given or []:
        phase, equals, value = (part.strip() for part in words.partition("="))
        if not (re.fullmatch(r"[\w][\w +-]{0,63}", phase) and equals and value) or phase in out:
            raise typer.BadParameter(f"{words!r}: name {expected}")
        out[phase] = value
    return out


@command
def series(
    study: Annotated[Path, typer.Argument(help="Folder of one patient's DICOM.", metavar="STUDY")],
    chosen: SeriesOptions,
    session: Session,
) -> None:
    """List the series of a DICOM study and which phase `jssr align` takes each for, and why.

    Example: jssr series patient7 --phase arterial=5
    """
    found = jssr.series(study, chosen.phases(), chosen.leave or ())
    from jssr.cli.tables import series_rows, series_table

    session.finish(series_rows(found), series_table(found))


@dataclass(frozen=True)
class AlignOptions(Alignment):
    """How the scans of a study are aligned."""

    modality: Annotated[
        list[str] | None,
        typer.Option("--modality", help="PHASE=ct, mr or radiograph, where no DICOM header says so; repeat it."),
    ] = None
    initial: Initial = "geometry"
    fixed_modality: FixedModality = None
    moving_modality: MovingModality = None

    def given(self) -> dict[str, Any]:
        """With the modalities by phase."""
        modalities = _by_phase(self.modality, "a phase and its modality, as in --modality t2=mr")
        unknown = next((word for word in modalities.values() if word not in ("ct", "mr", "radiograph")), None)
        if unknown:
            raise typer.BadParameter(f"{unknown!r}: expected ct, mr or radiograph")
        options = super().given()
        options.pop("modality", None)
        return options | {"modalities": modalities}


@command
def align(
    study: Annotated[
        Path,
        typer.Argument(
            help="Folder of one patient: scans named by phase, a case of a cohort, or DICOM.", metavar="STUDY"
        ),
    ],
    out: Out,
    options: AlignOptions,
    chosen: SeriesOptions,
    saving: Saving,
    session: Session,
    reference_phase: Annotated[
        str, typer.Option("--reference-phase", "--anchor", help="The phase that stays.")
    ] = "venous",
) -> None:
    """Align every scan of a patient to the reference phase.

    Writes a folder per phase with the files of `jssr register`, results.csv, result.json and one report.html. Of
    DICOM it shows first which series it takes for which phase (`jssr series` shows that alone).

    Example: jssr align patient7 -o patient7-aligned --reference-phase venous
    """
    found = jssr.read_study(study, chosen.phases(), chosen.leave or (), by_folder=not saving.anonymise)
    from jssr.cli.tables import series_table, study_table, study_warnings

    if found.series:
        session.show(series_table(found.series))
    with session.progress() as show:
        done = jssr.align(found, reference_phase, out=out, on_progress=show, **options.given(), **saving.given())
    session.finish(read_json(out), *study_table(done), f"written to {out}", warnings=study_warnings(done))


@dataclass(frozen=True)
class Labeller(Choice):
    """Which system segments."""

    system: Annotated[
        str | None,
        typer.Option(
            "--system", help="By default the checkpoint's, else jssr, for radiographs jrsnet.", metavar="NAME"
        ),
    ] = None


@command
def segment(
    image: Annotated[Path, typer.Argument(help="The scan.", metavar="IMAGE")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Label map to write, or a folder for segmentation.nii.gz.")],
    options: Labeller,
    session: Session,
    moving: Annotated[
        bool, typer.Option("--moving", help="A scan of the moving modality: macJNet has a segmentor for each.")
    ] = False,
) -> None:
    """Label the organs of one scan, on its own grid. The names of the labels are written beside it, as JSON.

    Example: jssr segment venous.nii.gz -o venous_organs.nii.gz
    """
    with session.progress() as show:
        found = jssr.segment(image, out=out, moving=moving, on_progress=show, **options.given())
    data = {"written": str(found.written), "label_names": found.label_names, "warnings": list(found.warnings)}
    names = ", ".join(f"{value} {name}" for value, name in found.label_names.items())
    session.finish(data, f"{found.written}: {names}", warnings=found.warnings)


@dataclass(frozen=True)
class Generator(Choice):
    """Which system synthesises."""

    system: Annotated[
        str | None,
        typer.Option("--system", help="By default the checkpoint's, else jssr, whatever the scan.", metavar="NAME"),
    ] = None
    rigid: Rigid = True


@command
def synthesise(
    moving: Annotated[Path, typer.Argument(help="The scan to show in another appearance.", metavar="MOVING")],
    fixed: Annotated[Path, typer.Argument(help="The scan whose appearance and grid it takes.", metavar="FIXED")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Image to write, or a folder for synthesised.nii.gz.")],
    options: Generator,
    session: Session,
) -> None:
    """Show the moving scan as if it had been taken like the fixed one.

    On the fixed grid, aligned rigidly at most: anatomy stays where the moving scan has it. Intensities beyond the
    window that the system was trained with are cut off.

    Example: jssr synthesise arterial.nii.gz venous.nii.gz -o arterial_as_venous.nii.gz
    """
    with session.progress() as show:
        jssr.synthesise(moving, fixed, out=out, on_progress=show, **options.given())
    session.finish({"written": str(out)}, f"written to {out}")


@dataclass(frozen=True)
class WarpOptions(Options):
    """What lies where."""

    reference: Annotated[
        Path | None, typer.Option("--reference", help="Image whose grid the result takes. See above for the default.")
    ] = None
    to: Annotated[Literal["fixed", "moving"], typer.Option("--to", help="The space in which the result lies.")] = (
        "fixed"
    )
    kind: Annotated[
        Literal["auto", "image", "labels"],
        typer.Option("--kind", help="Labels keep their numbers; auto: whole numbers from 0, at most 128 of them."),
    ] = "auto"


@command
def warp(
    source: Annotated[
        Path, typer.Argument(help="Image, label map or CSV of points (name,x,y,z; LPS mm).", metavar="INPUT")
    ],
    transform: Annotated[
        Path, typer.Option("--transform", help="displacement.nii.gz, deformation.dcm, ITK's .tfm .txt .mat .h5.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write; points need .csv.")],
    options: WarpOptions,
    session: Session,
) -> None:
    """Apply a transform to an image, a label map or points.

    T takes points of the fixed space to the moving space. `--to` is the space of the RESULT, whatever the input is.

    --to fixed: INPUT belongs to the moving scan. An image is pulled onto the fixed grid (--reference; by default the
    grid of the displacement field); points are carried by the inverse of T.

    --to moving: INPUT belongs to the fixed scan. An image is pulled through the inverse of T onto the moving scan's
    grid (--reference is needed); points are carried by T itself.

    Example: jssr warp arterial_labels.nii.gz --transform aligned/displacement.nii.gz -o moved_labels.nii.gz
    """
    made = jssr.warp(source, transform, out=out, **options.given())
    what = getattr(made, "kind", "points")
    session.finish(
        {"written": str(out), "kind": what, "space": options.to}, f"{what} in {options.to} space written to {out}"
    )


@dataclass(frozen=True)
class ConvertOptions(Options):
    """From which format to which."""

    written_by: Annotated[
        str,
        typer.Option(
            "--from", help=f"One of {', '.join(FORMATS_READ)}; auto goes by content and ending.", metavar="FORMAT"
        ),
    ] = "auto"
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help=f"One of {', '.join(FORMATS_WRITTEN)}; itk is read by ITK, ANTs, 3D Slicer and jssr.",
            metavar="FORMAT",
        ),
    ] = "itk"
    fixed: Annotated[
        Path | None, typer.Option("--fixed", help="The fixed image: for FSL, and as the grid of a field.")
    ] = None
    moving: Annotated[Path | None, typer.Option("--moving", help="The moving image: for FSL.")] = None
    inverse: Annotated[
        bool, typer.Option("--inverse", help="Invert the transform; a field then lies on --moving's grid.")
    ] = False


@command
def convert(
    transforms: Annotated[
        list[Path],
        typer.Argument(
            help="Transforms; a point of the fixed space goes through the first one first.", metavar="TRANSFORMS"
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="A field (.nii.gz .nrrd .mha) or a matrix (.tfm .txt .mat .h5).")
    ],
    options: ConvertOptions,
    session: Session,
) -> None:
    """Bring transforms from other programs into one file, or to other programs.

    What is written maps fixed to moving space, LPS millimetres, as everything here does. ANTs writes a warp and an
    affine: name them in this order.

    Example: jssr convert out1Warp.nii.gz out0GenericAffine.mat -o displacement.nii.gz

    Example: jssr convert TransformParameters.1.txt -o displacement.nii.gz

    Example: jssr convert flirt.mat --from flirt --fixed fixed.nii.gz --moving moving.nii.gz -o affine.tfm
    """
    jssr.convert(transforms, out=out, **options.given())
    session.finish({"written": str(out), "to": options.to, "inverse": options.inverse}, f"written to {out}")
