"""Tables 2 to 8 of the macJNet paper from what `jssr benchmark` and `jssr evaluate` measured.

`python benchmarks/macjnet_tables.py BENCHMARK SEGMENTORS JOINT`: the folder of the benchmark, and those of the
evaluations of segmentors trained alone and jointly, as `benchmarks/experiments/macjnet.sh` leaves them. Below each
table the paired tests that its question asks for.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from jssr.evaluate.metrics import CaseResult
from jssr.evaluate.statistics import compare, comparisons_markdown
from jssr.evaluate.tables import Cell, markdown_row, read_csv, value_of

TUMOUR = {"tumour centres mm": ("centre", "liver_tumour"), "tumour Dice %": ("dice", "liver_tumour"),
          "tumour HD95 mm": ("hd95", "liver_tumour")}  # fmt: skip
LIVER = {"TRE mm": ("tre", ""), "liver Dice %": ("dice", "liver"), "liver HD95 mm": ("hd95", "liver")}
IMAGE = {"MI nats": ("mi", ""), "SSIM %": ("ssim", "")}
ALL = {**TUMOUR, **LIVER, **IMAGE}
FOLDS = {"folds, per mille": ("folds", "")}
MASKS = {"Dice %": ("dice", "liver"), "HD95 mm": ("hd95", "liver"), "recall %": ("recall", "liver"),
         "precision %": ("precision", "liver"), "absolute RVD %": ("rvd", "liver"),
         "VOE %": ("voe", "liver")}  # fmt: skip
FACTORS = {"folds": 10.0, **dict.fromkeys(("dice", "ssim", "recall", "precision", "rvd", "voe"), 100.0)}
JOINT = "macjnet-0.3"
TABLES: dict[str, tuple[Sequence[str], Mapping[str, tuple[str, str]], Sequence[tuple[str, str]]]] = {
    "Table 2: beside others": (
        ["initial", "rigid", "elastix", "voxelmorph-mind", "lapirn-mind", JOINT, "discrete", "discrete:mind",
         "discrete:macmind"],
        {**ALL, "seconds": ("seconds", "")},
        [(JOINT, other) for other in ("elastix", "voxelmorph-mind", "lapirn-mind", "discrete")]
        + [("discrete:macmind", "discrete:mind"), ("discrete:macmind", "discrete")],
    ),
    "Table 3: similarities, joint": (["rigid", "macjnet-mi", "macjnet-mind", JOINT], ALL,
                                     [(JOINT, "macjnet-mind"), (JOINT, "macjnet-mi")]),
    "Table 4: similarities, the register alone": (["register-mind", "register"], ALL, [("register", "register-mind")]),
    "Table 5: joint and the register alone": (["register", JOINT], ALL, [(JOINT, "register")]),
    "Table 6: folds": (["register-mind", "register", "macjnet-mind", JOINT], FOLDS, []),
    "Table 7: shares of label maps": (["register", "macjnet-0.05", "macjnet-0.1", JOINT, "macjnet-1.0"],
                                      {**LIVER, **IMAGE},
                                      [("macjnet-0.05", "register"), ("macjnet-1.0", JOINT)]),
}  # fmt: skip
"""Of each table: rows, columns, and which row is tested against which."""
DECISIVE = (("dice", "liver"), ("tre", ""), ("centre", "liver_tumour"))


def table(results: Sequence[CaseResult], rows: Sequence[str], columns: Mapping[str, tuple[str, str]]) -> str:
    """Mean (sample sd) of the pairs; a cell of fewer pairs than others says of how many."""
    lines = [["mean (sd)", *columns], ["---", *["---:"] * len(columns)]]
    most = max((sum(r.method == row for r in results) for row in rows), default=0)
    for row in rows:
        mine = [r for r in results if r.method == row]
        if mine:
            cells = [Cell.of(value_of(r, *key) * FACTORS.get(key[0], 1.0) for r in mine) for key in columns.values()]
            lines.append([row, *(_told(cell, most) for cell in cells)])
    return "\n".join(map(markdown_row, lines)) + "\n"


def _told(cell: Cell, most: int) -> str:
    if math.isnan(cell.mean):
        return "-"
    return f"{cell.mean:.2f} ({cell.sd:.2f})" + (f" of {cell.n}" if cell.n < most else "")


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
