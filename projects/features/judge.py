"""Features of `train.py` as the descriptor of `discrete`, on the tuning pairs of real scans.

    python projects/features/judge.py RUN/weights.pt REAL [--cases STS_015 STS_043]

REAL is what `benchmarks/real_scans.py` wrote. Prints the landmark error of each pair with MIND-SSC, with the features
and with both side by side. Judged pairs are not touched. Features that saw real legs are judged on patients of the fold
that was left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from train import network

from jssr.evaluation.runner import RunOptions, cases_of, run
from jssr.io.cohort import Cohort
from jssr.losses.descriptors import DESCRIPTORS, Descriptor
from jssr.losses.mind import mind_ssc

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from real_methods import Registered  # noqa: E402

SETS = ("sts_ctmr", "mni", "hcc")


def described_by(weights: Path, scale: float) -> Callable[[Tensor], Tensor]:
    """The features of an image (1, 1, *spatial) in -1..1, of length `scale`."""
    net = network()
    net.load_state_dict({name: value.float() for name, value in torch.load(weights).items()})
    net.eval()

    def features(image: Tensor) -> Tensor:
        with torch.no_grad():
            return scale * F.normalize(net(image.float()), dim=1)

    return features


def main() -> None:
    """Print a row for each set and descriptor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument("--scale", type=float, default=0.5)
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--cases", nargs="+", help="these alone")
    parser.add_argument("--refine", type=int, help="steps of instance optimisation; 0 is the search alone")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    features = described_by(chosen.weights, chosen.scale)
    entries = {
        "learned": Descriptor("learned", "learned features", {3: 16}, "A network's.", features),
        "both": Descriptor(
            "both", "both", {3: 28}, "Side by side.", lambda x: torch.cat([features(x), mind_ssc(x)], dim=1)
        ),
    }
    DESCRIPTORS.update(entries)
    for name in chosen.sets:
        cohort = Cohort.load(chosen.real / name)
        for key in ("mind-ssc", *entries):
            with tempfile.TemporaryDirectory() as folder:
                method = Registered(key, {"descriptor": key, "refine": chosen.refine})
                every = cases_of(cohort, "validation")
                cases = [case for case in every if chosen.cases is None or case.id in chosen.cases]
                if not cases:
                    continue
                run(cohort, cases, [method], Path(folder), RunOptions(), lambda *_: None)
                rows = [
                    row
                    for file in sorted(Path(folder).glob("cases/*/*.json"))
                    for row in json.loads(file.read_text())["result"]["rows"]
                ]
            errors = [row["values"]["tre"] for row in rows]
            each = ", ".join(f"{error:.2f}" for error in errors)
            print(f"{name}, {key}: {sum(errors) / len(errors):.2f} mm ({each})", flush=True)


if __name__ == "__main__":
    main()
