"""Where the scans of a result are: told when it is written, so that they are found again when it is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jssr.core.volume import Volume
from jssr.errors import ImageError
from jssr.io.images import read_image
from jssr.io.names import names_series

__all__ = ["KEPT", "found_again", "labels_again", "located"]

KEPT = {"fixed": "kept_fixed.nii.gz", "moving": "kept_moving.nii.gz"}
"""Where a scan is kept with the result."""


def located(
    result: Mapping[str, Any],
    scans: Mapping[str, Volume],
    folder: Path,
    labels: Mapping[str, Volume | None] | None = None,
) -> dict[str, Any]:
    """A result with the way from its folder to the scans ("fixed", "moving") and to their label maps, for wherever both
    are moved to."""
    out = dict(result)
    for what, volumes in (("path", scans), ("labels", labels or {})):
        for key, volume in volumes.items():
            path = None if volume is None else Path(volume.name)
            if path is not None and (path.exists() or path.parent.is_dir() and str(path.parent) != "."):
                out[key] = {**out[key], what: os.path.relpath(path, folder)}
    return out


def labels_again(result: Mapping[str, Any], key: str, folder: Path) -> Path | None:
    """Where the label map of a scan ("fixed" or "moving") is that a result was measured by; None where it is not."""
    told = result[key].get("labels")
    path = None if told is None else folder / told
    return path if path is not None and path.is_file() else None


def found_again(result: Mapping[str, Any], key: str, folder: Path) -> Volume:
    """A scan of a result: as it was kept with it, else from where it lies as seen from there, else from where it was.

    Args:
        result: what its `result.json` holds.
        key: "fixed" or "moving".
        folder: of the result.

    Raises:
        ImageError: it is in none of these places.
    """
    told = result[key]
    for path in (folder / KEPT[key], folder / told.get("path", KEPT[key]), Path(told["name"])):
        if path.exists() or names_series(path):
            return replace(read_image(path), name=str(told["name"]))
    raise ImageError(f"{told['name']}: the scan is no longer there; put it back")
