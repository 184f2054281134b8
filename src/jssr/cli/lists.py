"""Tables of what there is: the series of a study, what a weights file holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from jssr.api.weights import WeightsInfo
    from jssr.io.dicom.phases import Named


def series_rows(found: Sequence[Named]) -> list[dict[str, Any]]:
    """The series of a study as plain data: what names each, what it is, which phase it is taken for and why."""
    return [
        {
            "series": one.key,
            "uid": one.series.uid,
            "description": one.series.description,
            "modality": one.series.modality,
            "slices": one.series.n_slices,
            "taken": one.series.acquisition_time,
            "contrast": one.series.contrast,
            "split_by": one.series.split_by or None,
            "phase": one.phase or None,
            "sure": one.sure,
            "why": one.why,
            "notes": list(one.series.notes),
        }
        for one in found
    ]


def series_table(found: Sequence[Named]) -> list[RenderableType]:
    """Which series is taken for which phase, and below the table why."""
    table = Table()
    for name in ("series", "description", "kind", "slices", "taken at", "phase"):
        table.add_column(name, overflow="fold")
    reasons = []
    for one, row in zip(found, series_rows(found), strict=True):
        phase = "left out" if row["phase"] is None else row["phase"] + ("" if row["sure"] else " ?")
        first = (row["series"], row["description"], row["modality"], str(row["slices"]))
        told = [f"split by {row['split_by']}"] if row["split_by"] else []
        table.add_row(*map(escape, (*first, one.series.taken, phase)), style="dim" if row["phase"] is None else None)
        reasons.append(escape(f"{row['series']}, {phase}: {'; '.join([row['why'], *told, *row['notes']])}"))
    return [table, *reasons, "? = inferred. Others: --phase PHASE=SERIES, --leave SERIES"]


def info_table(found: WeightsInfo) -> Table:
    """What a weights file is."""
    recipe = dict(found.header.get("recipe") or {})
    to = recipe.get("preprocessing") or {}
    dims = to.get("dims") or [3]
    rows = {
        "recipe": recipe.get("name"),
        "description": recipe.get("description"),
        "structures": ", ".join((recipe.get("network") or {}).get("structures") or ()),
        **({"spacing (mm)": to.get("spacing"), "window (HU)": to.get("window")} if 3 in dims else {}),
        **({"pixels a side": to.get("pixels")} if 2 in dims else {}),
    }
    table = Table(title=str(found.path), title_justify="left", show_header=False)
    for key, value in {**{k: v for k, v in found.header.items() if k != "recipe"}, **rows}.items():
        table.add_row(str(key), value if isinstance(value, str) else json.dumps(value))
    return table
