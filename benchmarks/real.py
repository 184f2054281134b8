"""Ours beside all peers on real scans, one thread each: first the judged pairs of every set, then those for tuning.

    python benchmarks/real_scans.py DATA SCANS
    python benchmarks/real.py SCANS                                   # what is missing of every set and method
    python benchmarks/real.py SCANS --sets hcc --methods discrete --again   # one row anew
    python benchmarks/real.py SCANS --before CHECKOUT --methods "discrete, before"
    python benchmarks/real.py SCANS --collect                         # SCANS/results -> benchmarks/real_results.json
    python benchmarks/real.py --tables                                # benchmarks/real_results.json -> docs

What is done is kept in SCANS/results/SET/SPLIT (the layout of `jssr benchmark`) and is not done again without --again;
so is a pair that failed. Run it on one core (`taskset -c 1`), with nothing beside it where seconds matter.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from real_methods import EARLIER, OURS, rows, usable
from real_results import RESULTS, collect
from real_tables import write_docs

from jssr.cohorts.store import Store
from jssr.evaluation.methods import BEFORE
from jssr.evaluation.runner import RunOptions, cases_of, first_grid, run
from jssr.io.cohort import Cohort

SETS = (
    "hippocampus", "prostate", "totalseg_map", "recoloured", "sts_ctmr", "mni", "acdc", "eth_liver", "hcc", "brain",
    "cxr_jsrt", "cxr_gbc",
)  # fmt: skip
"""The cheapest first."""
METHODS = (
    *BEFORE, "elastix", "greedy", "greedy-mi", "convexadam", "syn-mi", "elastix-tuned", "deeds", "syn-cc", *OURS,
)  # fmt: skip
SPLITS = ("test", "validation")


def run_set(scans: Path, name: str, split: str, methods: Sequence[str], before: Path | None, again: bool) -> None:
    """Run what is missing of one set and split."""
    cohort = Cohort.load(scans / name)
    if all(case.split != split for case in cohort.cases):
        return
    cases = cases_of(cohort, split)
    out = scans / "results" / name / split
    grid = first_grid(cohort, cases, cohort.reference_phase)
    for method in rows(usable(methods, grid.ndim), before):
        folder = out / "cases" / method.folder
        if again:
            shutil.rmtree(folder, ignore_errors=True)
        todo = [case for case in cases if not Store(folder).failures(case.id)]
        if not todo:
            continue

        def told(done: int, of: int, what: str) -> None:
            print(f"{name}, {split}: {what} ({done} of {of})", flush=True)

        found = run(cohort, todo, [method], out, RunOptions(apart=True), told)
        for failure in found.failed:
            print(f"{name}, {split}: {failure.method} failed on {failure.case}: {failure.reason}", flush=True)


def main() -> None:
    """Run, collect or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, nargs="?", help="the folder that benchmarks/real_scans.py wrote")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, EARLIER), default=list(METHODS))
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help=f"of the row {EARLIER!r}")
    parser.add_argument("--again", action="store_true", help="do the named methods anew, also what is done or failed")
    parser.add_argument("--collect", action="store_true", help=f"write {RESULTS.name} from what is done")
    parser.add_argument("--tables", action="store_true", help=f"write the tables of the docs from {RESULTS.name}")
    chosen = parser.parse_args()
    if chosen.scans is None and not chosen.tables:
        parser.error("name the folder of the scans, or --tables")
    if chosen.collect:
        collect(chosen.scans / "results", RESULTS)
    if chosen.tables:
        write_docs(RESULTS)
    if chosen.collect or chosen.tables:
        return
    torch.set_num_threads(1)
    for split in chosen.splits:
        for name in chosen.sets:
            if (chosen.scans / name / "cohort.json").is_file():
                run_set(chosen.scans, name, split, chosen.methods, chosen.before, chosen.again)
            else:
                print(f"{chosen.scans / name}: no cohort.json, left out", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
