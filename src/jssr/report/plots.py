"""Plots of numbers, by matplotlib, whose import takes as long as a report of pictures: only what plots imports this."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from jssr.metrics.entries import entry
from jssr.metrics.results import CaseResult, value_of

FEW = 5
"""Values that make no box."""


def box_plot(results: Sequence[CaseResult], metric: str = "dice", structure: str = "liver") -> Figure:
    """Plot the spread of one metric over the cases, a box for each phase and method (the paper's figure 4).

    Boxes run from the first to the third quartile, whiskers to the last value within 1.5 of their distance. Fewer than
    `FEW` values are shown as points besides: their box may be a line.
    """
    about = entry(metric)
    phases = tuple(dict.fromkeys(r.phase for r in results))
    methods = tuple(dict.fromkeys(r.method for r in results))
    figure = Figure(figsize=(1.6 + 0.42 * len(methods) * len(phases), 3.6), layout="constrained")
    axes = figure.add_subplot()
    step = 0.8 / max(1, len(methods))
    for m, method in enumerate(methods):
        mine = [(r.phase, value_of(r, metric, structure) * about.factor) for r in results if r.method == method]
        boxes = [[v for phase, v in mine if phase == p and np.isfinite(v)] for p in phases]
        places = [i - 0.4 + (m + 0.5) * step for i in range(len(phases))]
        colour = mpl.colormaps["cividis"](0.15 + 0.8 * m / max(1, len(methods) - 1))
        axes.boxplot(
            boxes, positions=places, widths=step * 0.8, patch_artist=True, label=method,
            boxprops={"facecolor": colour}, medianprops={"color": "#d03030"}, flierprops={"markersize": 3},
        )  # fmt: skip
        points = [(place, v) for place, values in zip(places, boxes, strict=True) if len(values) < FEW for v in values]
        axes.plot(*np.reshape(points, (-1, 2)).T, "o", markersize=5, color=colour, zorder=3)
    axes.set_xticks(range(len(phases)), phases)
    axes.set_ylabel(f"{about.title}, {structure}" if structure else about.title)
    axes.yaxis.grid(True, color="#dddddd")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def figure_png(figure: Figure, dpi: int = 150) -> bytes:
    """Encode a matplotlib figure as PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
