"""Commands that apply and convert transforms: warp, convert."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal

import typer

import jssr
from jssr.cli.batch import CohortOptions, for_many, means_many, run_many
from jssr.cli.options import NAMES, Options, arg, command, opt
from jssr.cli.session import Session
from jssr.core.notes import collected
from jssr.io.formats import FORMATS_READ, FORMATS_WRITTEN


@dataclass(frozen=True, kw_only=True)
class WarpOptions(Options):
    source: Path = arg(
        "Image, label map, points (CSV, .mrk.json, .fcsv, elastix's .txt), or DICOM Segmentation, RT Structure Set or "
        "RT Dose; or a CSV (input, transform, reference, to, kind).",
        metavar="INPUT",
    )
    transform: Path | None = opt(
        None,
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
def warp(options: WarpOptions, cohort: CohortOptions, session: Session) -> None:
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
    if options.transform is None and means_many("warp", options.source):
        run_many("warp", options.source, options.out, for_many(options, "source"), cohort, session)
        return
    cohort.check_unused()
    if options.transform is None:
        raise typer.BadParameter("name the transform: --transform FILE")
    from jssr.api.objects import Carried

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
