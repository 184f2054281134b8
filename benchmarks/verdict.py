"""Verdicts against truth: `python benchmarks/verdict.py REAL` writes the table of docs/benchmarks.md.

    python benchmarks/verdict.py REAL              # registers every pair, stores verdicts.csv, writes the table
    python benchmarks/verdict.py --tables          # the table from what is stored

`REAL` holds the sets of `benchmarks/real_scans.py`. Pairs of split "validation" set the bounds and are not in the
table. Pairs that cannot be aligned are made from the pairs of each split.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "benchmarks" / "verdicts.csv"
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- verdicts: begin -->", "<!-- verdicts: end -->"
COLUMNS = ("split", "set", "pair", "verdict", "expected_mm", "better", "tre_mm", "dice")
WORDS = ("PASS", "CHECK", "FAIL")
Row = dict[str, str]
HEAD = (
    "| verdict | with landmarks | below 3 mm | below 5 mm | 5 mm or more | mean error, mm | overlap alone | "
    "mean Dice | cannot be aligned |"
)


def read(path: Path = STORED) -> list[Row]:
    """What is stored, a row a pair; "" where there is no such truth."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(rows: Sequence[Row]) -> str:
    """Of the judged pairs: how far off those of each verdict are."""
    judged = [r for r in rows if r["split"] == "test"]
    out = [HEAD, "| --- |" + " ---: |" * 8]
    for word in WORDS:
        mine = [r for r in judged if r["verdict"] == word]
        errors = np.array([float(r["tre_mm"]) for r in mine if r["tre_mm"]])
        dice = [float(r["dice"]) for r in mine if r["dice"] and not r["tre_mm"]]
        wrong = sum(r["set"] == "negative" for r in mine)
        mean = f"{errors.mean():.1f}" if len(errors) else "–"
        overlap = f"{np.mean(dice):.2f}" if dice else "–"
        out.append(
            f"| {word} | {len(errors)} | {int((errors < 3).sum())} | {int((errors < 5).sum())} | "
            f"{int((errors >= 5).sum())} | {mean} | {len(dice)} | {overlap} | {wrong} |"
        )
    both = np.array([[float(r["expected_mm"]), float(r["tre_mm"])] for r in judged if r["tre_mm"] and r["expected_mm"]])
    rank = np.corrcoef(both.argsort(axis=0).argsort(axis=0).T)[0, 1] if len(both) > 2 else float("nan")
    return "\n".join(
        [*out, "", f"Rank correlation of the expected with the true error: {rank:.2f} ({len(both)} pairs)."]
    )


def page(text: str, rows: Sequence[Row]) -> str:
    """The page with what stands between its markers replaced."""
    first, _, rest = text.partition(BEGIN)
    _, end, last = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{first}{BEGIN}\n\n{table(rows)}\n\n{END}{last}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("real", type=Path, nargs="?")
    parser.add_argument("--tables", action="store_true")
    given = parser.parse_args()
    if given.real is not None and not given.tables:
        from verdict_pairs import pairs, registered

        with STORED.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for one in pairs(given.real):
                row = registered(one)
                print(" ".join(map(str, row.values())), flush=True)
                writer.writerow(row)
                file.flush()
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), read()), encoding="utf-8")


if __name__ == "__main__":
    main()
