"""Results read back from their folder, for a new report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jssr.core.volume import Volume
from jssr.errors import ImageError, JssrError
from jssr.io.files import is_plain_name, names_series
from jssr.io.images import read_image
from jssr.io.transforms import read_transform
from jssr.registration.labels import label_maps_of
from jssr.registration.outputs import KEPT
from jssr.registration.result import view_of_result
from jssr.registration.schema import SCHEMA_VERSION, check_result
from jssr.report.html import AlignmentView, write_report


def rewrite_report(folder: Path) -> Path:
    """Write `report.html` of a registration's or a study's folder again and return its path.

    Raises:
        JssrError: no result in the folder, or a scan that is no longer where it was.
    """
    result = result_of(folder)
    phases = list(result.get("phases", ()))
    rows = (
        [view_of(folder / phase, phase, result["reference_phase"]) for phase in phases] if phases else [view_of(folder)]
    )
    title = f"{result['study']}: aligned to {result['reference_phase']}" if phases else rows[0].name
    shown = {k: v for k, v in result.items() if k not in ("dice", "warnings", "metrics")}
    path = folder / "report.html"
    write_report(path, title=title, rows=rows, provenance=shown)
    return path


def view_of(folder: Path, name: str = "", fixed_name: str = "") -> AlignmentView:
    """What the report shows of one registration, from its files.

    Raises:
        JssrError: missing files, or label maps that lie elsewhere than their scans by now.
    """
    result = result_of(folder)
    fixed, moving = found_again(result, "fixed", folder), found_again(result, "moving", folder)
    files = labels_again(result, "fixed", folder), labels_again(result, "moving", folder)
    known = label_maps_of(*files, (fixed, moving))
    moved, synthesised = read_image(folder / "moved.nii.gz"), _optional(folder / "synthesised.nii.gz", labels=False)
    segmented = [_optional(folder / f"{key}_segmentation.nii.gz") for key in ("fixed", "moved")]
    made = read_transform(folder / "displacement.nii.gz"), moved, synthesised
    both = (known.fixed, known.moving), (segmented[0], segmented[1])
    return view_of_result(result, fixed, moving, made, *both, name, fixed_name)


def result_of(folder: Path) -> dict[str, Any]:
    """What `result.json` of a result's folder holds.

    Raises:
        JssrError: there is none, or it is of another version.
    """
    try:
        content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise JssrError(f"{folder}: holds no readable result.json; is it what register or align wrote?") from error
    if not isinstance(content, dict):
        raise JssrError(f"{folder}: expected an object in result.json, got {type(content).__name__}")
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        raise JssrError(
            f"{folder}: expected result.json of schema version {SCHEMA_VERSION}, got {version or 'an older one'}: run "
            "register or align again"
        )
    check_result(content, f"{folder}/result.json")
    for phase in content.get("phases", ()):
        if not is_plain_name(phase):
            raise JssrError(f"{folder}: expected phases that are plain names, got {phase!r}")
    return content


def _optional(path: Path, labels: bool = True) -> Volume | None:
    return read_image(path, "labels" if labels else "image") if path.is_file() else None


def labels_again(result: Mapping[str, Any], key: str, folder: Path) -> Path | None:
    """Where the label map of a scan ("fixed" or "moving") is that a result was measured by; None where it is not."""
    relative = result[key].get("labels_path")
    path = None if relative is None else folder / relative
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
    scan = result[key]
    for path in (folder / KEPT[key], folder / scan.get("path", KEPT[key]), Path(scan["name"])):
        if path.exists() or names_series(path):
            found = replace(read_image(path), name=str(scan["name"]))
            return found.known_as(scan["modality_from"], modality=scan["modality"])
    if "path" not in scan:
        raise ImageError(
            f"{key}: no file of this scan is known: scans given as arrays are kept with a result only with anonymise; "
            "register files, or hold on to the array"
        )
    raise ImageError(f"{scan['name']}: the scan is no longer there; put it back")
