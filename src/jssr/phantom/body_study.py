"""A body's study: CT and MR of one patient anywhere between neck and thighs, breathing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jssr.phantom.body import BOTTOM, TOP, make_body
from jssr.phantom.motion import MotionRanges
from jssr.phantom.phases import CT_PHASES, MR_PHASES, check_scans
from jssr.phantom.protocol import TARGET_PROTOCOL, Extent
from jssr.phantom.ranges import TARGET_POPULATION
from jssr.phantom.regions import BODY_LABELS
from jssr.phantom.study import Study, View, cropped, extent_of, scan_anatomy, stream

__all__ = ["BODY_PHASES", "BODY_SHAPE", "check_field", "make_body_study"]

BODY_PHASES = ("venous", "arterial")
BODY_SHAPE = (128, 128, 160)
EDGE_MM = 20.0
"""How far the field of view stays from the ends of what is made, so that what breathes in is known."""
LEAST_MM = 40.0


def check_field(field: Sequence[float] | None) -> tuple[float, float]:
    """The lowest and the highest slice asked for, mm above the middle of L1; None is all there is.

    Raises:
        ValueError: outside of the body, or less than 40 mm.
    """
    least, most = BOTTOM + EDGE_MM, TOP - EDGE_MM
    low, high = field or (least, most)
    if not least <= low <= high - LEAST_MM <= most - LEAST_MM:
        raise ValueError(
            f"a body's field of view lies between {least:g} and {most:g} mm from the middle of L1 and is at least "
            f"{LEAST_MM:g} mm high, got {low:g} to {high:g}"
        )
    return float(low), float(high)


def make_body_study(
    seed: int,
    patient: int,
    shape: Sequence[int] = BODY_SHAPE,
    phases: Sequence[str] | None = None,
    field: Sequence[float] | None = None,
    slice_thickness: float | None = None,
    motion: MotionRanges | None = None,
    reference_mm: float | None = None,
    paired: bool = False,
) -> Study:
    """Make one phantom body. The same arguments give the same voxels.

    Args:
        shape: voxels of each scan; with a `slice_thickness` the number of slices follows from the field of view.
        phases: as in `make_study`; by default "venous" and "arterial".
        field: lowest and highest slice, mm above the middle of L1; the phases differ from it by some millimetres. None
            scans from neck to thighs.
        seed, patient, slice_thickness, motion, reference_mm, paired: as in `make_study`.

    Raises:
        ValueError: as `check_scans` and `check_field`.
    """
    phases = tuple(phases or BODY_PHASES)
    check_scans(phases, CT_PHASES + MR_PHASES, shape, paired)
    low, high = check_field(field)
    key = (seed, "body", patient)
    anatomy = cropped(make_body(stream(*key, "anatomy"), replace(TARGET_POPULATION, spacing=reference_mm or 2.0)))
    body = extent_of(anatomy)
    # `draw_views` scans so much above and below the liver: here nothing, of a liver that fills the field of view.
    wanted = np.concatenate([body.body[:, :2], [[low + 12.0], [high]]], axis=1)
    protocol = replace(TARGET_PROTOCOL, above=(0.0, 0.0), height=(high - low, high - low), shift=6.0)
    view = View(Extent(body.body, wanted, body.scannable), protocol, tuple(shape), slice_thickness)
    about = {"seed": seed, "patient": patient, "anatomy": "body", "field_mm": [low, high]}
    return scan_anatomy(f"w{patient + 1:04d}", anatomy, key, phases, view, about, motion, paired, BODY_LABELS)
