"""Seconds and memory of small commands, and how soon `register` reads: `python benchmarks/start.py -o OUT`.

    python benchmarks/start.py -o OUT --rounds 7 --study DICOM --against CHECKOUT

A phantom of 128 x 128 x 64 is made in OUT. The commands run in turn, each a process of one thread, once unmeasured,
then `--rounds` times. Prints the median seconds by the clock and of the CPU (user and system) and the peak memory in
MiB, and writes OUT/start.json. "register, until it reads" ends where a scan is first opened. Compiled modules are kept
between rounds, as where the package is installed, whatever PYTHONDONTWRITEBYTECODE says. `--study` is a DICOM study
whose headers name every phase; without it `jssr series` is left out. `--against` is a checkout to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
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
RUN = "import runpy; runpy.run_module('jssr', run_name='__main__')"
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
    "register, rigid step alone": "register CASE/venous.nii.gz CASE/arterial.nii.gz -o OUT/pair --system rigid "
    "--threads 1",
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


def measured(code: str, words: list[str], checkout: Path) -> tuple[float, float, float]:
    """Of one process: seconds by the clock, seconds of the CPU, and the most memory in MiB."""
    source = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    source.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryFile("w+") as told:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", code, *words], env=source, stdout=told, stderr=told)
        _, status, used = os.wait4(process.pid, 0)
        clock = time.perf_counter() - start
        if os.waitstatus_to_exitcode(status):
            told.seek(0)
            raise SystemExit(f"{' '.join(words)}: {told.read()}")
    return clock, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


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
        measured(RUN, words, ROOT)
    (out / "affine.tfm").write_text(MATRIX, encoding="utf-8")
    places = {"CASE": case, "OUT": out, **({"STUDY": given.study.resolve()} if given.study else {})}
    checkouts = {**({"before": given.against.resolve()} if given.against else {}), "now": ROOT}
    found: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    for name, line in COMMANDS.items():
        if "STUDY" in line and "STUDY" not in places:
            continue
        for k in range(given.rounds + 1):
            for which, checkout in checkouts.items():
                one = measured(FIRST if name.endswith("until it reads") else RUN, words_of(line, places), checkout)
                if k:  # the first fills the caches
                    found.setdefault(name, {}).setdefault(which, []).append(one)
        columns = [column for which in checkouts for column in zip(*found[name][which], strict=True)]
        middles = [f"{statistics.median(one):.{0 if k % 3 == 2 else 2}f}" for k, one in enumerate(columns)]
        print(f"| {name} | {' | '.join(middles)} |", flush=True)
    about = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "date": str(date.today())}
    about["columns"] = "seconds by the clock, seconds of the CPU, MiB"
    (out / "start.json").write_text(json.dumps({**about, "commands": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
