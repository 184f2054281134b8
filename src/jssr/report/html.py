"""The report: one HTML file that shows an alignment to eyes, offline, on screen and on paper.

It holds everything inside (pictures as data URIs, styles inline, no script) and forbids itself to load anything, by a
content security policy. All text that comes from outside, file names first, is escaped.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from jssr.io.files import atomic_path
from jssr.metrics.entries import entry
from jssr.metrics.results import split_key
from jssr.metrics.warnings import plain_warnings
from jssr.report.planes import Planes, focus
from jssr.report.view import AlignmentView, Cuts, field_block, overlay_block, scans_block


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    rows: Sequence[AlignmentView],
    provenance: Mapping[str, Any],
    width: int = 420,
) -> None:
    """Write a self-contained report of moving scans in the order to show them, atomically.

    `provenance` is what made the result (versions, weights, device, seconds, commands; nested mappings and lists are
    laid out), `width` the pixels of the longest side of each picture.
    """
    scans = [_scan(view, width) for view in rows]
    render(
        path,
        "report.html.j2",
        title=title,
        scans=scans,
        labels=list(dict.fromkeys(key["label"] for scan in scans for key in scan["figures"])),
        solid=any(view.fixed.grid.ndim == 3 for view in rows),
        fixed_names=list(dict.fromkeys(view.fixed.name for view in rows)),
        provenance=laid_out(provenance),
    )


def render(path: str | os.PathLike[str], template: str, **values: Any) -> None:
    """Write a page of one of the templates, atomically; what is put in is escaped."""
    environment = Environment(
        loader=PackageLoader("jssr.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    html = environment.get_template(template).render(**values)
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _scan(view: AlignmentView, width: int) -> dict[str, Any]:
    """Everything that the template shows of one scan."""
    given = list(view.warnings)
    more = [w for w in plain_warnings(view.metrics, view.metrics_before, view.covered) if w not in given]
    structures, overall = _tables(view)
    planes = Planes(view.fixed.grid, view.at or focus(view.fixed_seg or view.fixed), width)
    cuts = Cuts(planes)
    return {
        "name": view.name or view.moving_before.name,
        "warnings": given + more,
        "verdict": view.verdict,
        "figures": key_figures(view),
        "structures": structures,
        "own": view.own,
        "overall": overall,
        "solid": planes.grid.ndim == 3,
        "point": _place(planes.point),
        "blocks": [b for b in (scans_block(view, cuts), overlay_block(view, cuts), field_block(view, cuts)) if b],
    }


def _place(point: NDArray[np.float64]) -> str:
    """A point in the patient's words: "R 29, A 166, H 359"."""
    sides = zip(("LR", "PA", "HF"), point, strict=False)
    return ", ".join(f"{ends[int(x < 0)]} {abs(x):.0f}" for ends, x in sides)


def shown(metric: str, value: float | None, unit: bool = False) -> str:
    """A number as the tables print it."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "missed"
    about = entry(metric)
    return f"{about.text(value)} {about.unit}".rstrip() if unit else about.text(value)


def key_figures(view: AlignmentView) -> list[dict[str, str]]:
    """The three or four numbers at the head of a scan."""
    structures = [s for m, s in map(split_key, view.metrics) if m == "dice" and s]
    main = "liver" if "liver" in structures else (structures[0] if structures else "")
    own = ", by its own segmentation" if view.own else ""
    wanted = [("dice", f"Dice, {main}{own}", f"dice/{main}")] if main else []
    wanted += [("tre", "Landmark error", "tre"), ("folds", "Folded", "folds"), ("seconds", "Time", "seconds")]
    return [
        {
            "label": label,
            "before": shown(metric, view.metrics_before[key]) if key in view.metrics_before else "",
            "after": shown(metric, view.metrics[key], unit=True),
        }
        for metric, label, key in wanted
        if key in view.metrics
    ]


def _tables(view: AlignmentView) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The table by structure and the list of numbers of the pair."""
    keys = list(dict.fromkeys([*view.metrics, *view.metrics_before]))
    named = [split_key(k) for k in keys]
    metrics = list(dict.fromkeys(m for m, s in named if s))
    both = (view.metrics_before, view.metrics) if view.metrics_before else (view.metrics,)
    lines = [
        [structure] + [shown(m, values.get(f"{m}/{structure}")) for m in metrics for values in both]
        for structure in dict.fromkeys(s for _, s in named if s)
    ]
    about = [(entry(m).title, entry(m).meaning) for m in metrics]
    overall = [
        {
            "name": entry(m).title,
            "before": shown(m, view.metrics_before.get(m)),
            "after": shown(m, view.metrics.get(m)),
            "meaning": entry(m).meaning,
        }
        for m, s in named
        if not s
    ]
    return {"metrics": about, "lines": lines, "paired": len(both) == 2}, overall


def laid_out(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, list[str]]]:
    """Nested provenance as (name, lines) pairs."""
    out: list[tuple[str, list[str]]] = []
    for key, value in mapping.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            out += laid_out(value, f"{name}: ")
        elif isinstance(value, (list, tuple)):
            out.append((name, [str(v) for v in value]))
        else:
            out.append((name, [f"{value:.4g}" if isinstance(value, float) else str(value)]))
    return out
