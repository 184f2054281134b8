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
    refine: opt.Refine = 0,
    device: opt.Device = "cpu",
    threads: opt.Threads = None,
    verbose: opt.Verbose = False,
) -> None:
    """Make a phantom patient in four phases and align it to the venous phase with the shipped weights.

    Example: jssr demo -o demo
    """
    opt.prepare_session(threads, verbose)
    from jssr.cli.tables import show_results
    from jssr.data.phantom.study import make_study
    from jssr.data.phantom.writer import write_study
    from jssr.engine import study as engine
    from jssr.engine.model import load_model
    from jssr.evaluate.metrics import named_structures

    model = load_model("jssr", checkpoint, device)
    with opt.Stages(3 * 8 + 3).shown() as stages:
        stages("making a patient")
        patient = make_study(DEMO_SEED, 0)
        case = write_study(patient, out)["case"]
        place = out / patient.id
        structures = named_structures(patient.label_names, {"liver": ["liver", "liver_tumour"]})
        study = engine.Study(
            "phantom patient",
            {phase: out / path for phase, path in case["images"].items()},
            {phase: out / path for phase, path in case["labels"].items()},
            {phase: out / path for phase, path in case["landmarks"].items()},
            structures,
        )
        done = engine.align(study, "venous", checkpoint=model, refine=refine, device=device, on_stage=stages)
        stages("writing")
        done.save(out)
    show_results(opt.console(), done.results)
    opt.console().print(f"patient in {place}, report in {out / 'report.html'}", soft_wrap=True)
