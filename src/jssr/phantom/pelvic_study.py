"""A pelvic study: CT and MR of one patient whose bladder and rectum have changed in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.phantom.contrast import TEXTURE, sample_contrast, tissue_values
from jssr.phantom.filling import FillingRanges, make_filling
from jssr.phantom.motion import still
from jssr.phantom.pelvis import Pelvis, make_pelvis
from jssr.phantom.phases import MR_PHASES, check_scans
from jssr.phantom.protocol import TARGET_PROTOCOL, draw_scanner
from jssr.phantom.regions import PELVIS_LABELS
from jssr.phantom.study import Study, Subject, assemble, reach_of, stream
from jssr.phantom.texture import make_texture

__all__ = ["PELVIC_PHASES", "PELVIC_SHAPE", "VIEW_MM", "make_pelvic_study"]

PELVIC_PHASES = ("ct", "t2", "t1")
VIEW_MM = (218.0, 196.0, 100.0)
"""What is scanned: the crop of Cao et al. 2018."""
PELVIC_SHAPE = (109, 98, 50)


def make_pelvic_study(
    seed: int,
    patient: int,
    shape: Sequence[int] = PELVIC_SHAPE,
    phases: Sequence[str] | None = None,
    ranges: FillingRanges | None = None,
    reference_mm: float | None = None,
    paired: bool = False,
) -> Study:
    """Make one phantom pelvis. The same arguments give the same voxels.

    Args:
        shape: voxels of each scan of `VIEW_MM`; (218, 196, 100) is the paper's, of 1 mm.
        phases: of "ct", "t2" and "t1"; the first is the reference phase. By default "ct" and "t2".
        ranges: how far bladder and rectum change.
        seed, patient, reference_mm, paired: as in `make_study`.

    Raises:
        ValueError: as `check_scans`.
    """
    phases = tuple(phases or PELVIC_PHASES[:2])
    check_scans(phases, PELVIC_PHASES, shape, paired)
    key = (seed, "pelvis", patient)
    pelvis = make_pelvis(stream(*key, "anatomy"), reference_mm or 2.0)
    scanners = {}
    for phase in phases:
        grid = _view(stream(*key, "view", phase), pelvis, shape)
        style, own = stream(*key, "style"), stream(*key, "scanner", phase)
        scanners[phase] = draw_scanner(style, own, phase, grid, None, TARGET_PROTOCOL)
    reach = reach_of(scanners[phases[0]].grid)
    motions, filled = {phases[0]: still(reach)}, {phases[0]: 0.0}
    for phase in phases[1:]:
        own = stream(*key, "motion", phase)
        motions[phase], filled[phase] = make_filling(own, pelvis, reach, ranges or FillingRanges())
    study = assemble(f"b{patient + 1:04d}", _subject(pelvis, key), scanners, key, None, paired, motions)
    study.info.clear()
    study.info.update(seed=seed, patient=patient, anatomy="pelvis")
    study.info.update(bladder_log={p: round(f, 3) for p, f in filled.items()})
    return study


def _view(rng: np.random.Generator, pelvis: Pelvis, shape: Sequence[int]) -> Grid:
    """From below the prostate to above the bladder, or as much of that as fits."""
    spacing = np.round(np.array(VIEW_MM) / np.array(shape), 4)
    dome = float(pelvis.bladder[0, 2] + pelvis.bladder[1, 2])
    centre = np.array([0.0, 8.0, max(dome + 8 - VIEW_MM[2] / 2, 4.0)]) + rng.normal(0, 2.0, 3)
    return Grid.of(tuple(shape), spacing.tolist(), np.round(centre - spacing * (np.array(shape) - 1) / 2, 2).tolist())


def _subject(pelvis: Pelvis, key: tuple[int | str, ...]) -> Subject:
    contrast = sample_contrast(stream(*key, "contrast"))
    texture = make_texture(stream(*key, "texture"), pelvis.tissue, pelvis.grid, TEXTURE.sd, TEXTURE.length)

    def paint(phase: str, rng: np.random.Generator) -> NDArray[np.float32]:
        values = tissue_values("non-contrast" if phase == "ct" else phase, rng, contrast)[pelvis.tissue]
        if phase in MR_PHASES:
            return np.maximum(values * (1 + 0.012 * texture.clip(-40, 40)), 0).astype(np.float32)
        return values + texture

    none = np.zeros(pelvis.grid.shape, np.float32)
    return Subject(
        pelvis.grid, pelvis.labels, pelvis.landmarks, none, pelvis.mobility, paint, label_names=PELVIS_LABELS
    )
