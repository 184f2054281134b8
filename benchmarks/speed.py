"""Seconds and memory of whole processes, from start to files: ours, an earlier commit's and other tools', in turn.

    python benchmarks/speed.py DATA -o OUT                               # ours and every peer that is there
    python benchmarks/speed.py DATA -o OUT --against CHECKOUT --methods ours before greedy --rounds 3
    python benchmarks/speed.py -o OUT --pairs phantom --methods ours before --threads 1 2 --busy 0 1 2
    python benchmarks/speed.py -o OUT --sizes 128x128x128 256x256x75 512x512x150 --methods ours before
    python benchmarks/speed.py -o OUT --tables OUT/speed.json MORE/speed.json      # nothing is run

The pairs are those of DATA (`hcc`, 256 x 256 x 75, and `eth`, 166 x 195 x 25) and a phantom of 192 x 160 x 96.
`--sizes` are phantoms too, in place of the pairs unless these are named; large ones are resampled from one of
192 x 192 x 192. Ours is `jssr register FIXED MOVING -o FOLDER` with its report. A peer is given the same files and
writes the moved scan and the field; its process also imports this package, some 2 s. SyN runs with one thread whatever
is asked for: it is not deterministic with more. `--busy` runs all beside so many loops of Python. Memory is that of a
process and its children.

Writes OUT/speed.json, with the machine, the commits and the load before each run. Prints medians, seconds of each stage
(`start` is what the process took beside its stages), and of several sizes how time and memory grow; OUT/growth.png.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from itertools import product
from pathlib import Path
from typing import Any

from speed_run import ROOT, about, beside, stages, timed
from speed_scans import PAIRS, files_of, size_of
from speed_tables import MEASURES, OURS, Run, finished, growth, plot, stage_table, table

EARLIER = "before"
SYSTEMS = {
    OURS: ["--system", "discrete"],
    EARLIER: ["--system", "discrete"],
    "jssr": ["--system", "jssr"],
    "jssr-refined": ["--system", "jssr", "--refine", "20"],
}
OTHERS = ("greedy", "greedy-mi", "convexadam", "elastix-tuned", "syn-mi")


def by_peer(name: str, fixed: Path, moving: Path, out: Path, threads: int) -> None:
    """One pair by a peer, in this process."""
    import torch

    from jssr.core.resampling import resample
    from jssr.core.transform import Affine
    from jssr.evaluation.alignment import clipped
    from jssr.io.images import read_image, write_image
    from jssr.io.transforms.itk import write_displacement
    from jssr.peers import PEERS

    torch.set_num_threads(threads)
    y, x = (read_image(path) for path in (fixed, moving))
    found = PEERS[name].run(clipped(y), clipped(x), Affine.identity(3), threads).displacement(y.grid)
    out.mkdir(parents=True)
    write_displacement(found, out / "displacement.nii.gz")
    write_image(resample(x, y.grid, found), out / "moved.nii.gz")


def command_of(method: str, pair: tuple[Path, Path], out: Path, threads: int, against: Path | None) -> dict[str, Any]:
    """What starts a method's process, and its environment."""
    checkout = against if method == EARLIER and against is not None else ROOT
    files = [str(p) for p in (*pair, out)]
    if method in SYSTEMS:
        words = ["-m", "jssr", "register", *files[:2], "-o", files[2], *SYSTEMS[method], "--threads", str(threads)]
    else:
        words = [__file__, "-o", files[2], "--peer", method, *files[:2], "--threads", str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": str(threads)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as where the package is installed
    return {"args": [sys.executable, *words], "env": environment}


def there(methods: list[str], against: Path | None) -> list[str]:
    """The methods that can be run here; what is left out is told.

    Raises:
        SystemExit: no such method, or no checkout for the row of the earlier commit.
    """
    from jssr.peers import PEERS

    known = [*SYSTEMS, *PEERS]
    for name in methods:
        if name not in known:
            raise SystemExit(f"expected methods of {', '.join(known)}, got {name!r}")
    if EARLIER in methods and against is None:
        raise SystemExit(f"expected a checkout for the row {EARLIER!r}, got none: name it with --against")
    lacks = {name: PEERS[name].lacks() for name in methods if name in PEERS}
    for name, reason in lacks.items():
        if reason:
            print(f"{name} is left out: {reason}")
    return [name for name in methods if not lacks.get(name)]


def measured(chosen: argparse.Namespace) -> list[Run]:
    """Every method on every pair, under every condition, in turn, round after round."""
    methods = there(chosen.methods, chosen.against)
    names = chosen.pairs if chosen.pairs is not None else ([] if chosen.sizes else list(PAIRS))
    pairs = {name: files_of(name, chosen.data, chosen.out) for name in [*names, *chosen.sizes]}
    runs: list[Run] = []
    told, one = about(chosen.against), chosen.out / "one"
    for _ in range(chosen.rounds):
        for name, threads, busy, method in product(pairs, chosen.threads, chosen.busy, methods):
            shutil.rmtree(one, ignore_errors=True)
            command = command_of(method, pairs[name], one, threads, chosen.against)
            run: Run = {"pair": name, "method": method, "threads": threads, "busy": busy, "load": os.getloadavg()[0]}
            with beside(busy):
                run |= timed(command, chosen.out / "log.txt", chosen.limit)
            runs.append({**run, "stages": stages(one, run["seconds"])})
            print(runs[-1], flush=True)
            text = json.dumps({"about": told, "runs": runs}, indent=1)
            (chosen.out / "speed.json").write_text(text + "\n", encoding="utf-8")
    return runs


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--pairs", nargs="*", choices=PAIRS)
    parser.add_argument("--sizes", nargs="+", type=size_of, default=[], help="of phantoms, as 512x512x150")
    parser.add_argument("--methods", nargs="+", default=[OURS, *OTHERS])
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help=f"of the row {EARLIER!r}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[os.cpu_count() or 1])
    parser.add_argument("--busy", type=int, nargs="+", default=[0], help="busy processes beside each run")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="a run that takes longer is ended, and failed")
    parser.add_argument("--tables", type=Path, nargs="+", metavar="FILE", help="show what earlier calls measured")
    parser.add_argument("--peer", nargs=3, metavar=("NAME", "FIXED", "MOVING"), help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Measure and show."""
    chosen = options().parse_args()
    if chosen.peer:
        by_peer(chosen.peer[0], Path(chosen.peer[1]), Path(chosen.peer[2]), chosen.out, chosen.threads[0])
        return
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.tables:
        runs = [run for f in chosen.tables for run in json.loads(f.read_text(encoding="utf-8"))["runs"]]
    else:
        runs = measured(chosen)
    shown = [*(table(runs, measure) for measure in MEASURES), stage_table(runs), growth(runs)]
    print("\n\n".join(text for text in shown if text))
    if growth(runs):
        plot(finished(runs), chosen.out / "growth.png")


if __name__ == "__main__":
    main()
