"""A phantom study: the scans of one patient, with everything that is known about them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jssr.core.grid import Grid
from jssr.core.transform import Displacement
from jssr.core.volume import Points, Volume
from jssr.phantom.anatomy import SUPERVISED_POPULATION, TARGET_POPULATION, Anatomy, make_anatomy
from jssr.phantom.contrast import TEXTURE, sample_contrast, tissue_values
from jssr.phantom.motion import Motion, MotionRanges, draw_breaths, make_motion, make_sliding, still
from jssr.phantom.phases import CT_PHASES, MR_PHASES, REFERENCE_PHASE, Population, check_scans, default_phases
from jssr.phantom.protocol import SUPERVISED_PROTOCOL, TARGET_PROTOCOL, Extent, Protocol, draw_scanner, draw_views
from jssr.phantom.regions import LABELS, Tissue
from jssr.phantom.scanner import LabelReader, Scanner, scan_image
from jssr.phantom.texture import bounding_box, make_texture, mottle

__all__ = [
    "SHAPE",
    "Study",
    "Subject",
    "View",
    "assemble",
    "cropped",
    "extent_of",
    "make_study",
    "reach_of",
    "scan_anatomy",
    "stream",
]

SHAPE = (128, 128, 64)
REACH_MM = 45.0
"""How far beyond the reference phase's first and last slice the motion is known."""


@dataclass(frozen=True, eq=False)
class Study:
    """One patient.

    Args:
        id: the patient's.
        reference_phase: the phase to which the others are aligned.
        images: phase -> scan, whole numbers (HU, or MR signal).
        labels: phase -> uint8 label map on the scan's grid.
        landmarks: phase -> points, LPS mm, the same names in each; only those in every field of view.
        truth: phase (not the reference phase) -> displacement from the reference phase's grid to that scan.
        paired: phase -> a scan that looks as the study's other phase and lies on this one; where asked for.
        label_names: value -> name.
        info: what was drawn, for the record.
    """

    id: str
    reference_phase: str
    images: dict[str, Volume]
    labels: dict[str, Volume]
    landmarks: dict[str, Points]
    truth: dict[str, Displacement]
    label_names: dict[int, str]
    info: dict[str, Any] = field(default_factory=dict)
    paired: dict[str, Volume] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Subject:
    """What is scanned, in the reference space (the reference phase's): a phantom, or a real patient to be recoloured.

    Args:
        grid: grid of all arrays, axis-aligned LPS.
        labels: (*grid.shape) uint8.
        landmarks: LPS mm.
        cavity_depth: signed mm to the inner wall, positive where organs slide.
        mobility: 0 to 1, how much of the breath an organ follows.
        paint: gives the (*grid.shape) float32 values of a phase; called with the phase and its stream.
        cut: whether nothing is known beyond the grid; otherwise there is air.
        label_names: name -> value of `labels`.
    """

    grid: Grid
    labels: NDArray[np.uint8]
    landmarks: Points
    cavity_depth: NDArray[np.float32]
    mobility: NDArray[np.float32]
    paint: Callable[[str, np.random.Generator], NDArray[np.float32]]
    cut: bool = False
    label_names: Mapping[str, int] = field(default_factory=lambda: LABELS)


def stream(*key: int | str) -> np.random.Generator:
    """A random stream of its own for each key: what one part draws never shifts what another draws."""
    # The phase was called "uncontrast" before 0.2: its phantoms keep their voxels.
    words = ["uncontrast" if k == "non-contrast" else k for k in key]
    return np.random.default_rng([zlib.crc32(k.encode()) if isinstance(k, str) else k for k in words])


def make_study(
    seed: int,
    patient: int,
    population: Population = "target",
    shape: Sequence[int] = SHAPE,
    phases: Sequence[str] | None = None,
    slice_thickness: float | None = None,
    motion: MotionRanges | None = None,
    reference_mm: float | None = None,
    paired: bool = False,
) -> Study:
    """Make one phantom patient. The same arguments give the same voxels; other phases or patients change nothing.

    Args:
        seed: the cohort's.
        patient: index in the cohort, from 0.
        population: "target" is the multi-phase cohort, "supervised" another population, venous only by default.
        shape: voxels of each scan; with a `slice_thickness` the number of slices follows from the coverage instead.
        phases: any of "non-contrast", "arterial", "venous", "delay", "t1", "t2". The reference phase is
            "venous", or the first.
        slice_thickness: slices of this thickness and distance (mm).
        motion: how far the patient moves between phases.
        reference_mm: spacing of the grid on which the patient is made; None takes the population's (2 mm). Coarser is
            faster and cruder.
        paired: also scan each of two phases' states as the other phase, with noise of its own.

    Raises:
        ValueError: an unknown phase or population, a phase twice, pairs of other than two phases, fewer than two voxels
            along an axis, or slices of an impossible thickness.
    """
    phases = default_phases(population, phases)
    check_scans(phases, CT_PHASES + MR_PHASES, shape, paired)
    if slice_thickness is not None and not 0.1 <= slice_thickness <= 100:
        raise ValueError(f"slices are 0.1 to 100 mm thick, got {slice_thickness:g}")
    key = (seed, population, patient)
    target = population == "target"
    ranges = TARGET_POPULATION if target else SUPERVISED_POPULATION
    ranges = ranges if reference_mm is None else replace(ranges, spacing=reference_mm)
    anatomy = cropped(make_anatomy(stream(*key, "anatomy"), ranges))
    protocol = TARGET_PROTOCOL if target else SUPERVISED_PROTOCOL
    about = {"seed": seed, "patient": patient, "population": population}
    name = f"{'p' if target else 's'}{patient + 1:04d}"
    view = View(extent_of(anatomy), protocol, tuple(shape), slice_thickness)
    return scan_anatomy(name, anatomy, key, phases, view, about, motion, paired)


@dataclass(frozen=True)
class View:
    """What is scanned of a patient, how, in scans of how many voxels; with a thickness the slices follow from it."""

    extent: Extent
    protocol: Protocol
    shape: tuple[int, ...]
    slice_thickness: float | None = None


def scan_anatomy(
    name: str,
    anatomy: Anatomy,
    key: tuple[int | str, ...],
    phases: Sequence[str],
    view: View,
    about: Mapping[str, Any],
    motion: MotionRanges | None = None,
    paired: bool = False,
    label_names: Mapping[str, int] = LABELS,
) -> Study:
    """Breathe and scan one patient in several phases.

    Args:
        name: id of the study.
        key: of the random streams.
        about: what the study's record says beside what was drawn.
        motion, paired: as in `make_study`.
        label_names: name -> value of the anatomy's labels.
    """
    streams = {phase: stream(*key, "view", phase) for phase in phases}
    thickness = view.slice_thickness
    views = draw_views(stream(*key, "view"), streams, view.extent, view.shape, view.protocol, thickness)
    scanners = {
        phase: draw_scanner(
            stream(*key, "style"), stream(*key, "scanner", phase), phase, grid, circle, view.protocol, thickness
        )
        for phase, (grid, circle) in views.items()
    }
    study = assemble(name, _phantom(anatomy, key, label_names), scanners, key, motion, paired)
    study.info.update(about)
    return study


def cropped(anatomy: Anatomy) -> Anatomy:
    """Without the air at its sides: half of the voxels need no further thought."""
    x, y, _ = bounding_box(anatomy.tissue != int(Tissue.AIR)) or (slice(None),) * 3
    box = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in (x, y))
    labels = anatomy.labels[box]
    return replace(
        anatomy,
        grid=anatomy.grid.cropped((box[0].start, box[1].start, 0), labels.shape),
        tissue=anatomy.tissue[box],
        labels=np.ascontiguousarray(labels),
        cavity_depth=anatomy.cavity_depth[box],
        mobility=anatomy.mobility[box],
    )


def extent_of(anatomy: Anatomy) -> Extent:
    """Boxes of the body, the liver and the grid."""
    grid = anatomy.grid
    table = np.ones(256, dtype=np.bool_)
    table[[int(Tissue.AIR), int(Tissue.TABLE)]] = False
    every = np.array([grid.world(np.zeros(3)), grid.world(np.array(grid.shape) - 1)])
    boxes = [_world_box(grid, mask) for mask in (table[anatomy.tissue], anatomy.labels == LABELS["liver"])]
    return Extent(boxes[0], boxes[1], every)


def _world_box(grid: Grid, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    box = bounding_box(mask)
    if box is None:
        raise ValueError("the anatomy lacks a body or a liver")
    return grid.world(np.array([[s.start for s in box], [s.stop - 1 for s in box]]))


def _phantom(anatomy: Anatomy, key: tuple[int | str, ...], label_names: Mapping[str, int]) -> Subject:
    contrast = sample_contrast(stream(*key, "contrast"))
    texture = make_texture(stream(*key, "texture"), anatomy.tissue, anatomy.grid, TEXTURE.sd, TEXTURE.length)
    spleen = anatomy.labels == LABELS["spleen"]
    liver = anatomy.labels == LABELS["liver"]

    def paint(phase: str, rng: np.random.Generator) -> NDArray[np.float32]:
        values = tissue_values(phase, rng, contrast)[anatomy.tissue]
        if phase in MR_PHASES:
            # Signal has no HU: structure goes with its brightness.
            return np.maximum(values * (1 + 0.012 * texture.clip(-40, 40)), 0).astype(np.float32)
        values += texture * np.float32(rng.uniform(0.85, 1.15))
        if phase == "arterial":
            # Red and white pulp fill at different speeds.
            mottle(values, spleen, anatomy.grid, rng, rng.uniform(4, 26), rng.uniform(9, 16), bands=True)
            mottle(values, liver, anatomy.grid, rng, rng.uniform(1, 5), 35.0)
        return values

    return Subject(
        anatomy.grid, anatomy.labels, anatomy.landmarks, anatomy.cavity_depth, anatomy.mobility, paint,
        label_names=label_names,
    )  # fmt: skip


def assemble(
    name: str,
    subject: Subject,
    scanners: Mapping[str, Scanner],
    key: tuple[int | str, ...],
    ranges: MotionRanges | None = None,
    paired: bool = False,
    motions: Mapping[str, Motion] | None = None,
) -> Study:
    """Move and scan a subject.

    Args:
        name: id of the study.
        subject: what is scanned.
        scanners: phase -> how. The reference phase is "venous" where present, else the first.
        key: of the random streams.
        ranges: how far the subject moves.
        paired: scan each of the two states as the other phase too.
        motions: of each phase, in place of breathing; the reference phase's grid must be part of theirs.
    """
    reference_phase = REFERENCE_PHASE if REFERENCE_PHASE in scanners else next(iter(scanners))
    motions = motions or _motions(subject, scanners, reference_phase, key, ranges or MotionRanges())
    reader = LabelReader(subject.labels)
    images, labels, landmarks, truth, beside = {}, {}, {}, {}, {}
    painted = {phase: subject.paint(phase, stream(*key, "paint", phase)) for phase in scanners}
    for phase, scanner in scanners.items():
        at = motions[phase].pull(scanner.grid, subject.grid)
        images[phase] = scan_image(painted[phase], subject.grid, at, scanner, stream(*key, "noise", phase), subject.cut)
        for other in (p for p in painted if paired and p != phase):
            like = replace(scanners[other], grid=scanner.grid, circle=scanner.circle)
            noise = stream(*key, "noise", phase, "paired")
            beside[phase] = scan_image(painted[other], subject.grid, at, like, noise, subject.cut)
        labels[phase] = reader(at, scanner.grid)
        landmarks[phase] = Points(motions[phase](subject.landmarks.xyz), subject.landmarks.names)
        if phase != reference_phase:
            truth[phase] = motions[phase].truth(scanners[reference_phase].grid)
    seen = np.all([scanners[p].grid.contains(points.xyz) for p, points in landmarks.items()], axis=0)
    landmarks = {p: Points(q.xyz[seen], tuple(np.array(q.names)[seen])) for p, q in landmarks.items()}
    info = {"breath_mm": {p: round(m.breath, 3) for p, m in motions.items()}}
    names = {value: label for label, value in subject.label_names.items()}
    return Study(name, reference_phase, images, labels, landmarks, truth, names, info, beside)


def reach_of(reference_phase: Grid) -> Grid:
    """The reference phase's grid, extended to where its motion must be known."""
    pad = (4, 4, int(np.ceil(REACH_MM / reference_phase.spacing[2])))
    return reference_phase.cropped(
        [-p for p in pad], [n + 2 * p for n, p in zip(reference_phase.shape, pad, strict=True)]
    )


def _motions(
    subject: Subject,
    scanners: Mapping[str, Scanner],
    reference_phase: str,
    key: tuple[int | str, ...],
    ranges: MotionRanges,
) -> dict[str, Motion]:
    grid = reach_of(scanners[reference_phase].grid)
    motions = {reference_phase: still(grid)}
    if len(scanners) > 1:
        rng = stream(*key, "motion")
        sliding = make_sliding(subject.grid, subject.cavity_depth, subject.mobility, rng.uniform(*ranges.layer))
        streams = {phase: stream(*key, "motion", phase) for phase in scanners if phase != reference_phase}
        for phase, breath in draw_breaths(rng, streams, ranges).items():
            motions[phase] = make_motion(streams[phase], sliding, grid, breath, ranges)
    return {phase: motions[phase] for phase in scanners}
