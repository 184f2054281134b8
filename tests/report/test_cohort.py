"""index.html of a cohort: every row, links, escaping."""

from __future__ import annotations

import re

from jssr.report.cohort import write_index

ROWS = [
    {"patient": "p<1>", "scan": "arterial", "verdict": "CHECK", "reasons": "Look & see.", "expected_mm": 4.25,
     "outlier": "expected_mm", "outlier_z": 8.0, "cohort_median": 1.6, "report": "p 1/report.html",
     "thumbnail": "p 1/arterial/thumbnail.png",
     "warnings": ["<b>"]},
    {"patient": "p2", "scan": "arterial", "verdict": "PASS", "expected_mm": 1.5},
    {"patient": "p3", "scan": "", "verdict": "failed", "reasons": "damaged"},
]  # fmt: skip


def test_every_row_is_there_escaped_and_linked(tmp_path):
    write_index(tmp_path / "index.html", ROWS, {"cohort": "mine", "task": "align"})
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<tr data-verdict=", page)) == 3
    assert "p&lt;1&gt;" in page and "<b>" not in page and "Look &amp; see." in page
    assert 'href="p%201/report.html"' in page and 'src="p%201/arterial/thumbnail.png"' in page
    assert re.search(r'class="num odd" data-v="4.25">4.2<', page)  # the outlier's cell, as printed
    assert "expected error 4.2 mm, median of the cohort 1.6 (8.0 deviations)" in page
    assert "://" not in page  # nothing is fetched: it works offline


def test_two_thousand_rows(tmp_path):
    write_index(tmp_path / "index.html", [{**ROWS[1], "patient": f"p{k}"} for k in range(2000)], {"cohort": "big"})
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("<tr data-verdict=") == 2000 and len(page) < 2_000_000
