"""When a network gives way to the search, and what that does: `python benchmarks/fallback.py SCANS WEIGHTS`.

SCANS is what `benchmarks/real_scans.py` wrote. Each judged pair with landmarks is aligned by the network alone, without
instance optimisation: the landmark error before, of the network's field, and of the field that is used
(`jssr.registration.fallback`). Body parts that the network was not trained on should give way, others not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from jssr.evaluation.runner import cases_of
from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.io.points import read_points
from jssr.metrics.transforms import tre
from jssr.preprocessing.modality import decide_modality
from jssr.registration import pipeline
from jssr.registration.fallback import or_search
from jssr.registration.model import Model, load_model
from jssr.systems.base import Alignment

SETS = ("sts_ctmr", "mni", "hcc", "totalseg_map", "eth_liver")


def main() -> None:
    """Print a line for each pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(None, chosen.weights)
    print("| pair | gave way | rigid, mm | network, mm | used, mm |\n| --- | --- | ---: | ---: | ---: |")
    for name in chosen.sets:
        cohort = Cohort.load(chosen.scans / name)
        for case in cases_of(cohort, chosen.split):
            phases = (cohort.reference_phase, next(p for p in case.images if p != cohort.reference_phase))
            fixed, moving = (decide_modality(read_image(cohort.image(case, p)))[0] for p in phases)
            marks = [read_points(cohort.root / case.landmarks[p]) for p in phases]
            pair = pipeline.prepare(model, fixed, moving)

            def align(one: Model, pair: pipeline.PreparedPair = pair) -> Alignment:
                return pipeline._align(one, pair, None)

            made = align(model)
            _, used, told = or_search(model, pair, made, align)
            fields = (pipeline._full(a.displacement, pair.grid, pair).chain for a in (made, used))
            rigid, network, final = (float(tre(marks[0], marks[1], t).mean()) for t in (pair.transform, *fields))
            gave = "yes" if told else "no"
            print(f"| {name} {case.id} | {gave} | {rigid:.1f} | {network:.1f} | {final:.1f} |", flush=True)


if __name__ == "__main__":
    main()
