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
from jssr.metrics.results import split_key, spoken
from jssr.metrics.warnings import plain_warnings
from jssr.report.planes import Planes, focus
from jssr.report.view import AlignmentView, Cuts, field_block, overlay_block, scans_block, strips


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
        "volumes": volume_rows(view.volumes),
        "about": scan_rows(view.scans),
        "solid": planes.grid.ndim == 3,
        "point": _place(planes.point),
        "strips": strips(view, cuts),
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


def stages_of(view: AlignmentView) -> list[tuple[str, Mapping[str, float]]]:
    """The states that tables show, with their numbers: before, rigid where the rigid step is not the last, after."""
    found = [("before", view.metrics_before), ("rigid", view.metrics_rigid), ("after", view.metrics)]
    return [(name, values) for name, values in found if values]


def better_than(key: str, after: Mapping[str, float], others: Sequence[Mapping[str, float]]) -> bool:
    """Whether a number after the alignment is better than in every state before that has it, as printed."""
    there = [values[key] for values in others if not math.isnan(values.get(key, math.nan))]
    metric = entry(split_key(key)[0])
    return bool(there) and all(metric.better(after.get(key, math.nan), than) for than in there)


def key_figures(view: AlignmentView) -> list[dict[str, Any]]:
    """The three or four numbers at the head of a scan; `better` where the last is the best."""
    structures = [s for m, s in map(split_key, view.metrics) if m == "dice" and s]
    main = next((s for s in structures if "tumour" in s), "") or ("liver" if "liver" in structures else "")
    main = main or (structures[0] if structures else "")
    own = ", by its own segmentation" if view.own else ""
    wanted = [("dice", f"Dice, {spoken(main)}{own}", f"dice/{main}")] if main else []
    wanted += [("tre", "Landmark error", "tre"), ("folds", "Folded", "folds"), ("seconds", "Time", "seconds")]
    earlier = [values for _, values in stages_of(view)[:-1]]
    return [
        {
            "label": label,
            "before": [shown(metric, values[key]) for values in earlier if key in values],
            "after": shown(metric, view.metrics[key], unit=True),
            "better": better_than(key, view.metrics, earlier),
        }
        for metric, label, key in wanted
        if key in view.metrics
    ]


def _tables(view: AlignmentView) -> tuple[dict[str, Any], dict[str, Any]]:
    """The table by structure and that of the pair: each cell a text, and whether it is the best of its states."""
    stages = stages_of(view)
    earlier = [values for _, values in stages[:-1]]
    named = [split_key(k) for k in dict.fromkeys(key for _, values in stages for key in values)]
    metrics = list(dict.fromkeys(m for m, s in named if s))

    def cells(metric: str, key: str) -> list[tuple[str, bool]]:
        last = len(stages) - 1
        return [
            (shown(metric, values.get(key)), k == last and better_than(key, values, earlier))
            for k, (_, values) in enumerate(stages)
        ]

    lines = [
        (spoken(structure), [cell for m in metrics for cell in cells(m, f"{m}/{structure}")])
        for structure in sorted(dict.fromkeys(s for _, s in named if s), key=lambda s: "tumour" not in s)
    ]
    about = [(entry(m).title, entry(m).meaning) for m in metrics]
    overall = [(entry(m).title, cells(m, m), entry(m).meaning) for m, s in named if not s]
    names = [name for name, _ in stages]
    return {"metrics": about, "lines": lines, "stages": names}, {"lines": overall, "stages": names}


def scan_rows(scans: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Of the fixed and of the moving scan: which it is, its file or series, patient, time, modality, voxels."""
    rows = []
    for role, scan in scans.items():
        grid = scan["grid"]
        size, steps = (" x ".join(f"{v:.4g}" for v in grid[key]) for key in ("shape", "spacing_mm"))
        series = f"series {scan['series']}: " if scan.get("series") else ""
        kind = "/".join(filter(None, (scan.get("modality"), scan.get("phase"))))
        given = [scan.get("patient") or "–", scan.get("taken") or "–", kind]
        rows.append([role, f"{series}{scan['title']}", *given, f"{size} of {steps} mm"])
    return rows


def volume_rows(volumes: Mapping[str, Mapping[str, float | None]]) -> list[list[str]]:
    """Structure, ml in the fixed and in the moving scan, change in per cent, and the mean Jacobian determinant."""

    def text(value: float | None, form: str) -> str:
        return "–" if value is None or not math.isfinite(value) else format(value, form)

    forms = {"fixed_ml": ".1f", "moving_ml": ".1f", "change_percent": "+.1f", "jacobian": ".2f"}
    ordered = sorted(volumes.items(), key=lambda one: "tumour" not in one[0])
    return [[spoken(name), *(text(one.get(key), form) for key, form in forms.items())] for name, one in ordered]


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
