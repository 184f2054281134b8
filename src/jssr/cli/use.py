"""Commands that use a trained system on one scan or two: register, segment, synthesise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jssr.cli import options as opt

if TYPE_CHECKING:
    from jssr.registration.result import Registration

__all__ = ["OWN", "STAGES", "register", "segment", "synthesise"]

OWN = "Dice is that of the system's own segmentations"
STAGES = 8
"""Stages of one registration: read, load, prepare, network, refine, fullsize, inverse, measure."""

Fixed = Annotated[
    Path, typer.Argument(help="The scan that stays: NIfTI, NRRD, MHA or a DICOM folder.", metavar="FIXED")
]
Moving = Annotated[Path, typer.Argument(help="The scan that is moved onto it.", metavar="MOVING")]
Labels = Annotated[Path | None, typer.Option(help="Its label map: Dice, HD95 and ASD before and after are measured.")]
Landmarks = Annotated[Path | None, typer.Option(help="Its landmarks, CSV name,x,y,z in LPS mm, matched by name.")]


def register(
    fixed: Fixed,
    moving: Moving,
    out: opt.Out,
    system: opt.SystemName = None,
    checkpoint: opt.Checkpoint = None,
    refine: opt.Refine = None,
    descriptor: opt.Descriptor = None,
    rigid: opt.Rigid = True,
    initial: opt.InitialOption = opt.Initial.geometry,
    fixed_labels: Labels = None,
    moving_labels: Labels = None,
    fixed_landmarks: Landmarks = None,
    moving_landmarks: Landmarks = None,
    report: opt.Report = True,
    dicom: opt.AsDicom = False,
    anonymise: opt.Anonymise = False,
    device: opt.Device = "cpu",
    deterministic: opt.Deterministic = False,
    threads: opt.Threads = None,
    verbose: opt.Verbose = False,
) -> None:
    """Align one scan to another.

    Writes moved.nii.gz, displacement.nii.gz (the whole map on the fixed grid, mm, LPS), inverse.nii.gz, what the system
    synthesises and segments, result.json and report.html.

    Example: jssr register venous.nii.gz arterial.nii.gz -o aligned --refine 40
    """
    opt.prepare_session(threads, verbose)
    from jssr.io.output import check_output
    from jssr.io.study import anonymous, named_in
    from jssr.registration import pipeline as infer
    from jssr.registration.result import Saving

    check_output(out)
    structures = named_in(fixed_labels.parent) if fixed_labels is not None else None
    headers = None
    if dicom:  # takes half a second to import
        from jssr.registration.dicom import sources_of

        headers = sources_of(fixed, moving, anonymise)
    scans = (anonymous(fixed, "fixed"), anonymous(moving, "moving")) if anonymise else (fixed, moving)
    with opt.Stages(STAGES + 2).shown() as stages:
        done = infer.register(
            *scans, system=system, checkpoint=checkpoint, refine=refine, rigid=rigid, initial=initial.value,
            descriptor=descriptor and descriptor.value,
            fixed_labels=fixed_labels, moving_labels=moving_labels, fixed_landmarks=fixed_landmarks,
            moving_landmarks=moving_landmarks, structures=structures, device=device, deterministic=deterministic,
            on_stage=stages,
        )  # fmt: skip
        stages("writing")
        done.save(out, report, Saving(headers, keep=anonymise))
    _tell(done, out)


def segment(
    image: Annotated[Path, typer.Argument(help="The scan.", metavar="IMAGE")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Label map to write, or a folder for segmentation.nii.gz.")],
    system: opt.Labeller = None,
    checkpoint: opt.Checkpoint = None,
    moving: Annotated[
        bool, typer.Option("--moving", help="A scan of the moving modality: macJNet has a segmentor for each.")
    ] = False,
    device: opt.Device = "cpu",
    deterministic: opt.Deterministic = False,
    threads: opt.Threads = None,
    verbose: opt.Verbose = False,
) -> None:
    """Label the organs of one scan, on its own grid. The names of the labels are written beside it, as JSON.

    Example: jssr segment venous.nii.gz -o venous_organs.nii.gz
    """
    opt.prepare_session(threads, verbose)
    from jssr.io.images import write_image
    from jssr.io.output import check_output, write_json
    from jssr.registration import pipeline as infer
    from jssr.registration.inputs import image_of
    from jssr.registration.model import segmenting_model

    target = image_path(out, "segmentation.nii.gz")
    check_output(target.parent)
    with opt.Stages(3).shown() as stages:
        stages("loading")
        scan = image_of(image)
        model = segmenting_model(scan, system, checkpoint, device, deterministic)
        stages("segmenting")
        labels = infer.segment(scan, checkpoint=model, moving=moving, device=device, deterministic=deterministic)
        stages("writing")
        write_image(labels, target)
        write_json({str(value): name for value, name in model.label_names.items()}, names_path(target))
    names = ", ".join(f"{value} {name}" for value, name in model.label_names.items())
    opt.console().print(f"{target}: {names}", soft_wrap=True)
    if doubt := model.doubt(scan, moving):
        typer.echo(f"warning: {doubt}", err=True)


def synthesise(
    moving: Annotated[Path, typer.Argument(help="The scan to show in another appearance.", metavar="MOVING")],
    fixed: Annotated[Path, typer.Argument(help="The scan whose appearance and grid it takes.", metavar="FIXED")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Image to write, or a folder for synthesised.nii.gz.")],
    system: opt.Network = None,
    checkpoint: opt.Checkpoint = None,
    rigid: opt.Rigid = True,
    device: opt.Device = "cpu",
    deterministic: opt.Deterministic = False,
    threads: opt.Threads = None,
    verbose: opt.Verbose = False,
) -> None:
    """Show the moving scan as if it had been taken like the fixed one.

    On the fixed grid, aligned rigidly at most: anatomy stays where the moving scan has it. Intensities beyond the
    window that the system was trained with are cut off.

    Example: jssr synthesise arterial.nii.gz venous.nii.gz -o arterial_as_venous.nii.gz
    """
    opt.prepare_session(threads, verbose)
    from jssr.io.images import write_image
    from jssr.registration import pipeline as infer

    target = image_path(out, "synthesised.nii.gz")
    with opt.Stages(2).shown() as stages:
        stages("synthesising")
        made = infer.synthesise(
            moving, fixed, system=system, checkpoint=checkpoint, rigid=rigid, device=device, deterministic=deterministic
        )
        stages("writing")
        write_image(made, target)
    opt.console().print(f"written to {target}")


def image_path(out: Path, name: str) -> Path:
    """The file meant by -o: itself, or `name` in a folder."""
    from jssr.io.itk import WRITABLE

    return out if out.name.lower().endswith(WRITABLE) else out / name


def names_path(image: Path) -> Path:
    """Where the names of a label map's numbers are written: organs.nii.gz has them in organs.json."""
    from jssr.io.itk import WRITABLE

    ending = next(e for e in WRITABLE if image.name.lower().endswith(e))
    return image.with_name(image.name[: -len(ending)] + ".json")


def _tell(done: Registration, out: Path) -> None:
    from jssr.cli.tables import show_results
    from jssr.registration.study import state_results

    screen = opt.console()
    results = state_results("pair", Path(done.moving.name).name, done)
    own = done.truth.fixed_labels is None and "segmentations" in done.result["dice"]
    show_results(screen, results, OWN if own else "")
    result = done.result
    cost = f"{result['seconds']['total']:.1f} s, {result['peak_memory_mb']} MB"
    screen.print(
        f"{cost}, {result['folds_percent']:.3g} % of the field folds; written to {out}",
        soft_wrap=True,
    )
    for warning in result["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
