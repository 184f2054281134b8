"""What a registration found, as plain data: what `result.json` says, warnings included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jssr.core.volume import Volume
from jssr.errors import JssrError
from jssr.io.output import plain
from jssr.io.provenance import Stopwatch, peak_memory_mb, provenance
from jssr.metrics.synthesis import COPIES_BELOW, copy_ratio
from jssr.preprocessing.modality import modality_of
from jssr.preprocessing.start2d import unknown_spacing
from jssr.registration.measures import Measures, Truth
from jssr.registration.working import Working

__all__ = ["describe"]

CONVENTION = (
    "moved(p) = moving(p + u(p)): u = displacement.nii.gz lies on the fixed grid, in millimetres LPS, rigid part "
    "included; inverse.nii.gz lies on the moving grid and maps the other way"
)


def _title(name: str) -> str:
    """What people call a scan: the name of its file, or the description of its DICOM series."""
    path = Path(name)
    try:
        from jssr.io.dicom.read import series_at

        series = None if path.is_file() else series_at(path)
    except JssrError:
        series = None
    return (series.description.strip() if series is not None else "") or path.name


def describe(y: Volume, x: Volume, work: Working, watch: Stopwatch, measures: Measures, truth: Truth) -> dict[str, Any]:
    """The plain data of `result.json`; numbers that are not finite become null."""
    model, pair = work.model, work.pair
    last = list(measures.states.values())[-1]
    result = {
        "fixed": {"name": y.name, "title": _title(y.name), "grid": repr(y.grid)},
        "moving": {"name": x.name, "title": _title(x.name), "grid": repr(x.grid)},
        "convention": CONVENTION,
        "system": model.recipe.network.system,
        "weights": {"file": model.source, "checksum": model.header.get("checksum"), "recipe": model.recipe.name},
        "provenance": provenance(model.device, model.deterministic) | {"precision": model.precision},
        "network_grid": repr(pair.grid),
        "reads_fixed_labels": work.structure is not None,
        "structures": list(model.structures) if work.alignment.fixed_segmentation is not None else [],
        "label_names": dict(enumerate(model.structures, 1)) if work.alignment.fixed_segmentation is not None else {},
        "rigid": None,
        "seconds": {name: round(s, 3) for name, s in watch.seconds.items()} | {"total": round(watch.total, 3)},
        "peak_memory_mb": round(peak_memory_mb()),
        "covered_percent": round(100 * measures.covered, 2),
        "folds_percent": last["folds"],
        "log_jacobian_sd": last["log_jacobian_sd"],
        "inverse_error_mm": {"mean": measures.inverse_error[0], "max": measures.inverse_error[1]},
        "dice": _dice(measures, truth),
        "warnings": _warnings(y, x, work, measures),
    }
    if pair.rigid is not None:
        found = pair.rigid
        result["rigid"] = {"matrix_lps_mm": pair.transform.matrix.tolist(), "accepted": found.accepted,
                           "mutual_information": {"before": found.before, "after": found.metric}}  # fmt: skip
    if truth.fixed_landmarks is not None:
        result["tre_mm"] = {name: values["tre"] for name, values in measures.states.items()}
    if truth.known:
        result["measures"] = measures.states
    data: dict[str, Any] = plain(result)
    return data


def _dice(measures: Measures, truth: Truth) -> dict[str, Any]:
    def table(states: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
        return {s: {k[5:]: v for k, v in values.items() if k.startswith("dice/")} for s, values in states.items()}

    out: dict[str, Any] = {}
    if measures.segmentations:
        out["segmentations"] = table(measures.segmentations)
    if truth.fixed_labels is not None:
        out["labels"] = table(measures.states)
    return out


def _warnings(y: Volume, x: Volume, work: Working, measures: Measures) -> list[str]:
    """What should make a reader careful, in plain language."""
    from jssr.metrics.warnings import plain_warnings

    pair = work.pair
    out = list(pair.warnings)
    shown = measures.states if any("dice" in k for k in list(measures.states.values())[-1]) else measures.segmentations
    first, last = list(measures.states.values())[0], list(measures.states.values())[-1]
    before, after = dict(first), dict(last)
    if shown:
        before |= list(shown.values())[0]
        after |= list(shown.values())[-1]
    rigid = (shown or {}).get("rigid", {})
    out += plain_warnings(after, before, measures.covered, rigid)
    made = work.alignment.synthesised
    if made is not None and not work.alignment.registered:
        ratio = copy_ratio(made, pair.moving, pair.fixed, pair.moving_mask * pair.fixed_mask)
        if ratio < COPIES_BELOW:
            out.append(
                "The generator copied the fixed image: what is synthesised is not the moving scan, and the alignment "
                "had nothing to go by."
            )
    shift = float(np.linalg.norm(pair.transform(y.grid.centre) - pair.start(y.grid.centre)))
    if shift > 50:
        out.append(f"The rigid pre-alignment moved the scan by {shift:.0f} mm. Check that the headers are right.")
    if y.grid.ndim == 2 and (unknown_spacing(y.grid) or unknown_spacing(x.grid)):
        out.append(
            "An image without a spacing: its millimetres are its pixels, and the longer sides of the two were taken to "
            "show as much of the patient."
        )
    expected = "mr" in work.model.modalities.values()
    for volume in (y, x) if y.grid.ndim == 3 and not expected else ():
        if modality_of(volume) != "ct":
            low, high = float(volume.data.min()), float(volume.data.max())
            out.append(
                f"{Path(volume.name).name}: intensities from {low:.4g} to {high:.4g} do not look like Hounsfield "
                "units; it was scaled by its own brightness, as MR is."
            )
    if measures.inverse_error[1] > float(y.grid.spacing.max()):
        out.append(f"The inverse is off by up to {measures.inverse_error[1]:.1f} mm, as a rule where the field folds.")
    return list(dict.fromkeys(out))
