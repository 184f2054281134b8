"""Seconds of small commands as whole processes, and how soon `register` reads: `python benchmarks/start.py -o OUT`.

    python benchmarks/start.py -o OUT --rounds 7 --study DICOM --against CHECKOUT

A phantom of 128 x 128 x 64 is made in OUT. The commands run in turn, once unmeasured, then `--rounds` times, each with
one thread. Prints the median seconds by the clock and of the CPU (user and system), and writes OUT/start.json. Of
`register` it is the time until a scan is first opened, where the process ends. `--study` is a DICOM study whose headers
name every phase; without it `jssr series` is left out. `--against` is a checkout to compare with, run in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIRST = """
import os, sys
def opened(event, given):
    if event == "open" and str(given[0]).endswith(("venous.nii.gz", "arterial.nii.gz")):
        os._exit(0)
sys.addaudithook(opened)
from jssr.cli import main
main(sys.argv[1:])
"""
RUN = "from jssr.cli import main; main()"
COMMANDS = {
    "help": "--help",
    "info": "info",
    "series": "series STUDY",
    "convert, a field": "convert CASE/arterial_displacement.nii.gz -o OUT/field.h5",
    "convert, a field and a matrix": "convert CASE/arterial_displacement.nii.gz OUT/affine.tfm -o OUT/both.nii.gz",
    "convert, a matrix to flirt": "convert OUT/affine.tfm --to flirt --fixed CASE/venous.nii.gz "
    "--moving CASE/arterial.nii.gz -o OUT/flirt.mat",
    "warp, points to moving": "warp CASE/venous_landmarks.csv --transform CASE/arterial_displacement.nii.gz "
    "--to moving -o OUT/there.csv",
    "warp, points to fixed": "warp CASE/arterial_landmarks.csv --transform CASE/arterial_displacement.nii.gz "
    "-o OUT/back.csv",
    "convert, a field inverted": "convert CASE/arterial_displacement.nii.gz --inverse -o OUT/inverse.nii.gz",
    "warp, an image": "warp CASE/arterial.nii.gz --transform CASE/arterial_displacement.nii.gz -o OUT/moved.nii.gz",
    "register, until it reads": "register CASE/venous.nii.gz CASE/arterial.nii.gz -o OUT/pair",
}
MATRIX = """#Insight Transform File V1.0
#Transform 0
Transform: AffineTransform_double_3_3
Parameters: 1 0.02 0 -0.02 1 0 0 0 1 3 4 5
FixedParameters: 0 0 0
"""


def words_of(line: str, places: dict[str, Path]) -> list[str]:
    """A command's words, with the folders of `places` put in."""
    out = []
    for word in line.split():
        name, slash, rest = word.partition("/")
        out.append(f"{places[name]}{slash}{rest}" if name in places else word)
    return out


def seconds_of(code: str, words: list[str], checkout: Path) -> tuple[float, float]:
    """By the clock and of the CPU, of one process."""
    source = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    before, start = os.times(), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *words], env=source, capture_output=True, text=True, check=False)
    clock, after = time.perf_counter() - start, os.times()
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")
    return clock, after.children_user - before.children_user + after.children_system - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--study", type=Path)
    parser.add_argument("--against", type=Path)
    given = parser.parse_args()
    out = given.out.resolve()
    case = out / "phantom" / "p0001"
    if not case.is_dir():
        words = ["phantom", str(out / "phantom"), "--patients", "1", "--seed", "5", "--phases", "venous,arterial"]
        seconds_of(RUN, words, ROOT)
    (out / "affine.tfm").write_text(MATRIX, encoding="utf-8")
    places = {"CASE": case, "OUT": out, **({"STUDY": given.study.resolve()} if given.study else {})}
    checkouts = {**({"before": given.against.resolve()} if given.against else {}), "now": ROOT}
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, line in COMMANDS.items():
        if "STUDY" in line and "STUDY" not in places:
            continue
        for k in range(given.rounds + 1):
            for which, checkout in checkouts.items():
                one = seconds_of(FIRST if name.startswith("register") else RUN, words_of(line, places), checkout)
                if k:  # the first fills the caches
                    found.setdefault(name, {}).setdefault(which, []).append(one)
        columns = [column for which in checkouts for column in zip(*found[name][which], strict=True)]
        print(f"| {name} | {' | '.join(f'{statistics.median(one):.2f}' for one in columns)} |", flush=True)
    about = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "date": str(date.today())}
    (out / "start.json").write_text(json.dumps({**about, "seconds": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
