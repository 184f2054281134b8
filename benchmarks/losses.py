"""What a run's log says, in short: `python benchmarks/losses.py RUN > summary.csv`.

The mean of each loss over every hundred steps of `RUN/losses.csv`, as docs/notebook/runs has them.
"""

from __future__ import annotations

import csv
import statistics
import sys
from pathlib import Path

EVERY = 100
HEAD = ("step", "stage")


def main(run: Path) -> None:
    """Print the means; a stage that ends between two hundreds has a line of its own."""
    with (run / "losses.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    groups: dict[tuple[int, str], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(((int(row["step"]) - 1) // EVERY, row["stage"]), []).append(row)
    losses = [name for name in rows[0] if name not in HEAD]
    out = csv.writer(sys.stdout)
    out.writerow(("to_step", "stage", *losses))
    for (_, stage), mine in groups.items():
        means = []
        for name in losses:
            values = [float(row[name]) for row in mine if row[name]]
            means.append(f"{statistics.fmean(values):.4g}" if values else "")
        out.writerow((mine[-1]["step"], stage, *means))


if __name__ == "__main__":
    if len(sys.argv) != 2 or "--help" in sys.argv:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
