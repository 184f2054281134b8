"""The thirty jobs of docs/how-to/jobs.md, run as they stand there: job, seconds, exit codes.

    python benchmarks/jobs.py OUT                      # on phantoms, which it makes in OUT/phantoms
    python benchmarks/jobs.py OUT --data ../shared/data    # then those that fit on real scans, in OUT/real
    python benchmarks/jobs.py OUT --only 2 3 7         # some of them; what they read must be there
    python benchmarks/jobs.py OUT --long               # training too

Left out with the reason: what asks for the network, changes the user's shell, or trains for an hour.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "jobs.md"
REAL = (2, 3, 4, 7, 8, 9, 28)
"""Jobs for which there are real scans."""
LEFT = {
    "pip install": "asks for the network",
    "jssr --install-completion": "changes the shell's settings",
    "jssr train": "takes more than an hour: --long",
}
"""What is not run, by how the command begins, and why."""
LIMIT_S = 3600


@dataclass(frozen=True)
class Job:
    """A row of the page."""

    number: int
    name: str
    commands: tuple[str, ...]
    more: str


def jobs(page: Path = PAGE) -> list[Job]:
    """The rows of the page's first table."""
    found = []
    for row in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in row.strip().strip("|").split(" | ")]
        if row.startswith("| ") and cells[0].isdigit() and len(cells) == 4:
            commands = tuple(re.findall(r"`([^`]+)`", cells[2]))
            found.append(Job(int(cells[0]), cells[1], commands, cells[3]))
    return found


def run_one(line: str, folder: Path) -> tuple[float, int, str]:
    """Seconds, exit code and the last line of what a command printed, run in a folder."""
    words = shlex.split(line)
    program = [sys.executable, "-m", "jssr"] if words[0] == "jssr" else [sys.executable]
    begun = time.perf_counter()
    if words[:2] == ["jssr", "view"]:
        code, last = served([*program, *words[1:]], folder)
    else:
        done = subprocess.run(
            [*program, *words[1:]], cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        said = [one for one in (done.stderr + "\n" + done.stdout).splitlines() if one.strip()]
        errors = [one for one in said if one.startswith(("error:", "done, with exit code"))]
        code, last = done.returncode, (errors or said or [""])[-1].strip()
    return time.perf_counter() - begun, code, last


def served(command: list[str], folder: Path) -> tuple[int, str]:
    """The viewer's first page is fetched, then the viewer is ended: 0 where the page came."""
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as viewer:
        first = viewer.stdout.readline() if viewer.stdout else ""
        address = first.split()[0] if first.split() else ""
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(), urllib.request.ProxyHandler({}))
        try:
            for _ in range(50):  # the address is printed before the server listens
                try:
                    with browser.open(address, timeout=10) as page:
                        return int(page.status != 200), f"{len(page.read())} bytes of the page"
                except OSError:
                    time.sleep(0.2)
            return 1, first
        except ValueError:
            return 1, first
        finally:
            viewer.terminate()


def left_out(line: str, long: bool) -> str:
    """Why a command is not run; "" where it is."""
    reasons = [why for start, why in LEFT.items() if line.startswith(start) and not (long and start == "jssr train")]
    return reasons[0] if reasons else ""


def rows(folder: Path, chosen: Iterable[int], long: bool) -> Iterator[tuple[str, ...]]:
    """Number, job, seconds, exit codes and remarks, job by job, as they are done."""
    for job in jobs():
        if job.number not in chosen:
            continue
        took, codes, remarks = 0.0, [], []
        for line in job.commands:
            why = left_out(line, long)
            if why:
                codes.append("-")
                remarks.append(f"`{' '.join(line.split()[:2])}` not run: {why}")
                continue
            seconds, code, last = run_one(line, folder)
            took += seconds
            codes.append(str(code))
            if code:
                remarks.append(last.replace("|", "/").replace(str(folder), "."))
        yield str(job.number), job.name, f"{took:.0f}", ", ".join(codes), "; ".join(remarks)


def shown(folder: Path, heading: str, chosen: Iterable[int], long: bool) -> bool:
    """Print the table of a folder, and keep it as JSON beside it; whether nothing was unexpected there (code 3)."""
    print(f"\n{heading}\n\n| # | job | seconds | exit codes | remarks |\n| --- | --- | --- | --- | --- |", flush=True)
    done = []
    for row in rows(folder, chosen, long):
        print(f"| {' | '.join(row)} |", flush=True)
        done.append(row)
    (folder.parent / f"{folder.name}.json").write_text(json.dumps(done, indent=1), encoding="utf-8")
    return not any("3" in row[3].split(", ") for row in done)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the scans and the results")
    parser.add_argument("--data", type=Path, help="folder of real scans")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of jobs")
    parser.add_argument("--long", action="store_true", help="train too")
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    from jobs_files import bind_real, make_phantoms

    wanted = set(given.only or range(1, 31))
    place = given.out.resolve() / "phantoms"
    if not (place / "made").exists():
        make_phantoms(place)
    fine = shown(place, "Phantoms", wanted, given.long)
    if given.data is not None and given.data.is_dir():
        bind_real(given.out.resolve() / "real", given.data.resolve())
        fine &= shown(given.out.resolve() / "real", "Real scans", wanted & set(REAL), given.long)
    sys.exit(0 if fine else 3)


if __name__ == "__main__":
    main()
