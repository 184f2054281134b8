"""`jssr demo`: the whole line on a patient who does not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jssr.cli import options as opt

__all__ = ["DEMO_SEED", "demo"]

DEMO_SEED = 20_000
"""Far from the seeds of the training cohorts: no scan of the demo was seen in training."""


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the patient and the results.")] = Path(
        "jssr-demo"
    ),
    checkpoint: opt.Checkpoint = None,
    refine: opt.Refine = None,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    verbose: opt.Verbose = False,
) -> None:
    """Make a phantom patient in four phases and align it to the venous phase with the shipped weights.

    Example: jssr demo -o demo
    """
    opt.prepare_session(threads, verbose)
    from jssr.cli.tables import show_results, warn
    from jssr.io.cohort import Case, Cohort
    from jssr.io.study import study_of
    from jssr.phantom.study import REFERENCE_PHASE, make_study
    from jssr.phantom.writer import regions_of, write_study
    from jssr.registration.model import load_model
    from jssr.registration.study import align

    model = load_model("jssr", checkpoint, device)
    with opt.Stages(3 * 8 + 3).shown() as stages:
        stages("making a patient")
        patient = make_study(DEMO_SEED, 0)
        case = write_study(patient, out)["case"]
        place = out / patient.id
        cohort = Cohort(
            name="demo",
            reference_phase=REFERENCE_PHASE,
            cases=[Case(**case)],
            label_names=patient.label_names,
            regions=regions_of(patient.label_names),
            root=out,
        )
        cohort.save()
        study = study_of(cohort, cohort.cases[0])
        done = align(study, REFERENCE_PHASE, checkpoint=model, refine=refine, device=device, on_stage=stages)
        stages("writing")
        done.save(out)
    show_results(opt.console(), done.results)
    warn(done)
    opt.console().print(f"patient in {place}, report in {out / 'report.html'}", soft_wrap=True)
