"""The report: one HTML file that shows an alignment to eyes, offline, on screen and on paper.

It holds everything inside (pictures as data URIs, styles inline, no script) and forbids itself to load anything, by a
content security policy. All text that comes from outside, file names first, is escaped.
"""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.evaluate import figures
from jssr.evaluate.metrics import plain_warnings, split_key
from jssr.evaluate.planes import Plane, Planes, focus, window, window_of
from jssr.evaluate.tables import METRICS, Metric
from jssr.io.atomic import atomic_path

__all__ = ["AlignmentView", "write_report"]

Painted = Callable[[Plane], "figures.Colour"]

MEANINGS = {
    "dice": "Overlap of the organ in the two scans, 100 % where they agree entirely.",
    "hd95": "95 % of either organ surface lies nearer to the other than this.",
    "asd": "Mean distance between the two organ surfaces.",
    "tre": "Mean distance between corresponding landmarks.",
    "folds": "Part of the field where tissue would be turned inside out. Should be near 0.",
    "log_jacobian_sd": "How unevenly volumes change. Breathing leaves it below about 0.3.",
    "seconds": "Time from reading the scans to the result.",
    "peak_mb": "Most memory in use at a time.",
}


@dataclass(frozen=True, eq=False)
class AlignmentView:
    """One moving scan beside the fixed one, every volume on (or convertible to) the fixed grid's space.

    `metrics` and `metrics_before` are as `evaluate_pair` gives them, with "seconds" and "peak_mb" where known; `name`
    (a phase or a file) is the heading, by default the moving volume's. `moving_seg` is the moving scan's segmentation
    before the alignment, `covered` the fraction of the fixed image for which the moving scan has data, `at` the point
    (LPS mm) that the planes run through (default: the middle of the segmentation, else of the body).
    """

    fixed: Volume
    moving_before: Volume
    moved: Volume
    synthesised: Volume | None = None
    fixed_seg: Volume | None = None
    moved_seg: Volume | None = None
    moving_seg: Volume | None = None
    displacement: Displacement | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_before: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    name: str = ""
    covered: float | None = None
    at: tuple[float, ...] | None = None


@dataclass(frozen=True)
class _Picture:
    """Images of one cell; `before` is empty where there is nothing to switch."""

    alt: str
    after: str
    before: str = ""


@dataclass(frozen=True)
class _Column:
    title: str
    caption: str
    pictures: list[_Picture]


@dataclass(frozen=True)
class _Block:
    title: str
    lead: str
    planes: tuple[str, ...]
    columns: list[_Column]
    switches: bool = False
    legend: bool = False


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    rows: Sequence[AlignmentView],
    provenance: Mapping[str, Any],
    width: int = 420,
) -> None:
    """Write a self-contained report, atomically.

    Args:
        path: the HTML file.
        title: the heading, for example the study's name.
        rows: the moving scans, in the order to show them.
        provenance: what made the result (versions, weights and checksum, device, seconds, commands). Nested mappings
            and lists are laid out.
        width: pixels of the longest side of each picture.

    Raises:
        OutputError: the file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("jssr.evaluate"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    html = environment.get_template("report.html.j2").render(
        title=title,
        scans=[_scan(view, width) for view in rows],
        fixed_names=list(dict.fromkeys(view.fixed.name for view in rows)),
        provenance=_flat(provenance),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _scan(view: AlignmentView, width: int) -> dict[str, Any]:
    """Everything that the template shows of one scan."""
    given = list(view.warnings)
    told = [w for w in plain_warnings(view.metrics, view.metrics_before, view.covered) if w not in given]
    structures, whole = _tables(view)
    planes = Planes(view.fixed.grid, view.at or focus(view.fixed_seg or view.fixed), width)
    cuts = _Cuts(planes)
    return {
        "name": view.name or view.moving_before.name,
        "warnings": given + told,
        "figures": _key_figures(view),
        "structures": structures,
        "whole": whole,
        "point": ", ".join(f"{ends[x < 0]} {abs(x):.0f}" for ends, x in zip(("LR", "PA", "HF"), planes.point, strict=False)),
        "blocks": [b for b in (_scans_block(view, cuts), _overlay_block(view, cuts), _field_block(view, cuts)) if b],
    }


class _Cuts:
    """Pictures of a view's volumes, each plane cut once: most stand in several columns."""

    def __init__(self, planes: Planes) -> None:
        self.planes = planes
        self._kept: dict[tuple[int, Plane], NDArray[Any]] = {}

    def grey(self, volume: Volume, plane: Plane) -> NDArray[Any]:
        """An image windowed to 0..1."""
        return self._once(volume, plane, lambda: window(self.planes.cut(volume, plane), window_of(volume)))

    def labels(self, volume: Volume, plane: Plane) -> NDArray[Any]:
        """A label map, or an image as it is."""
        return self._once(volume, plane, lambda: self.planes.cut(volume, plane))

    def _once(self, volume: Volume, plane: Plane, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        key = (id(volume), plane)  # the view keeps its volumes alive, so ids stay theirs
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def _scans_block(view: AlignmentView, cuts: _Cuts) -> _Block:
    shown = [
        ("Fixed", view.fixed.name, view.fixed),
        ("Moving", "before alignment, on the fixed image's grid", view.moving_before),
        ("Moved", "the same scan after alignment, in its own intensities", view.moved),
    ]
    if view.synthesised is not None:
        shown.append(("Synthesised", "the moving scan in the fixed image's appearance", view.synthesised))
    columns = []
    for title, caption, volume in shown:
        low, high = window_of(volume)
        text = f"{caption}. Grey from {low:.4g} to {high:.4g}."
        columns.append(_column(cuts.planes, title, text, lambda p, v=volume: figures.grey(cuts.grey(v, p))))  # type: ignore[misc]
    lead = "The same three planes through every image. An organ that stands still from one column to the next is aligned."
    return _Block("The scans", lead, cuts.planes.names, columns)


def _overlay_block(view: AlignmentView, cuts: _Cuts) -> _Block:
    captions = {
        "checkerboard": "Fixed and moving in turn. Edges should run on across the squares.",
        "fusion": "Fixed in red, moving in cyan: grey where they agree, coloured rims where they do not.",
        "difference": "Red where the moving scan is brighter, blue where it is darker. Differences in contrast stay; "
        "double rims show what is out of place.",
        "edges": "Edges of the moving scan in orange over the fixed one. They should lie on its borders.",
    }

    def laid(name: str, other: Volume) -> Painted:
        return lambda plane: figures.OVERLAYS[name](cuts.grey(view.fixed, plane), cuts.grey(other, plane))

    columns = [
        _column(cuts.planes, name.capitalize(), caption, laid(name, view.moved), laid(name, view.moving_before))
        for name, caption in captions.items()
    ]
    lead = "Fixed and moving over one another. Click a picture, or choose here, to switch between before and after."
    return _Block("Laid over one another", lead, cuts.planes.names, columns, switches=True)


def _field_block(view: AlignmentView, cuts: _Cuts) -> _Block | None:
    columns = []
    if view.fixed_seg is not None and view.moved_seg is not None:
        columns.append(_contour_column(view, view.fixed_seg, view.moved_seg, cuts))
    if view.displacement is not None:
        columns += _deformation_columns(view, view.displacement, cuts)
    if not columns:
        return None
    lead = "Where the organs lie and how the tissue was moved to bring them there."
    switches = any(picture.before for column in columns for picture in column.pictures)
    return _Block("Organs and deformation", lead, cuts.planes.names, columns, switches, view.displacement is not None)


def _deformation_columns(view: AlignmentView, displacement: Displacement, cuts: _Cuts) -> list[_Column]:
    planes = cuts.planes
    log_det, folds = figures.jacobian_volumes(displacement)

    def grid(plane: Plane) -> figures.Colour:
        mapped = planes.mapped(displacement, plane)
        return figures.deformation_grid(cuts.grey(view.moved, plane), mapped, planes.pixel)

    def jacobian(plane: Plane) -> figures.Colour:
        beneath = cuts.grey(view.fixed, plane)
        return figures.log_jacobian(planes.cut(log_det, plane, outside=0.0), planes.cut(folds, plane) > 0, beneath)

    about_grid = "The moving scan's straight grid, 15 mm apart, as the alignment bends it, over the moved scan."
    about_jacobian = "Change of volume. Black: the field folds, no tissue can move like that."
    return [
        _column(planes, "Deformation", about_grid, grid),
        _column(planes, "Log Jacobian", about_jacobian, jacobian),
    ]


def _contour_column(view: AlignmentView, fixed_seg: Volume, moved_seg: Volume, cuts: _Cuts) -> _Column:
    def drawn(seg: Volume) -> Painted:
        return lambda plane: figures.contours(
            cuts.grey(view.fixed, plane),
            cuts.labels(fixed_seg, plane),
            cuts.labels(seg, plane),
        )

    caption = "Outlines of the fixed scan's organs in blue, the moving scan's in orange, white where they coincide."
    before = drawn(view.moving_seg) if view.moving_seg is not None else None
    return _column(cuts.planes, "Contours", caption, drawn(moved_seg), before)


def _column(planes: Planes, title: str, caption: str, after: Painted, before: Painted | None = None) -> _Column:
    pictures = []
    for plane in planes.names:
        both = [
            _data_uri(figures.lettered(paint(plane), plane)) if paint is not None else "" for paint in (after, before)
        ]
        pictures.append(_Picture(f"{title}, {plane}", *both))
    return _Column(title, caption, pictures)


def _data_uri(picture: figures.Colour) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(figures.encode(picture, "JPEG")).decode("ascii")


def _shown(metric: str, value: float | None, unit: bool = False) -> str:
    """A number as the tables print it."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "missed"
    about = METRICS.get(metric, Metric(metric))
    text = f"{value * about.factor:.{about.decimals}f}"
    return f"{text} {_unit(about)}".rstrip() if unit else text


def _unit(about: Metric) -> str:
    return about.title.partition("(")[2].rstrip(")")


def _key_figures(view: AlignmentView) -> list[dict[str, str]]:
    """The three or four numbers that stand at the head of a scan."""
    structures = [s for m, s in map(split_key, view.metrics) if m == "dice" and s]
    main = "liver" if "liver" in structures else (structures[0] if structures else "")
    wanted = [("dice", f"Dice, {main}", f"dice/{main}")] if main else []
    wanted += [("tre", "Landmark error", "tre"), ("folds", "Folded", "folds"), ("seconds", "Time", "seconds")]
    return [
        {
            "label": label,
            "before": _shown(metric, view.metrics_before[key]) if key in view.metrics_before else "",
            "after": _shown(metric, view.metrics[key], unit=True),
        }
        for metric, label, key in wanted
        if key in view.metrics
    ]


def _tables(view: AlignmentView) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The table by structure and the list of numbers of the whole scan."""
    keys = list(dict.fromkeys([*view.metrics, *view.metrics_before]))
    named = [split_key(k) for k in keys]
    metrics = list(dict.fromkeys(m for m, s in named if s))
    both = (view.metrics_before, view.metrics) if view.metrics_before else (view.metrics,)
    lines = [
        [structure] + [_shown(m, values.get(f"{m}/{structure}")) for m in metrics for values in both]
        for structure in dict.fromkeys(s for _, s in named if s)
    ]
    about = [(METRICS.get(m, Metric(m)).title, MEANINGS.get(m, "")) for m in metrics]
    whole = [
        {
            "name": METRICS.get(m, Metric(m)).title,
            "before": _shown(m, view.metrics_before.get(m)),
            "after": _shown(m, view.metrics.get(m)),
            "meaning": MEANINGS.get(m, ""),
        }
        for m, s in named
        if not s
    ]
    return {"metrics": about, "lines": lines, "paired": len(both) == 2}, whole


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, list[str]]]:
    """Nested provenance as (name, lines) pairs."""
    out: list[tuple[str, list[str]]] = []
    for key, value in mapping.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            out += _flat(value, f"{name}: ")
        elif isinstance(value, (list, tuple)):
            out.append((name, [str(v) for v in value]))
        else:
            out.append((name, [f"{value:.4g}" if isinstance(value, float) else str(value)]))
    return out
