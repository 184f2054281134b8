"""A chest's radiographs: one patient on several days, in other breaths, poses and exposures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from jssr.core.grid import Grid
from jssr.core.volume import Points, Volume
from jssr.phantom.contrast import sample_contrast, tissue_values
from jssr.phantom.phases import check_phases
from jssr.phantom.radiograph import THORAX_LABELS, draw_exposure, draw_pose, expose, values_of
from jssr.phantom.study import Study, stream
from jssr.phantom.thorax import make_thorax

__all__ = ["PIXELS", "VISITS", "make_thorax_study"]

VISITS = ("visit1", "visit2", "visit3", "visit4", "visit5")
PIXELS = 256


def make_thorax_study(
    seed: int, patient: int, phases: Sequence[str] = VISITS[:3], pixels: int = PIXELS, reference_mm: float | None = None
) -> Study:
    """Make the radiographs of one phantom. The same arguments give the same pixels.

    Args:
        seed: the cohort's.
        patient: index in the cohort, from 0.
        phases: of `VISITS`; the first is the reference_phase, taken breathed in, the others in any breath.
        pixels: along each side.
        reference_mm: spacing of the grid on which the patient is made; None takes 3 mm.

    Returns:
        A study of 2D images of 12 bits, label maps and landmarks, all in pixels; there is no true displacement, as
        what lies on one pixel on one day lies on several on another.

    Raises:
        ValueError: an unknown visit, or one twice.
    """
    check_phases(phases, VISITS)
    key = (seed, "thorax", patient)
    contrast = sample_contrast(stream(*key, "contrast"))
    values = values_of(tissue_values("non-contrast", stream(*key, "values"), contrast))
    grid = Grid.of((pixels, pixels))
    images, labels, marks, breaths = {}, {}, {}, {}
    for number, phase in enumerate(phases):
        own = stream(*key, "visit", phase)
        breath = float(own.uniform(0.8, 1.0) if number == 0 else own.uniform(0.0, 1.0))
        thorax = make_thorax(stream(*key, "anatomy"), breath, reference_mm or 3.0)
        taken = expose(thorax, values, draw_pose(own), draw_exposure(own), pixels, own)
        images[phase] = Volume(torch.from_numpy(taken.image.astype(np.float32))[None], grid, name=phase)
        labels[phase] = Volume(torch.from_numpy(taken.labels)[None], grid, "labels", phase)
        marks[phase], breaths[phase] = taken.landmarks, round(breath, 3)
    info = {"seed": seed, "patient": patient, "anatomy": "thorax", "breath": breaths}
    names = {value: name for name, value in THORAX_LABELS.items()}
    return Study(f"t{patient + 1:04d}", phases[0], images, labels, _seen(marks, pixels), {}, names, info)


def _seen(marks: dict[str, Points], pixels: int) -> dict[str, Points]:
    """Those landmarks that fall on the detector in every visit."""
    inside = np.all([((p.xyz >= 0) & (p.xyz <= pixels - 1)).all(axis=1) for p in marks.values()], axis=0)
    return {
        phase: Points(p.xyz[inside], tuple(n for n, k in zip(p.names, inside, strict=True) if k))
        for phase, p in marks.items()
    }
