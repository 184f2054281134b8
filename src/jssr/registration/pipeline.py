"""A trained system at work on scans of any geometry: register, segment, synthesise."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement, coverage, resample
from jssr.core.volume import Volume
from jssr.errors import JssrError
from jssr.io.provenance import Stopwatch
from jssr.metrics.overlap import mask_of
from jssr.preprocessing.intensity import denormalise
from jssr.preprocessing.prepare import PreparedPair, prepare_image, prepare_pair
from jssr.preprocessing.rigid import RigidResult
from jssr.registration.components import largest_parts
from jssr.registration.full_size import Map, continued, fullsize, labels_at
from jssr.registration.inputs import Image, Landmarks, check_dims, check_overlap, image_of, labels_of, truth_of
from jssr.registration.measures import Truth, measure
from jssr.registration.model import Model, fitting_system, load_model, segmenting_model
from jssr.registration.result import Registration
from jssr.registration.summary import describe
from jssr.registration.working import Working
from jssr.systems.base import Alignment, System

__all__ = ["prepare", "register", "segment", "solve", "structure_of", "synthesise"]


def register(
    fixed: Image,
    moving: Image,
    *,
    system: str | None = None,
    checkpoint: str | os.PathLike[str] | Model | None = None,
    refine: int | None = None,
    rigid: bool = True,
    descriptor: str | None = None,
    initial: Literal["geometry", "centre"] = "geometry",
    fixed_labels: Image | None = None,
    moving_labels: Image | None = None,
    fixed_landmarks: Landmarks | None = None,
    moving_landmarks: Landmarks | None = None,
    structures: Mapping[str, Sequence[int]] | None = None,
    device: str = "cpu",
    deterministic: bool = False,
    on_stage: Callable[[str], None] | None = None,
) -> Registration:
    """Align the moving scan to the fixed one.

    Args:
        fixed, moving: images (volumes, files, DICOM folders) of one patient, of any geometry, both 3D or both 2D.
        system: which; None takes the checkpoint's. With neither, it is "jssr" for two CT scans and "discrete", which
            needs no training, for all others.
        checkpoint: weights file, run folder or loaded `Model`; None takes the shipped weights.
        refine: steps of instance optimisation after the system; None leaves it to the system's recipe.
        descriptor: what that compares, and what "discrete" searches with: "mind-ssc", "mind" or "macmind"; None leaves
            it to the recipe.
        rigid: align rigidly first; otherwise the headers' geometry holds. Not for 2D images, which start as
            `jssr.preprocessing.start2d` has it.
        initial: "geometry" trusts the headers, "centre" starts with the bodies' centres on one another; 3D alone.
        fixed_labels, moving_labels: label maps on the images' grids, for Dice and surface distances; JRS-Net also
            reads the fixed image's, which may be given alone.
        fixed_landmarks, moving_landmarks: for the landmark error, matched by name.
        structures: name to label values of the label maps; None takes each value under its number.
        device: where the networks run.
        deterministic: only algorithms that give the same bits each time.
        on_stage: called with the name of each stage as it begins.

    Raises:
        ImageError, PointsError: an input that cannot be used.
        GeometryError: no overlap of the fields of view, or a label map on another grid.
        CheckpointError: no such checkpoint, a damaged one, one of another system, or none that ships.
        ValueError: another `initial`, `refine` or `descriptor`.
    """
    if initial not in ("geometry", "centre"):
        raise ValueError(f'initial must be "geometry" or "centre", got {initial!r}')
    if refine is not None and (int(refine) != refine or refine < 0):
        raise ValueError(f"refine must be a number of steps, 0 or more, got {refine!r}")
    watch = Stopwatch(on_stage)
    with watch.stage("read"):
        y, x = image_of(fixed, "fixed"), image_of(moving, "moving")
        check_overlap(y, x, rigid and initial == "centre")
    with watch.stage("load"):
        if system is None and checkpoint is None:
            system = fitting_system(y, x)
        model = load_model(system, checkpoint, device, deterministic, descriptor)
        if "displacement" not in model.system.outputs:
            raise JssrError(f"{model.source}: {model.recipe.network.system} has no register; choose another checkpoint")
        check_dims(model, y)
        model.check_descriptor(y.grid.ndim)
        outline = labels_of(fixed_labels, y) if model.system.reads_structure else None
        if outline is not None and moving_labels is None:
            fixed_labels = None  # the system reads them; there is nothing to measure by
        truth = truth_of(y, x, fixed_labels, moving_labels, fixed_landmarks, moving_landmarks, structures)
        refine = model.recipe.inference.refine if refine is None else refine
    with watch.stage("prepare"):
        pair = prepare(model, y, x, rigid, initial)
    turned = model.turned(y, x)
    if turned:
        pair = replace(pair, warnings=(*pair.warnings, turned))
    if pair.rigid is not None:
        watch.seconds["rigid"] = pair.rigid.seconds
        watch.seconds["prepare"] -= pair.rigid.seconds
    known = structure_of(model, pair, outline, structures)
    return _full_size(y, x, solve(model, y, x, pair, refine, watch, known), truth, watch)


def prepare(
    model: Model,
    y: Volume,
    x: Volume,
    rigid: bool = True,
    initial: Literal["geometry", "centre"] = "geometry",
    found: RigidResult | None = None,
) -> PreparedPair:
    """`prepare_pair` as a model's recipe has it."""
    to = model.recipe.preprocessing
    return prepare_pair(
        y, x, to.spacing, to.window, rigid, initial=initial, found=found, flat=to.pixels,
        most_voxels=to.most_voxels,
    )  # fmt: skip


def structure_of(
    model: Model, pair: PreparedPair, labels: Volume | None, structures: Mapping[str, Sequence[int]] | None
) -> Tensor | None:
    """Where the fixed image has the structure of a system that reads it, (1, 1, *pair.grid.shape) in 0 and 1; else
    None.

    Args:
        labels: the fixed image's, where they are known.
        structures: name to label values; all labels count where the system's structures are not among them.
    """
    if labels is None or not model.system.reads_structure:
        return None
    values = [value for name in model.structures for value in (structures or {}).get(name, ())]
    inside = mask_of(labels.array, values) if values else labels.array != 0
    volume = labels.with_data(torch.from_numpy(inside.astype(np.uint8))[None])
    return resample(volume, pair.grid).data[None].float()


def solve(
    model: Model,
    y: Volume,
    x: Volume,
    pair: PreparedPair,
    refine: int,
    watch: Stopwatch,
    structure: Tensor | None = None,
    last_only: bool = False,
) -> Working:
    """Align a prepared pair: the system's field, and with `refine` steps the refined one.

    Args:
        y, x: the scans that `pair` was prepared from, fixed and moving.
        structure: of `structure_of`.
        last_only: the map of the last state is enough, which saves the time of the one before it.
    """
    maps: dict[str, Map] = {}
    with watch.stage("network"):
        alignment = _align(model, pair, structure)
        if refine == 0 or not last_only:
            maps["network"] = Map(_field(alignment.displacement, pair.grid, pair), pair.transform)
    if refine > 0:
        with watch.stage("refine"):
            from jssr.registration.instance_optimisation import refine_pair

            finer, warnings = refine_pair(model, y, x, pair, alignment, refine)
            maps["refined"] = Map(_field(finer.u[None], finer.grid, pair), pair.transform)
        pair = replace(pair, warnings=(*pair.warnings, *warnings))
    return Working(model, pair, alignment, maps, structure)


def segment(
    image: Image,
    *,
    system: str | None = None,
    checkpoint: str | os.PathLike[str] | Model | None = None,
    moving: bool = False,
    device: str = "cpu",
    deterministic: bool = False,
) -> Volume:
    """Label map of one scan on its own grid; the names of labels 1, 2, ... are the recipe's structures.

    Args:
        system: which; None takes the checkpoint's. With neither it is "jssr", of radiographs "jrsnet".
        moving: the scan is of the moving modality, for systems with a segmentor of each (macJNet).

    Raises:
        JssrError: the system has no segmentor, or none of its own for the moving modality; otherwise as `register`.
    """
    scan = image_of(image)
    model = segmenting_model(scan, system, checkpoint, device, deterministic)
    if moving and type(model.system).segment_moving is System.segment_moving:
        raise JssrError(
            f"{model.source}: one segmentor serves all scans here; leave out --moving, or name a macJNet run"
        )
    check_dims(model, scan)
    to = model.recipe.preprocessing
    ready = prepare_image(scan, to.spacing, to.window, to.pixels)
    with model.computing():
        try:
            said = model.system.segment_moving if moving else model.system.segment
            p = said(ready.image.to(device)).float().cpu()
        except NotImplementedError as error:
            raise JssrError(f"{model.source}: {error}; choose a checkpoint with a segmentor") from None
    return Volume(labels_at(largest_parts(p, model.pieces), ready.grid, scan.grid), scan.grid, "labels", scan.name)


def synthesise(
    moving: Image,
    fixed: Image,
    *,
    system: str | None = None,
    checkpoint: str | os.PathLike[str] | Model | None = None,
    rigid: bool = True,
    device: str = "cpu",
    deterministic: bool = False,
) -> Volume:
    """The moving scan in the fixed scan's appearance, on the fixed grid, aligned rigidly at most: anatomy stays where
    the moving scan has it.

    Raises:
        JssrError: the system has no generator; otherwise as `register`.
    """
    y, x = image_of(fixed, "fixed"), image_of(moving, "moving")
    check_overlap(y, x, False)
    model = load_model(system, checkpoint, device, deterministic)
    check_dims(model, y)
    pair = prepare(model, y, x, rigid)
    with model.computing():
        try:
            g = model.system.synthesise(pair.moving.to(device), pair.fixed.to(device)).float().cpu().clone()
        except NotImplementedError as error:
            raise JssrError(f"{model.source}: {error}; choose a checkpoint with a generator") from None
    low = float(pair.fixed_limits[0])
    data = resample(Volume(denormalise(g[0], pair.fixed_limits), pair.grid), y.grid, fill=low).data
    data.masked_fill_(~coverage(y.grid, x.grid, pair.transform), low)
    return Volume(data, y.grid, "image", "synthesised")


def _full_size(y: Volume, x: Volume, work: Working, truth: Truth, watch: Stopwatch) -> Registration:
    """Everything that `register` gives, on the user's grids."""
    final, pair, alignment = work.final, work.pair, work.alignment
    with watch.stage("fullsize"):
        full = fullsize(final, y.grid, x, pair.grid, alignment, pair.fixed_limits)
    with watch.stage("inverse"):
        inverse = final.inverse(x.grid)
    with watch.stage("measure"):
        measures = measure(y, x, work, full.displacement, inverse, full.seen, truth)

    def volume(data: Tensor | None, name: str, kind: Literal["image", "labels"] = "labels") -> Volume | None:
        return None if data is None else Volume(data, y.grid, kind, name)

    return Registration(
        y,
        x,
        Volume(full.moved, y.grid, "image", x.name),
        full.displacement,
        inverse,
        full.seen,
        volume(full.synthesised, "synthesised", "image"),
        volume(full.fixed_labels, "fixed segmentation"),
        volume(full.moved_labels, "moved segmentation"),
        describe(y, x, work, watch, measures, truth),
        measures.states,
        work,
        truth,
    )


def _align(model: Model, pair: PreparedPair, structure: Tensor | None) -> Alignment:
    inputs = [t.to(model.device) for t in (pair.moving, pair.fixed, pair.moving_mask, pair.fixed_mask)]
    more = {} if structure is None else {"fixed_structure": structure.to(model.device)}
    with model.computing():
        said = model.system.align(*inputs, **more)
    # Clones leave inference mode: the refinement differentiates through what it is given.
    parts: dict[str, Any] = {
        name: None if value is None else value.float().cpu().clone()
        for name, value in vars(said).items()
        if name not in ("descriptors", "registered")
    }
    parts["registered"] = said.registered
    if said.descriptors is not None:
        parts["descriptors"] = tuple(d.float().cpu().clone() for d in said.descriptors)
    if parts["displacement"] is None or not bool(torch.isfinite(parts["displacement"]).all()):
        raise JssrError(f"{model.source}: the field that it found is not finite on {pair.grid}; it is of no use here")
    for name in ("fixed_segmentation", "moving_segmentation"):
        said_of = parts[name]
        parts[name] = None if said_of is None else largest_parts(said_of, model.pieces)
    return Alignment(**parts)


def _field(tau: Tensor, grid: Grid, pair: PreparedPair) -> Displacement:
    """A field, kept where both scans have data and continued smoothly elsewhere."""
    at = Affine.identity(grid.ndim).positions(grid, pair.grid)
    masks = [ff.sample(m, at) for m in (pair.fixed_mask, pair.moving_mask)]
    valid = (masks[0] > 0.5) & (ff.warp(masks[1], tau) > 0.5)
    return Displacement(continued(tau, valid)[0], grid)
