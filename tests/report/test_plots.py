from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from jssr.metrics.results import CaseResult
from jssr.report import plots


def test_box_plot_shows_each_method_in_each_phase() -> None:
    results = [
        CaseResult(f"p{i}", phase, method, {"dice/liver": base + 0.01 * i})
        for phase in ("arterial", "delay")
        for method, base in (("initial", 0.8), ("jssr", 0.9))
        for i in range(5)
    ]
    results.append(CaseResult("p9", "delay", "jssr", {"hd95/liver": 3.0}))  # no Dice: left out
    figure = plots.box_plot(results)
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["arterial", "delay"]
    assert axes.get_ylabel() == "Dice (%), liver"
    medians = sorted(float(x.get_ydata()[0]) for x in axes.lines if x.get_color() == "#d03030")
    assert medians == pytest.approx([82.0, 82.0, 92.0, 92.0])
    assert not [x for x in axes.lines if x.get_marker() == "o" and len(x.get_ydata())]
    few = plots.box_plot([r for r in results if r.case in ("p0", "p1")]).axes[0]
    points = [x for x in few.lines if x.get_marker() == "o" and len(x.get_ydata())]
    assert sorted(float(y) for x in points for y in x.get_ydata()) == pytest.approx([80, 80, 81, 81, 90, 90, 91, 91])
    assert Image.open(BytesIO(plots.figure_png(figure, dpi=50))).format == "PNG"
