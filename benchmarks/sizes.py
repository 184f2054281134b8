"""Seconds and memory against the size of the scans: `python benchmarks/sizes.py FIXED MOVING -o OUT`.

One pair of scans, resampled to each size over the same field of view, is aligned by each contestant in a process of its
own: from the scans in memory to the field on the fixed grid, the peak memory of that process beside it. Writes
OUT/sizes.csv (what is there is not done again) and OUT/sizes.png.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

SIZES = ("96x96x96", "128x128x128", "192x192x192", "256x256x128", "512x512x100")
SYSTEMS = ("jssr", "jssr + 20", "discrete", "greedy", "convexadam")
COLUMNS = ("system", "size", "voxels", "seconds", "peak_mb")


def measure(system: str, size: str, fixed: Path, moving: Path, threads: int) -> dict[str, object]:
    """Align once, in this process."""
    import torch

    from jssr.cli.memory import keep_freed_memory
    from jssr.core.resampling import resample
    from jssr.evaluation.alignment import Scans
    from jssr.evaluation.methods import Alignment
    from jssr.io.images import read_image
    from jssr.io.itk_elastix import load
    from jssr.io.provenance import peak_memory_mib
    from jssr.recipes.shipped import shipped_weights
    from jssr.registration.model import UNTRAINED, load_model

    keep_freed_memory()
    torch.set_num_threads(threads)
    shape = tuple(int(s) for s in size.split("x"))
    load()  # no part of the seconds
    scans = [read_image(path) for path in (fixed, moving)]
    y, x = (resample(scan, scan.grid.resized(shape)) for scan in scans)
    del scans
    name, _, steps = system.partition(" + ")
    source = str(shipped_weights("jssr")) if name == "jssr" else name
    refine = int(steps) if steps else (load_model(name).recipe.inference.refine if name in UNTRAINED else 0)
    _, seconds = Alignment(system, source, refine).align(Scans(y, x))
    return dict(zip(COLUMNS, (system, size, y.grid.voxels, round(seconds, 2), round(peak_memory_mib())), strict=True))


def plot(rows: list[dict[str, str]], path: Path) -> None:
    """Seconds and memory over voxels, a line for each system."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, column, title in zip(
        figure.subplots(1, 2), ("seconds", "peak_mb"), ("seconds", "peak memory (MB)"), strict=True
    ):
        for system in dict.fromkeys(row["system"] for row in rows):
            mine = sorted((float(r["voxels"]), float(r[column])) for r in rows if r["system"] == system)
            axes.plot(*zip(*mine, strict=True), marker="o", markersize=4, label=system)
        axes.set(xscale="log", yscale="log", xlabel="voxels of the fixed scan", ylabel=title)
        axes.grid(True, color="#dddddd")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)


def size_of(text: str) -> str:
    """Three numbers of voxels, as 96x96x96."""
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) >= 16 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: a size is three numbers of 16 or more, for example 128x128x64")
    return text


def system_of(text: str) -> str:
    """A system of ours, a tool that is there or a trained run, with its steps of refinement."""
    from jssr.peers import PEERS

    if Path(text).exists():
        return text

    name, plus, steps = text.partition(" + ")
    if name not in ("jssr", "discrete", *PEERS) or (plus and (name != "jssr" or not steps.isdigit())):
        known = ", ".join(("jssr", "'jssr + STEPS'", "discrete", *PEERS, "the folder of a run"))
        raise argparse.ArgumentTypeError(f"{text!r}: there are {known}")
    if name in PEERS and PEERS[name].lacks():
        raise argparse.ArgumentTypeError(f"{name} cannot be used here: {PEERS[name].lacks()}")
    return text


def main() -> None:
    """Run what is missing, then plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fixed", type=Path)
    parser.add_argument("moving", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--sizes", nargs="+", type=size_of, default=list(SIZES))
    parser.add_argument("--systems", nargs="+", type=system_of, default=list(SYSTEMS))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--one", nargs=2, metavar=("SYSTEM", "SIZE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    file, last = chosen.out / "sizes.csv", chosen.out / "last.json"
    if chosen.one:
        # Not through stdout, where tools print what they please.
        last.write_text(json.dumps(measure(*chosen.one, chosen.fixed, chosen.moving, chosen.threads)))
        return
    rows = list(csv.DictReader(file.open())) if file.is_file() else []
    done = {(row["system"], row["size"]) for row in rows}
    for size in chosen.sizes:
        for system in chosen.systems:
            if (system, size) in done:
                continue
            command = [sys.executable, __file__, str(chosen.fixed), str(chosen.moving), "-o", str(chosen.out)]
            command += ["--threads", str(chosen.threads), "--one", system, size]
            ran = subprocess.run(command, capture_output=True, text=True)
            if ran.returncode:
                print(f"{system} at {size}: failed ({(ran.stderr.strip().splitlines() or ['killed'])[-1]})")
                continue
            rows.append(json.loads(last.read_text()))
            last.unlink()
            print(rows[-1], flush=True)
            with file.open("w", newline="") as handle:
                writer = csv.DictWriter(handle, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
    plot([{k: str(v) for k, v in row.items()} for row in rows], chosen.out / "sizes.png")


if __name__ == "__main__":
    main()
