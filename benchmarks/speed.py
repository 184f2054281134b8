"""Seconds and memory of whole processes, from start to files, ours beside others in turn: an idle machine is assumed.

    python benchmarks/speed.py DATA -o OUT                               # ours and every peer that is there
    python benchmarks/speed.py DATA -o OUT --against CHECKOUT --methods ours before greedy --rounds 3

The pairs are those of DATA (`hcc`, 256 x 256 x 75, and `eth`, 166 x 195 x 25) and a phantom of 192 x 160 x 96. Ours is
`jssr register FIXED MOVING -o FOLDER` with its report. A peer is given the same files and writes the moved scan and the
field; its process also imports this package, some 2 s. Prints medians and ratios, and writes OUT/speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OURS, EARLIER = "ours", "before"
PAIRS = {
    "hcc": ("hcc_tace_ct/HCC_007_1997-12-27/venous.nii.gz", "hcc_tace_ct/HCC_007_1997-12-27/arterial.nii.gz"),
    "eth": ("eth_liver_mr/pair18a/fixed.nii.gz", "eth_liver_mr/pair18a/moving.nii.gz"),
    "phantom": ("phantom/p0001/venous.nii.gz", "phantom/p0001/arterial.nii.gz"),
}
PHANTOM = ["phantom", "--patients", "1", "--seed", "77", "--shape", "192", "160", "96", "--phases", "venous,arterial"]


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
    ours = ["-m", "jssr", "register", *files[:2], "-o", files[2], "--system", "discrete", "--threads", str(threads)]
    peer = [__file__, str(pair[0].parent), "-o", files[2], "--peer", method, *files[:2], "--threads", str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": str(threads)}
    return {"args": [sys.executable, *(ours if method in (OURS, EARLIER) else peer)], "env": environment}


def timed(command: dict[str, Any], log: Path) -> dict[str, float]:
    """Run a process: its seconds, those of all cores, and the most memory (GB) that it held."""
    begin = time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(**command, stdout=file, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"ended with {process.returncode}: {(log.read_text().strip().splitlines() or [''])[-1]}")
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "gb": used.ru_maxrss / 1e6}


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Medians of each pair and method, and what ours is of each."""
    lines = ["| pair | method | wall, s | CPU, s | memory, GB | ours: wall | ours: memory |", "| --- " * 7 + "|"]
    for pair in dict.fromkeys(run["pair"] for run in runs):
        here = [run for run in runs if run["pair"] == pair]
        middle = {
            method: {
                k: statistics.median(r[k] for r in here if r["method"] == method) for k in ("seconds", "cpu", "gb")
            }
            for method in dict.fromkeys(run["method"] for run in here)
        }
        for method, m in middle.items():
            ratios = [f"{middle[OURS][k] / m[k]:.2f}" if OURS in middle else "" for k in ("seconds", "gb")]
            lines.append(
                f"| {pair} | {method} | {m['seconds']:.1f} | {m['cpu']:.1f} | {m['gb']:.2f} | {' | '.join(ratios)} |"
            )
    return "\n".join(lines)


def files_of(name: str, data: Path, out: Path) -> tuple[Path, Path]:
    """A pair's files; the phantom is made where it is missing."""
    home = out if name == "phantom" else data
    if name == "phantom" and not (out / "phantom").is_dir():
        subprocess.run([sys.executable, "-m", "jssr", PHANTOM[0], str(out / "phantom"), *PHANTOM[1:]], check=True)
    fixed, moving = PAIRS[name]
    return home / fixed, home / moving


def main() -> None:
    """Time every method on every pair in turn, round after round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--methods", nargs="+", default=[OURS, "greedy", "greedy-mi", "convexadam", "elastix-tuned"])
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help=f"of the row {EARLIER!r}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--peer", nargs=3, metavar=("NAME", "FIXED", "MOVING"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peer:
        by_peer(chosen.peer[0], Path(chosen.peer[1]), Path(chosen.peer[2]), chosen.out, chosen.threads)
        return
    chosen.out.mkdir(parents=True, exist_ok=True)
    runs: list[dict[str, Any]] = []
    about = {"date": date.today().isoformat(), "machine": platform.processor(), "threads": chosen.threads}
    pairs = {name: files_of(name, chosen.data, chosen.out) for name in chosen.pairs}
    for _ in range(chosen.rounds):
        for name, pair in pairs.items():
            for method in chosen.methods:
                shutil.rmtree(chosen.out / "one", ignore_errors=True)
                command = command_of(method, pair, chosen.out / "one", chosen.threads, chosen.against)
                runs.append({"pair": name, "method": method, **timed(command, chosen.out / "log.txt")})
                print(runs[-1], flush=True)
                (chosen.out / "speed.json").write_text(json.dumps({"about": about, "runs": runs}, indent=1))
    print(table(runs))


if __name__ == "__main__":
    main()
