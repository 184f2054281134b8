"""Whether several processes have the losses of one: `python benchmarks/processes.py OUT [--processes 1 2 4]`.

Makes phantoms in OUT, prepares them, and trains the same steps by torchrun with each number of processes, each with one
thread: the register alone (`register-compact`, stage align) and JSSR's joint steps (`jssr-compact`, stage joint, with a
discriminator), four pairs a step. Prints the losses side by side, the largest relative difference from those of one
process, and steps per second. What OUT holds already is not made again.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

RUNS = {"register-compact": ("align", "main/ncc"), "jssr-compact": ("joint", "main/reg")}
"""Recipe: its stage, and the loss that is shown."""
SHOWN = (1, 2, 5, 10, 15, 20)
PATCH = "training.patch=[48,48,32]"


def call(*words: object, processes: int = 1) -> None:
    """Run `jssr` in so many processes."""
    starter = ["-m", "jssr"]
    if processes > 1:
        starter = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *starter]
    command = [sys.executable, *starter, *map(str, words)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def prepared(out: Path, name: str, *options: str) -> Path:
    """A prepared cohort of four phantoms."""
    raw, ready = out / name, out / f"{name}-prepared"
    if not ready.exists():
        call("phantom", raw, "--patients", 4, "--shape", 96, 80, 48, *options)
        call("prepare", raw, "-o", ready, "--recipe", "jssr-compact", "--workers", 1)
    return ready


def trained(out: Path, recipe: str, processes: int, steps: int, options: Sequence[str]) -> list[dict[str, str]]:
    """The rows of the losses of a run."""
    stage, _ = RUNS[recipe]
    run = out / "-".join([recipe, *options, str(steps), str(processes)])
    if not (run / "weights.safetensors").exists():
        spacing = "preprocessing.spacing=[3,3,4]"
        others = [f"training.stages.{name}.steps=0" for name in ("segment", "align") if recipe == "jssr-compact"]
        values = [f"training.stages.{stage}.steps={steps}", *others, spacing, PATCH, "training.batch=4"]
        values += ["training.log_every=1", "training.picture_every=0", "training.monitor_every=0", *options]
        changes = [word for value in values for word in ("--set", value)]
        data = ("--data", out / "pairs-prepared", "--supervised", out / "labelled-prepared")
        call("train", recipe, *data, "-o", run, "--accelerator", "cpu", *changes, processes=processes)
    with (run / "losses.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def apart(one: dict[str, str], other: dict[str, str]) -> float:
    """The largest relative difference of two rows, of all losses and gradient norms; of those below 0.01 that of 0.01,
    as 1 - Dice has the rounding of a number near 1."""
    pairs = [(float(one[name]), float(other[name])) for name in one if "/" in name and one[name]]
    return max(abs(a - b) / max(abs(a), 0.01) for a, b in pairs)


def show(recipe: str, found: dict[int, list[dict[str, str]]]) -> None:
    """Print the tables of a recipe."""
    _, loss = RUNS[recipe]
    first, *others = found
    print(f"\n{recipe}\n")
    print("| step | " + " | ".join(f"{loss}, {n}" for n in found) + " | largest difference |")
    print("| --- " * (len(found) + 2) + "|")
    for index, row in enumerate(found[first]):
        if int(row["step"]) in SHOWN:
            worst = max((apart(row, found[n][index]) for n in others), default=0.0)
            print(
                f"| {row['step']} | " + " | ".join(rows[index][loss] for rows in found.values()) + f" | {worst:.0e} |"
            )
    paces = {n: statistics.median(float(row["seconds_per_step"]) for row in rows) for n, rows in found.items()}
    print("\nsteps per second: " + ", ".join(f"{1 / pace:.2f} with {n}" for n, pace in paces.items()), flush=True)


def main() -> None:
    """Train all and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--optimiser", default="adam")
    chosen = parser.parse_args()
    prepared(chosen.out, "pairs", "--seed", "3")
    prepared(chosen.out, "labelled", "--seed", "4", "--population", "supervised")
    options = [f"training.precision={chosen.precision}", f"training.optimiser={chosen.optimiser}"]
    for recipe in RUNS:
        show(recipe, {n: trained(chosen.out, recipe, n, chosen.steps, options) for n in chosen.processes})


if __name__ == "__main__":
    main()
