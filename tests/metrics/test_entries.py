"""A metric is one entry: tables, reports, CSV files and docs/reference/metrics.md are made from it.

`python tests/metrics/test_entries.py --write` writes docs/reference/metrics.md.
"""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from jssr.core.grid import Grid
from jssr.core.volume import volume_of
from jssr.metrics.entries import METRICS, Metric, entry, metrics_markdown
from jssr.metrics.pair import evaluate_pair, evaluate_segmentation
from jssr.metrics.results import CaseResult

DOCS = Path(__file__).parents[2] / "docs"
HEAD = """# Metrics

What `jssr evaluate` and `jssr benchmark` measure, and what each number means. This table is made from
`src/jssr/metrics/entries.py`. [Add a metric](../how-to/add-a-metric.md) shows how to extend it.

A structure that is empty in both scans is not measured. A structure that is found in one scan only has Dice 0 and an
infinite distance: tables say "missed".

"""


@pytest.fixture
def toy():
    """The metric of the how-to page, made by the page's own code."""
    names = {}
    page = (DOCS / "how-to" / "add-a-metric.md").read_text(encoding="utf-8")
    try:
        for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            exec(compile(code, "add-a-metric.md", "exec"), names)
        yield METRICS["volume_change"]
    finally:
        METRICS.pop("volume_change", None)


def slabs():
    grid = Grid.of((10, 10, 10), (2.0, 2.0, 2.5))
    fixed, moved = np.zeros(grid.shape, np.int16), np.zeros(grid.shape, np.int16)
    fixed[:4], moved[:5] = 1, 1
    return volume_of(fixed, grid, "labels"), volume_of(moved, grid, "labels")


def test_the_metric_of_the_how_to_page_is_in_csv_tables_terminal_and_html(toy, tmp_path):
    from rich.console import Console

    from jssr.cli.tables import rich_table
    from jssr.evaluation.evaluate import summaries
    from jssr.report.evaluation import write_evaluation_report
    from jssr.report.tables import markdown, read_csv, write_csv

    values = evaluate_pair(*slabs(), {"liver": (1,)})
    assert values["volume_change/liver"] == 1.0
    results = [CaseResult("p1", "late", name, values) for name in ("initial", "ours")]
    write_csv(results, tmp_path / "results.csv")
    assert "p1,late,ours,liver,volume_change,1.0" in (tmp_path / "results.csv").read_text().splitlines()
    back = read_csv(tmp_path / "results.csv")
    blocks = summaries(back)
    assert "| Volume change (ml), liver \u2193 | late |" in markdown(*blocks)
    (block,) = (b for b in blocks if b.metric == toy.key)
    with (tmp_path / "screen.txt").open("w") as file:
        Console(file=file, width=90).print(rich_table(block))
    assert "Volume change (ml), liver" in " ".join((tmp_path / "screen.txt").read_text().split())
    write_evaluation_report(
        tmp_path / "report.html", title="t", results=back, summaries=blocks, pictures=tmp_path, provenance={}
    )
    html = (tmp_path / "report.html").read_text()
    assert "Volume change (ml), liver" in html and toy.meaning in html
    assert "| Volume change (ml) | `volume_change` | lower | label maps |" in metrics_markdown()


def test_every_entry_has_what_is_printed_of_it():
    for key, one in METRICS.items():
        assert key == one.key and "/" not in key and one.name
        assert (one.meaning or one.segmentor).endswith("."), key
        assert (one.function is None) == (one.needs == "cost"), key
    assert len({one.title for one in METRICS.values()}) == len(METRICS)


def test_numbers_are_printed_in_their_unit():
    assert METRICS["dice"].text(0.125) == "12.50"
    assert METRICS["folds"].text(0.5) == "0.500" and METRICS["tre"].text(1.0, "+") == "+1.00"
    assert METRICS["peak_mb"].title == "Peak memory (MiB)" and METRICS["log_jacobian_sd"].title == "sd log Jacobian"
    assert entry("unheard") == Metric("unheard", "unheard", "", "labels")


def test_a_segmentation_is_measured_by_its_own_metrics():
    known, found = slabs()
    values = evaluate_segmentation(found.array, known, ("liver", "spleen"), {"liver": (1,)})
    assert list(values) == [f"{m}/liver" for m in ("dice", "hd95", "recall", "precision", "rvd", "voe")]
    assert values["recall/liver"] == 1 and values["precision/liver"] == pytest.approx(0.8)
    assert not math.isnan(values["hd95/liver"])
    without = evaluate_segmentation(found.array, known, ("liver",), {"liver": (1,)}, distances=False)
    assert "hd95/liver" not in without and without.items() <= values.items()


def test_the_page_of_metrics_is_made_from_the_entries():
    told = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    assert told == HEAD + metrics_markdown(), "run python tests/metrics/test_entries.py --write"


if __name__ == "__main__" and "--write" in sys.argv:
    (DOCS / "reference" / "metrics.md").write_text(HEAD + metrics_markdown(), encoding="utf-8")
