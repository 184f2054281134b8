"""Systems of several seeds side by side, from what `jssr benchmark` wrote.

    python projects/seeds.py BENCHMARK --against SYSTEM

The runs are named SYSTEM-SEED. Prints landmark error and Dice of the warped labels of each run, then means over the
seeds of each system: over patients, and against the one that is named by paired tests of patients (Wilcoxon, Holm).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jssr.evaluation.statistics import compare, comparisons_markdown
from jssr.metrics.results import CaseResult, value_of
from jssr.report.tables import lines, markdown_table, read_csv, summarise, title_of

ALIGNED = [("tre", ""), ("dice", "mean")]


def over_seeds(results: Sequence[CaseResult]) -> list[CaseResult]:
    """The mean of the seeds of each system and patient; rows that have no seed stay as they are."""
    groups: dict[tuple[str, str], list[CaseResult]] = defaultdict(list)
    for r in results:
        name, _, seed = r.method.rpartition("-")
        groups[name if seed.isdigit() else r.method, r.case].append(r)
    found = []
    for (method, case), each in groups.items():
        values = {f"{key}/{of}" if of else key: [value_of(r, key, of) for r in each] for key, of in ALIGNED}
        found.append(CaseResult(case, "all", method, {name: float(np.mean(v)) for name, v in values.items()}))
    return found


def printed(title: str, results: Sequence[CaseResult], columns: Sequence[tuple[str, str]], against: str) -> None:
    """A table of means, and the tests against one method."""
    blocks = [summarise(results, *key) for key in columns]
    rows = [[line[0][0][0], *(cells[1][0] for cells in line)] for line in zip(*map(lines, blocks), strict=True)]
    print(f"## {title}\n\n{markdown_table([['mean (sd)', *map(title_of, blocks)], *rows])}")
    print(comparisons_markdown([compare(results, against, *key) for key in columns]))


def main() -> None:
    """Print each seed's means, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("--against", required=True)
    chosen = parser.parse_args()
    results = read_csv(chosen.benchmark / "results.csv")
    for name in dict.fromkeys(r.method for r in results):
        mine = [r for r in results if r.method == name]
        tre, dice = (float(np.mean([value_of(r, *key) for r in mine])) for key in ALIGNED)
        print(f"{name}: TRE {tre:.2f} mm, Dice {100 * dice:.1f} %")
    printed("Means over the seeds", over_seeds(results), ALIGNED, chosen.against)


if __name__ == "__main__":
    main()
