"""Commands on a whole study: which series is which phase, and every scan aligned to one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from jssr.cli import options as opt
from jssr.cli.use import OWN, STAGES

__all__ = ["align", "series"]

Phases = Annotated[
    list[str] | None,
    typer.Option("--phase", help="DICOM: which series is which phase, arterial=5 (its number or UID); repeat it."),
]
Leave = Annotated[list[str] | None, typer.Option("--leave", help="DICOM: a series to leave out; repeat it.")]


def phases_of(told: list[str] | None) -> dict[str, str]:
    """Phase to series of the words PHASE=SERIES."""
    out: dict[str, str] = {}
    for words in told or []:
        phase, equals, series = words.partition("=")
        if (
            not (re.fullmatch(r"[\w][\w +-]{0,63}", phase.strip()) and equals and series.strip())
            or phase.strip() in out
        ):
            raise typer.BadParameter(f"{words!r}: name a phase and one series, as in --phase arterial=5")
        out[phase.strip()] = series.strip()
    return out


def series(
    study: Annotated[Path, typer.Argument(help="Folder of one patient's DICOM.", metavar="STUDY")],
    phase: Phases = None,
    leave: Leave = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    verbose: opt.Verbose = False,
) -> None:
    """List the series of a DICOM study and which phase `jssr align` takes each for, and why.

    Example: jssr series patient7 --phase arterial=5
    """
    opt.prepare_session(None, verbose)
    from jssr.cli.tables import series_rows, show_series
    from jssr.errors import ImageError
    from jssr.io.study import read_study

    found = read_study(study, phases_of(phase), leave or ())
    if not found.series:
        raise ImageError(f"{study}: holds no DICOM; its scans are {', '.join(found.images)}")
    if as_json:
        typer.echo(json.dumps(series_rows(found.series), indent=1))
    else:
        show_series(opt.console(), found.series)


def align(
    study: Annotated[
        Path,
        typer.Argument(
            help="Folder of one patient: scans named by phase, a case of a cohort, or DICOM.", metavar="STUDY"
        ),
    ],
    out: opt.Out,
    reference_phase: Annotated[
        str, typer.Option("--reference-phase", "--anchor", help="The phase that stays.")
    ] = "venous",
    system: opt.SystemName = None,
    checkpoint: opt.Checkpoint = None,
    refine: opt.Refine = None,
    descriptor: opt.Descriptor = None,
    rigid: opt.Rigid = True,
    initial: opt.InitialOption = opt.Initial.geometry,
    report: opt.Report = True,
    phase: Phases = None,
    leave: Leave = None,
    dicom: opt.AsDicom = False,
    anonymise: opt.Anonymise = False,
    device: opt.Device = "cpu",
    deterministic: opt.Deterministic = False,
    threads: opt.Threads = None,
    verbose: opt.Verbose = False,
) -> None:
    """Align every scan of a patient to the reference phase.

    Writes a folder per phase with the files of `jssr register`, results.csv, result.json and one report.html. Of
    DICOM it tells first which series it takes for which phase (`jssr series` tells that alone).

    Example: jssr align patient7 -o patient7-aligned --reference-phase venous
    """
    opt.prepare_session(threads, verbose)
    from jssr.cli.tables import show_results, show_series, warn
    from jssr.io.output import check_output
    from jssr.io.study import anonymous_study, read_study
    from jssr.registration import study as engine

    check_output(out)
    found = read_study(study, phases_of(phase), leave or (), by_folder=not anonymise)
    if found.series:
        show_series(opt.console(), found.series)
    found.check(reference_phase)
    headers = None
    if dicom:
        from jssr.registration.dicom import study_sources

        headers = study_sources(found, reference_phase, anonymise)
    if anonymise:
        found = anonymous_study(found)
    with opt.Stages(STAGES * max(1, len(found.images) - 1) + 1).shown() as stages:
        done = engine.align(
            found, reference_phase, system=system, checkpoint=checkpoint, refine=refine, rigid=rigid,
            initial=initial.value, descriptor=descriptor and descriptor.value,
            device=device, deterministic=deterministic, on_stage=stages,
        )  # fmt: skip
        stages("writing")
        done.save(out, report, headers, anonymise)
    own = all(one.truth.fixed_labels is None for one in done.registrations.values())
    show_results(opt.console(), done.results, OWN if own else "")
    warn(done)
    opt.console().print(f"written to {out}")
