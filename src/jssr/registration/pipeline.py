"""The life of one pair, from top to bottom: load, place on a working grid, system, instance optimisation, full size,
result. Beneath: a single scan segmented, or shown in another's appearance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from jssr.core import field as ff
from jssr.core.every_voxel import on_grid
from jssr.core.full_size import FullTransform, labels_at
from jssr.core.grid import Grid
from jssr.core.resampling import coverage, resample
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Volume
from jssr.errors import GeometryError, JssrError
from jssr.io.images import ImageLike
from jssr.io.provenance import Stopwatch, give_back
from jssr.metrics.masks import mask_of
from jssr.preprocessing.intensity import denormalise
from jssr.preprocessing.known_start import NO_MASKS, Masks
from jssr.preprocessing.modality import decide_modality
from jssr.preprocessing.prepare import Linear, PreparedPair, prepare_image, prepare_pair
from jssr.preprocessing.rigid import Initial, RigidResult
from jssr.registration.believed import believed
from jssr.registration.chosen import settings_of, steps_of, with_preset
from jssr.registration.fallback import or_search
from jssr.registration.full_size import Working, continued, fullsize, largest_parts
from jssr.registration.inputs import (
    ONE_SCAN,
    Scans,
    check_dims,
    check_overlap,
    check_spacing,
    image_of,
    modality_warnings,
    read_scans,
)
from jssr.registration.instance_optimisation import optimisation_grid, refine_pair
from jssr.registration.masks import rigid_values
from jssr.registration.model import Model, aligning_model
from jssr.registration.options import Known, RegistrationOptions, RegistrationOptionsDict, parse_options
from jssr.registration.result import Registration
from jssr.registration.rigid_parts import kept
from jssr.registration.settings import OptimisationSettings
from jssr.registration.summary import describe, measure
from jssr.registration.verdict import judged
from jssr.systems.base import Alignment, System


def register(
    fixed: ImageLike,
    moving: ImageLike,
    *,
    on_stage: Callable[[str], None] | None = None,
    **options: Unpack[RegistrationOptionsDict],
) -> Registration:
    """Align the moving scan to the fixed one.

    Args:
        fixed, moving: a path (file or DICOM folder), a `Volume`, a SimpleITK or nibabel image, or (array, affine).
        on_stage: called with the name of each stage as it begins.
        **options: the fields of `RegistrationOptions` and of `Known`. JRS-Net also reads the fixed image's labels,
            which may be given alone.

    Raises:
        As `jssr.register`.
    """
    chosen, given = parse_options(options)
    watch = Stopwatch(on_stage)

    with watch.stage("read"):
        scans = read_scans(fixed, moving, chosen, given)
        chosen = with_preset(chosen, scans.modalities, scans.words)
        check_spacing(chosen.spacing, scans.fixed)
        values = rigid_values(chosen.rigid_labels, scans.known.fixed_labels, scans.known.structures)
    with watch.stage("load"):
        model = _model_for(scans.fixed.grid, chosen)
        check_dims(model, scans.fixed.grid, scans.fixed.name)
        known, outline = _measured(model, scans.known, bool(values))
    refine = steps_of(model, chosen, scans.masks != NO_MASKS)

    with watch.stage("prepare"):
        how = {"rigid": chosen.rigid, "initial": scans.start, "masks": scans.masks, "finer": refine > 0}
        pair = prepare(model, scans.fixed, scans.moving, **how)  # type: ignore[arg-type]
        settings = settings_of(chosen, pair, values, scans.known.fixed_labels)
    if pair.rigid is not None:
        watch.seconds["rigid"] = pair.rigid.seconds
        watch.seconds["prepare"] -= pair.rigid.seconds
    found = (*pair.warnings, *model.exchanged(*scans.modalities), *modality_warnings(scans, model))
    pair = replace(pair, warnings=(*scans.warnings, *found))

    structure = structure_of(model, pair, outline, known.structures)
    work = solve(model, pair, refine, watch, structure, settings=settings)
    with watch.stage("judge"):
        work = judged(work)
    return _full_size(scans, work, known, watch, {"preset": chosen.preset, **scans.used()})


def _model_for(grid: Grid, options: RegistrationOptions) -> Model:
    """The model that aligns.

    Raises:
        JssrError: it cannot align, or its descriptor does not describe such images.
    """
    how = options.device, options.deterministic, options.descriptor
    model = aligning_model(options.system, options.checkpoint, *how)
    if "displacement" not in model.system.outputs:
        raise JssrError(f"{model.source}: {model.recipe.network.system} has no register; choose another checkpoint")
    model.check_descriptor(grid.ndim)
    return model


def _measured(model: Model, known: Known, parts: bool) -> tuple[Known, Volume | None]:
    """What a result is measured by, and the fixed label map where the system reads it.

    Args:
        parts: the fixed label map is used for parts that stay rigid.

    Raises:
        GeometryError: the fixed label map alone, and nothing reads it.
    """
    outline = known.fixed_labels if model.system.reads_structure else None
    if known.fixed_labels is None or known.moving_labels is not None:
        return known, outline
    if outline is None and not parts:
        raise GeometryError(ONE_SCAN)
    return replace(known, fixed_labels=None), outline


def prepare(
    model: Model,
    fixed: Volume,
    moving: Volume,
    *,
    rigid: bool = True,
    initial: Initial | Affine | Displacement = "geometry",
    found: RigidResult | None = None,
    masks: Masks = NO_MASKS,
    finer: bool = False,
) -> PreparedPair:
    """`prepare_pair` as a model's recipe has it.

    Args:
        found: a rigid alignment found before, taken as it is.
        finer: also on the grid of instance optimisation, for `solve` with refine above 0.
    """
    to = model.recipe.preprocessing
    linear: Linear | RigidResult = found or rigid
    if not model.system.starts_affine and isinstance(linear, RigidResult):
        linear = replace(linear, affine=None)
    elif model.system.starts_affine and linear is True:
        linear = "affine"
    return prepare_pair(
        fixed, moving, to.spacing, to.window, linear, initial=initial, masks=masks, pixels=to.pixels,
        voxels=(to.fewest_voxels, to.most_voxels), finer=optimisation_grid if finer else None,
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
    pair: PreparedPair,
    refine: int,
    watch: Stopwatch,
    structure: Tensor | None = None,
    last_only: bool = False,
    settings: OptimisationSettings | None = None,
) -> Working:
    """Align a prepared pair: the system's field, or that of `fallback.py`, and with `refine` steps the refined one.

    Args:
        pair: with `finer` scans where `refine` is above 0.
        structure: of `structure_of`.
        last_only: the transform of the last state is enough, which saves the time of the one before it.
        settings: of the instance optimisation; None takes the defaults.
    """
    chosen = OptimisationSettings() if settings is None else settings
    found: dict[str, FullTransform] = {}
    with watch.stage("network"):
        alignment = _align(model, pair, structure)
        aligning, alignment, told = or_search(model, pair, alignment, lambda other: _align(other, pair, None))
        pair = replace(pair, warnings=(*pair.warnings, *told))
        if refine == 0 or not last_only:
            found["network"] = _full(alignment.displacement, pair.grid, pair)
    if refine > 0:
        with watch.stage("refine"):
            better = refine_pair(aligning, pair, alignment, refine, settings=chosen)
            found["refined"] = _full(better.field.u[None], better.field.grid, pair, chosen.rigid_parts)
        pair = replace(pair, warnings=(*pair.warnings, *better.warnings))
        chosen = replace(chosen, similarity=better.similarity, sliding=better.sliding, spacing=better.spacing)
    return Working(model, pair, alignment, found, structure, refine, chosen)


def _align(model: Model, pair: PreparedPair, structure: Tensor | None) -> Alignment:
    """Run the system; what it makes comes back on the CPU, out of inference mode."""
    masks = (pair.fixed_mask, pair.moving_mask)
    masks = masks if model.system.reads_masks or pair.data is None else pair.data
    inputs = [t.to(model.device) for t in (pair.moving, pair.fixed, masks[1], masks[0])]
    more: dict[str, Any] = {} if structure is None else {"fixed_structure": structure.to(model.device)}
    if pair.masked is not None and model.system.reads_masks:
        more["masked"] = pair.masked
    with model.computing(pair.grid):
        made = model.system.align(*inputs, **more)
    # Clones leave inference mode.
    outputs: dict[str, Any] = {
        name: None if value is None else value.float().cpu().clone()
        for name, value in vars(made).items()
        if name != "registered"
    }
    outputs["registered"] = made.registered
    if outputs["displacement"] is None or not bool(torch.isfinite(outputs["displacement"]).all()):
        raise JssrError(f"{model.source}: the field that it found is not finite on {pair.grid}; it is of no use here")
    for name in ("fixed_segmentation", "moving_segmentation"):
        if outputs[name] is not None:
            outputs[name] = largest_parts(outputs[name], model.pieces)
    return Alignment(**outputs)


def _full(u: Tensor, grid: Grid, pair: PreparedPair, parts: Tensor | None = None) -> FullTransform:
    """The full transform of a field, which is kept in rigid parts and where both scans have data, and continued
    smoothly elsewhere."""
    masks = [on_grid(m[0], pair.grid, grid)[None] for m in pair.data or (pair.fixed_mask, pair.moving_mask)]
    valid = (masks[0] > 0.5) & (ff.warp(masks[1], u) > 0.5)
    if parts is not None:
        valid = valid | kept(parts)
    return FullTransform(Displacement(continued(u, valid)[0], grid), pair.transform, pair.initial)


def _full_size(scans: Scans, work: Working, known: Known, watch: Stopwatch, used: Mapping[str, Any]) -> Registration:
    """Everything that `register` gives, on the user's grids."""
    fixed, moving, final, pair = scans.fixed, scans.moving, work.final, work.pair
    give_back()
    with watch.stage("fullsize"):
        full = fullsize(final, fixed.grid, moving, pair.grid, work.alignment, pair.fixed_limits)
    with watch.stage("inverse"):
        inverse = final.inverse(moving.grid)
    with watch.stage("measure"):
        numbers = measure(work, full.displacement, inverse, full.seen, known)

    def volume(data: Tensor | None, *about: Any) -> Volume | None:
        return None if data is None else Volume(data, fixed.grid, *about)

    return Registration(
        fixed, moving, moving.with_data(full.moved, fixed.grid), full.displacement, inverse, full.seen,
        synthesised=volume(full.synthesised, "image", "synthesised", fixed.modality),
        fixed_segmentation=volume(full.fixed_labels, "labels", "fixed segmentation"),
        moved_segmentation=volume(full.moved_labels, "labels", "moved segmentation"),
        result=describe(scans.infos(), work, watch, numbers, known, used),
        states=numbers.states, work=work, known=known,
    )  # fmt: skip


def segment(scan: Volume, model: Model, moving: bool = False) -> tuple[Volume, tuple[str, ...]]:
    """Label map of one scan of `image_of` on its own grid, and warnings of structures that were not believed; the names
    of labels 1, 2, ... are the recipe's structures.

    Args:
        moving: the scan is of the moving modality, for systems with a segmentor of each (macJNet).

    Raises:
        JssrError: the system has no segmentor, or none of its own for the moving modality; otherwise as `register`.
    """
    scan, _ = decide_modality(scan)
    if moving and type(model.system).segment_moving is System.segment_moving:
        raise JssrError(f"{model.source}: one segmentor serves all scans; leave out --moving, or name a macJNet run")
    check_dims(model, scan.grid, scan.name)
    to = model.recipe.preprocessing
    ready = prepare_image(scan, to.spacing, to.window, to.pixels)
    with model.computing(ready.grid):
        try:
            segmentor = model.system.segment_moving if moving else model.system.segment
            p = segmentor(ready.image.to(model.device)).float().cpu()
        except NotImplementedError as error:
            raise JssrError(f"{model.source}: {error}; choose a checkpoint with a segmentor") from None
    data = ready.mask if ready.data is None else ready.data
    found = believed(largest_parts(p, model.pieces), ready.grid, data, model.label_names, model.recipe.inference)
    labels = labels_at(found.probabilities, ready.grid, scan.grid)
    return Volume(labels, scan.grid, "labels", scan.name), found.warnings(scan.name)


def synthesise(moving: ImageLike, fixed: ImageLike, model: Model, rigid: bool = True) -> Volume:
    """The moving scan in the fixed scan's appearance, on the fixed grid, aligned rigidly at most: anatomy stays where
    the moving scan has it.

    Raises:
        JssrError: the system has no generator; otherwise as `register`.
    """
    target, scan = image_of(fixed, "fixed"), image_of(moving, "moving")
    check_overlap(target, scan)
    check_dims(model, target.grid, target.name)
    pair = prepare(model, target, scan, rigid=rigid)
    with model.computing(pair.grid):
        try:
            g = model.system.synthesise(pair.moving.to(model.device), pair.fixed.to(model.device)).float().cpu().clone()
        except NotImplementedError as error:
            raise JssrError(f"{model.source}: {error}; choose a checkpoint with a generator") from None
    low = float(pair.fixed_limits[0])
    data = resample(Volume(denormalise(g[0], pair.fixed_limits), pair.grid), target.grid, fill=low).data
    data.masked_fill_(~coverage(target.grid, scan.grid, pair.transform), low)
    return Volume(data, target.grid, "image", "synthesised", target.modality)
