"""Commands around trained systems: train, evaluate, report, info."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jssr.cli import options as opt

if TYPE_CHECKING:
    from jssr.io.cohort import Cohort

__all__ = ["evaluate", "info", "report", "train"]


class Accelerator(StrEnum):
    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"
    mps = "mps"


def train(
    recipe: Annotated[
        str, typer.Argument(help="Name of a built-in recipe, or a .json or .toml file.", metavar="RECIPE")
    ],
    data: Annotated[Path, typer.Option("--data", help="Prepared cohort of the pairs.", metavar="COHORT")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.", metavar="RUN")],
    supervised: Annotated[
        Path | None, typer.Option("--supervised", help="Prepared labelled cohort for the segmentor.", metavar="COHORT")
    ] = None,
    override: opt.Override = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in RUN.")] = False,
    start_from: Annotated[
        list[Path] | None,
        typer.Option("--start-from", help="Weights to begin with, of the parts that both have; repeat.", metavar="RUN"),
    ] = None,
    devices: Annotated[int, typer.Option("--devices", min=1, help="Processes, one a device.")] = 1,
    accelerator: Annotated[Accelerator, typer.Option("--accelerator")] = Accelerator.auto,
    cache_gb: Annotated[float, typer.Option("--cache-gb", min=0.1, help="Memory for prepared scans.")] = 4.0,
    deterministic: opt.Deterministic = False,
    threads: opt.Threads = None,
    verbose: opt.Verbose = False,
) -> None:
    """Train a system by a recipe.

    Leaves weights.safetensors for use, and losses.csv, tensorboard/, pictures/ to watch.

    Example: jssr train jssr-compact --data prepared --supervised prepared-supervised -o run
    """
    opt.prepare_session(threads, verbose)
    from jssr.errors import RecipeError
    from jssr.io.cohort import Cohort
    from jssr.io.output import check_output
    from jssr.recipes.load import build_system, load_recipe
    from jssr.training.checkpoint import has_state
    from jssr.training.initial_weights import begun
    from jssr.training.initial_weights import start_from as begin
    from jssr.training.loop import train as run
    from jssr.training.sources import source_of

    check_output(out)
    plan = load_recipe(recipe, override or [])
    if resume and not override and (out / "recipe.json").is_file():
        before = load_recipe(str(out / "recipe.json"))  # with the overrides that the run was begun with
        plan = before if before.name == plan.name else plan
    if not plan.training.stages:
        raise RecipeError(f"recipe {plan.name}: has nothing to train; use it with --system {plan.network.system}")
    cohort = Cohort.load(data)
    labelled = Cohort.load(supervised) if supervised is not None else None
    needs = plan.training.needs
    if labelled is None and "supervised" in needs:
        raise RecipeError(f"recipe {plan.name}: trains a segmentor and needs --supervised COHORT")
    source = source_of(plan, cohort, labelled, cache_gb)
    source.check(needs)
    if seen := source.described(needs):
        opt.console().print(seen)
    import torch

    torch.manual_seed(plan.training.seed)
    told: dict[str, object] = {"pairs": _told(cohort), "supervised": _told(labelled)}
    system = build_system(plan)
    if resume and has_state(out / "checkpoint"):
        if start_from:
            opt.console().print(f"{out} goes on from its own state; --start-from was for its first step")
        told |= begun(out)
    else:
        for other in start_from or ():
            parts = begin(system, other, plan.network.structures)
            opt.console().print(f"{', '.join(parts)} begin with the weights of {other}")
        if start_from:
            told["started from"] = [str(other) for other in start_from]
    run(
        plan, system, source, out, resume=resume, devices=devices, accelerator=accelerator.value,
        deterministic=deterministic, data=told,
    )  # fmt: skip
    opt.console().print(f"trained; weights in {out / 'weights.safetensors'}")


def evaluate(
    cohort: Annotated[Path, typer.Argument(help="Cohort with labels or landmarks of its phases.", metavar="COHORT")],
    out: opt.Out,
    split: Annotated[str, typer.Option("--split", help="train, validation, test or all.")] = "test",
    system: opt.SystemName = None,
    checkpoint: opt.Checkpoint = None,
    refine: opt.Refine = None,
    descriptor: opt.Descriptor = None,
    rigid: opt.Rigid = True,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that share the cases; seconds are honest with 1.")
    ] = 1,
    device: opt.Device = "cpu",
    deterministic: opt.Deterministic = False,
    threads: opt.Threads = None,
    verbose: opt.Verbose = False,
) -> None:
    """Measure a system on the cases of a cohort: Dice, HD95, ASD, TRE, folds, seconds, memory.

    Per case to CSV as it is done (an interrupted run continues), mean (sd) per phase in tables.md, with the rows
    initial and rigid beside, and the segmentor's Dice per phase; the same with pictures in report.html.

    Example: jssr evaluate cohort --split test --refine 40 -o evaluation
    """
    opt.prepare_session(threads, verbose)
    from jssr.cli.tables import case_bar, rich_table
    from jssr.evaluation import evaluate as engine
    from jssr.evaluation.runner import cases_of
    from jssr.io.cohort import Cohort
    from jssr.registration.model import load_model

    patients = Cohort.load(cohort)
    if system is None and checkpoint is None:
        system = engine.fitting_cohort(patients, cases_of(patients, split))
        opt.console().print(f"system: {system}, as jssr register takes for such scans")
    model = load_model(system, checkpoint, device, deterministic, descriptor and descriptor.value)
    with case_bar() as on_case:
        options = engine.EvaluationOptions(split, refine, rigid, workers)
        found = engine.evaluate(patients, model, out, options, on_case)
    for summary in found.tables:
        opt.console().print(rich_table(summary))
    opt.console().print(f"written to {out}")


def report(
    folder: Annotated[Path, typer.Argument(help="What register, align, demo or evaluate wrote.", metavar="DIR")],
    verbose: opt.Verbose = False,
) -> None:
    """Write report.html of a result or an evaluation again.

    Of a result the scans must still be where they were.

    Example: jssr report aligned
    """
    opt.prepare_session(None, verbose)
    from jssr.cli.tables import rich_table
    from jssr.evaluation.evaluate import read_evaluation
    from jssr.registration.reload import rewrite_report

    if (folder / "evaluation.json").is_file():
        for summary in read_evaluation(folder).tables:
            opt.console().print(rich_table(summary))
        opt.console().print(f"written to {folder / 'report.html'}")
        return
    opt.console().print(f"written to {rewrite_report(folder)}")


def info(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="Weights file, run folder, or jssr (the default) or jrsnet for the weights that ship.",
            metavar="[CHECKPOINT]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole header as JSON.")] = False,
) -> None:
    """Say what a checkpoint is, what it was trained on, and how it scored.

    Example: jssr info run/weights.safetensors
    """
    import json

    from rich.table import Table

    from jssr.recipes.weights import read_info
    from jssr.registration.model import weights_at

    path = weights_at(checkpoint or "jssr")
    header = read_info(path)
    if as_json:
        typer.echo(json.dumps(header, indent=1))
        return
    recipe = dict(header.get("recipe") or {})
    table = Table(title=str(path), title_justify="left", show_header=False)
    rows = {
        "recipe": recipe.get("name"),
        "description": recipe.get("description"),
        "structures": ", ".join((recipe.get("network") or {}).get("structures") or ()),
    }
    to = recipe.get("preprocessing") or {}
    if 3 in (to.get("dims") or [3]):
        rows |= {"spacing (mm)": to.get("spacing"), "window (HU)": to.get("window")}
    if 2 in (to.get("dims") or [3]):
        rows["pixels a side"] = to.get("pixels")
    for key, value in {**{k: v for k, v in header.items() if k != "recipe"}, **rows}.items():
        table.add_row(str(key), value if isinstance(value, str) else json.dumps(value))
    opt.console().print(table)
    card = path.with_suffix(".md")
    if card.is_file():
        from rich.markdown import Markdown

        opt.console().print(Markdown(card.read_text(encoding="utf-8")))


def _told(cohort: Cohort | None) -> dict[str, object] | None:
    """Plain words on a cohort for the checkpoint's header."""
    if cohort is None:
        return None
    from jssr.cohorts.prepared import modalities_of

    told = {"name": cohort.name, "cases": len(cohort.cases), "phases": list(cohort.phases)}
    return {**told, "modalities": modalities_of(cohort)}
