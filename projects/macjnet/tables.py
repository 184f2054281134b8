"""Tables 2 to 8 of the macJNet paper from what `jssr benchmark` and `jssr evaluate` measured.

`python projects/macjnet/tables.py BENCHMARK SEGMENTORS JOINT`: the folder of the benchmark, and those of the
evaluations of segmentors trained alone and jointly, as `projects/macjnet/run.sh` leaves them. Below each
table the paired tests that its question asks for.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from jssr.evaluation.statistics import compare, comparisons_markdown
from jssr.metrics.results import CaseResult
from jssr.report.tables import lines, markdown_table, read_csv, summarise, title_of

Key = tuple[str, str]
"""Metric and structure."""
TUMOUR: list[Key] = [(metric, "liver_tumour") for metric in ("centre", "dice", "hd95")]
LIVER: list[Key] = [("tre", ""), ("dice", "liver"), ("hd95", "liver")]
IMAGE: list[Key] = [("mi", ""), ("ssim", "")]
ALL = TUMOUR + LIVER + IMAGE
MASKS: list[Key] = [(metric, "liver") for metric in ("dice", "hd95", "recall", "precision", "rvd", "voe")]
DECISIVE: list[Key] = [("dice", "liver"), ("tre", ""), ("centre", "liver_tumour")]
JOINT = "macjnet-0.3"
UNTRAINED = ["discrete", "discrete:mind", "discrete:macmind"]
TABLES: dict[str, tuple[list[str], list[Key], list[tuple[str, str]]]] = {
    "Table 2: beside others": (
        ["initial", "rigid", "elastix", "voxelmorph-mind", "lapirn-mind", JOINT, *UNTRAINED],
        [*ALL, ("seconds", "")],
        [(JOINT, other) for other in ("rigid", "elastix", "voxelmorph-mind", "lapirn-mind", "discrete")]
        + [(other, "rigid") for other in ("voxelmorph-mind", "lapirn-mind")]
        + [("discrete:macmind", "discrete:mind"), ("discrete:macmind", "discrete")],
    ),
    "Table 3: similarities, joint": (
        ["rigid", "macjnet-mi", "macjnet-mind", JOINT],
        ALL,
        [(JOINT, "macjnet-mind"), (JOINT, "macjnet-mi")],
    ),
    "Table 4: similarities, the register alone": (["register-mind", "register"], ALL, [("register", "register-mind")]),
    "Table 5: joint and the register alone": (
        ["register-mind", "macjnet-mind", "register", JOINT],
        ALL,
        [(JOINT, "register"), ("macjnet-mind", "register-mind")],
    ),
    "Table 6: folds": (["register-mind", "register", "macjnet-mind", JOINT], [("folds", "")], []),
    "Table 7: shares of label maps": (
        ["register", "macjnet-0.05", "macjnet-0.1", JOINT, "macjnet-1.0"],
        LIVER + IMAGE,
        [("macjnet-0.05", "register"), ("macjnet-0.1", "register"), (JOINT, "macjnet-0.1"), ("macjnet-1.0", JOINT)],
    ),
}
"""Of each table: rows, columns, and which row is tested against which."""


def table(results: Sequence[CaseResult], rows: Sequence[str], columns: Sequence[Key]) -> str:
    """Mean (sample sd) of the pairs of one phase, a row for each method, the best of each column bold."""
    mine = [r for row in rows for r in results if r.method == row]
    blocks = [summarise(mine, *key) for key in columns]
    body = []
    for row in zip(*map(lines, blocks), strict=True):  # of one method, its line in each block
        body.append([row[0][0][0], *(f"**{text}**" if best else text for _, (text, best) in row)])
    return markdown_table([["mean (sd)", *map(title_of, blocks)], *body])


def tested(results: Sequence[CaseResult], method: str, against: str) -> str:
    """One row against another, by liver, landmarks and tumours."""
    both = [r for r in results if r.method in (method, against)]
    if {r.method for r in both} != {method, against}:
        return ""
    return comparisons_markdown([compare(both, against, *key) for key in DECISIVE])


def main() -> None:
    """Print all of them as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("segmentors", type=Path)
    parser.add_argument("joint", type=Path)
    chosen = parser.parse_args()
    results = read_csv(chosen.benchmark / "results.csv")
    for title, (rows, columns, tests) in TABLES.items():
        print(f"## {title}\n\n{table(results, rows, columns)}")
        print("\n".join(filter(None, (tested(results, *pair) for pair in tests))))
    named = []
    for name, folder in (("segmentors", chosen.segmentors), (JOINT, chosen.joint)):
        for r in read_csv(folder / "results.csv"):
            if r.method == "segmentor":
                named.append(CaseResult(r.case, r.phase, name, r.values))
    print("## Table 8: segmentation\n")
    for phase in dict.fromkeys(r.phase for r in named):
        mine = [r for r in named if r.phase == phase]
        print(f"{phase}\n\n{table(mine, ['segmentors', JOINT], MASKS)}")
        print(comparisons_markdown([compare(mine, "segmentors", "dice", "liver")]))


if __name__ == "__main__":
    main()
