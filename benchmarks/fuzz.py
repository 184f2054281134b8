"""Commands on damaged files: each ends with a whole result, or with exit code 1, one line and nothing written.

    python benchmarks/fuzz.py [--cases 1000] [--seed 1] [--only KIND] [--whole] [--json OUT] [--against EARLIER]

Small valid files of every kind (`fuzz_inputs.py`) are damaged one at a time (`fuzz_mutations.py`), by the seed and the
number of the case alone, and given to a command (`fuzz_targets.py`). Each command runs in a forked process
(`fuzz_run.py`). Printed are faults and what took more than ten seconds, with the number of the case, and a table.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_run import Outcome, run  # noqa: E402
from fuzz_targets import Target, chosen, targets  # noqa: E402

PRELOADED = (
    "torch", "SimpleITK", "nibabel", "pydicom", "highdicom", "h5py", "scipy.ndimage", "scipy.optimize",
    "matplotlib.pyplot", "lightning_fabric", "omegaconf", "yaml", "jssr", "jssr.api.scans", "jssr.api.transforms",
    "jssr.api.objects", "jssr.api.learning", "jssr.api.evaluation", "jssr.api.cohorts", "jssr.api.phantoms",
    "jssr.api.results", "jssr.cli.tables", "jssr.training.loop", "jssr.evaluation.runner",
    "jssr.registration.pipeline", "jssr.io.dicom.read", "jssr.io.dicom.objects", "rich.markdown",
    "jssr.registration.dicom", "jssr.report.view", "jssr.systems.jssr", "jssr.systems.rigid",
    "jssr.systems.discrete",
)  # fmt: skip


def preload() -> None:
    """Import all that commands import, once, without any thread: what is forked afterwards starts at once."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = "1"
    os.environ["MPLBACKEND"] = "agg"
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            print("not imported:", name)
    import torch

    torch.set_num_threads(1)
    from jssr.evaluation import runner

    def here(job, items, workers, apart=False):
        for item in items:
            yield item, job(item)

    runner.in_processes = here  # a process of its own for each method takes seconds to begin


Run = Callable[[Sequence[str], Path, Path, Path, str], Outcome]


def inputs(home: Path) -> None:
    """Make the valid files, in a process of their own: it uses threads, which no fork may inherit."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            from fuzz_inputs import make

            make(home)
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the valid files could not be made")


def one(
    number: int, seed: int, target: Target, good: Path, place: Path, whole: bool = False, how: Run = run
) -> tuple[Outcome, str]:
    """Run one case; `whole` leaves its file as it is, `how` runs the command.

    Returns:
        How it ended, and what was done to which file.
    """
    from fuzz_mutations import damage

    random = np.random.default_rng([seed, number])
    warnings.simplefilter("ignore", UserWarning)  # of pydicom, on what is written damaged
    shutil.rmtree(place, ignore_errors=True)
    folder, out, log = (place / name for name in ("in", "out", "log"))
    for made in (folder, out, log):
        made.mkdir(parents=True)
    for name in {Path(target.file).parts[0], *target.needs}:
        source = good / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        elif source.exists():
            shutil.copy(source, folder / name)
    file, told = folder / target.file, "whole"
    if not whole:
        others = sorted(p for p in good.iterdir() if p.is_file())
        file, told = damage(file, others, random)
    words = target.words.format(f=file.relative_to(folder)).replace("OUT", str(out)).split()
    return how(words, folder, out, log, target.command), f"{target.file}: {told}"


Row = Sequence[str]
"""Kind, command, and how it ended; more may follow."""


def table(rows: Sequence[Row], earlier: Sequence[Row]) -> str:
    """Kinds down, commands across, as Markdown; a cell holds the cases that were refused and those that were read.

    Args:
        earlier: of another run of the same cases, for its faults.
    """
    commands = sorted({command for _, command, *_ in rows})
    ended = Counter((kind, command, end if end in ("refused", "read") else "fault") for kind, command, end, *_ in rows)
    before = Counter(kind for kind, _, end, *_ in earlier if end not in ("refused", "read"))
    out = [["damaged", *commands, "cases", "faults before", "faults"]]
    for kind in sorted({kind for kind, *_ in rows}):
        cells = []
        for command in commands:
            refused, read, bad = (ended[kind, command, end] for end in ("refused", "read", "fault"))
            cells.append(f"{refused}, {read}" if refused + read + bad else "")
        count = [sum(n for (k, _, e), n in ended.items() if k == kind and e in ends) for ends in (_ENDS, ("fault",))]
        out.append([kind, *cells, str(count[0]), str(before[kind]) if earlier else "", str(count[1])])
    ends = ("refused", "read")
    sums = [
        ", ".join(str(sum(n for (_, c, e), n in ended.items() if c == one and e == end)) for end in ends)
        for one in commands
    ]
    bad = sum(n for (_, _, e), n in ended.items() if e == "fault")
    out.append(["all", *sums, str(len(rows)), str(sum(before.values())) if earlier else "", str(bad)])
    return "\n".join("| " + " | ".join(row) + " |" for row in (out[0], ["---"] * len(out[0]), *out[1:]))


_ENDS = ("refused", "read", "fault")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cases", type=int, default=1000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", help="one kind, or one command")
    options.add_argument("--whole", action="store_true", help="each target once, undamaged")
    options.add_argument("--good", type=Path, help="folder of valid files; made where it is not there")
    options.add_argument("--json", type=Path, help="file to write how each case ended to")
    options.add_argument("--against", type=Path, help="such a file of an earlier run")
    given = options.parse_args()
    preload()
    rows: list[Row] = []
    longest = 0.0
    with tempfile.TemporaryDirectory(prefix="jssr-fuzz-") as temporary:
        good = given.good or Path(temporary) / "good"
        if not good.exists():
            inputs(good)
        start = time.perf_counter()
        for number, target in enumerate(targets() if given.whole else chosen(given.cases, given.only)):
            outcome, told = one(number, given.seed, target, good, Path(temporary) / "case", given.whole)
            rows.append((target.kind, target.command, outcome.end, f"{outcome.seconds:.1f}", told))
            longest = max(longest, outcome.seconds)
            if outcome.fault or outcome.seconds > 10 or (given.whole and outcome.end != "read"):
                print(f"{number} {outcome.end.upper()} {outcome.seconds:.1f} s {target.kind} [{told}] {target.words}")
                print("    " + outcome.said[-420:].replace("\n", "\n    "), flush=True)
        if given.json:
            given.json.write_text(json.dumps(rows))
        print(table(rows, json.loads(given.against.read_text()) if given.against else ()))
        print(f"{len(rows)} cases in {time.perf_counter() - start:.0f} s; the longest {longest:.1f} s")


if __name__ == "__main__":
    main()
