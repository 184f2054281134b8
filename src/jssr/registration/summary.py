"""What a registration found: the metrics of each state (initial, rigid, network, refined), the warnings, and what
`result.json` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jssr.core.full_size import labels_at
from jssr.core.grid import Grid
from jssr.core.late import Computed
from jssr.core.resampling import resample
from jssr.core.transform import Affine, Displacement, Transform
from jssr.core.volume import Volume
from jssr.io.files import plain
from jssr.io.provenance import Stopwatch, peak_memory_mib, provenance
from jssr.metrics.masks import dice
from jssr.metrics.pair import evaluate_pair
from jssr.metrics.volumes import Size, sizes
from jssr.metrics.warnings import COPIES_BELOW, copy_ratio, plain_warnings, worse_than_rigid
from jssr.preprocessing.start2d import from_start, unknown_spacing
from jssr.registration.full_size import Working
from jssr.registration.options import Known
from jssr.registration.schema import CONVENTION, SCHEMA_VERSION, GridInfo, ResultModel, ScanInfo
from jssr.registration.verdict import described as quality

COPIED = (
    "The generator copied the fixed image: what is synthesised is not the moving scan, and the alignment had nothing "
    "to go by."
)
NO_SPACING = (
    "An image without a spacing: its millimetres are its pixels, and the longer sides of the two were taken to show as "
    "much of the patient."
)


_EVERY = 8
"""Of the planes of a grid that is too large to be held, how many stand for one whose coverage is counted."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """Numbers of a registration: of each state (initial, rigid, network, refined) as `evaluate_pair` gives them; Dice
    of the system's own segmentations; the share of the fixed image for which the moving one has data; mean and
    largest error of the inverse in mm, where it lands inside the fixed image; volumes of the known structures."""

    states: dict[str, dict[str, float]] = field(default_factory=dict)
    segmentations: dict[str, dict[str, float]] = field(default_factory=dict)
    covered: float = 1.0
    inverse_error: tuple[float, float] = (0.0, 0.0)
    sizes: dict[str, Size] = field(default_factory=dict)


def measure(work: Working, displacement: Displacement, inverse: Displacement, covered: Any, known: Known) -> Numbers:
    """Measure every state of a registration: `displacement` and `inverse` are its full transform on the fixed grid and
    the inverse on the moving one, `covered` (1, *fixed shape, a tensor or `Computed`) is true where the moving scan has
    data."""
    fixed, moving = displacement.grid, inverse.grid
    transforms: dict[str, Transform] = {"initial": work.pair.before}
    if work.pair.rigid is not None:
        transforms["rigid"] = work.pair.rigid.transform
    transforms |= {name: found.chain for name, found in work.transforms.items()}
    last = list(work.transforms)[-1]
    transforms[last] = displacement
    states = {name: _of_known(fixed, transform, known) for name, transform in transforms.items()}
    fields = {name: found.field for name, found in work.transforms.items()}
    fields[last] = from_start(displacement, fixed, moving)
    for name, found in fields.items():
        states[name] |= evaluate_pair(displacement=found)
    error = _inverse_error(displacement, inverse, fixed)
    share = _share(covered)
    return Numbers(states, _of_segmentations(work), share, error, _sizes(displacement, known))


def _share(covered: Any) -> float:
    """The part that is covered; of what is computed by every `_EVERY`th plane, the first and the last among them."""
    if not isinstance(covered, Computed):
        return int(covered.count_nonzero()) / covered.numel()
    planes = covered.shape[1]
    chosen = np.unique(np.linspace(0, planes - 1, -(-planes // _EVERY)).round().astype(int))
    rest = [slice(0, size) for size in covered.shape[2:]]
    found = [float(covered.part((slice(k, k + 1), *rest)).mean()) for k in chosen.tolist()]
    return sum(found) / len(found)


def class_dice(a: Tensor, b: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Dice of classes 1, 2, ... of two label maps: {"dice/liver": 0.95, ...}."""
    return {f"dice/{name}": dice((a == k).numpy(), (b == k).numpy()) for k, name in enumerate(names, start=1)}


def _of_known(fixed: Grid, transform: Transform, known: Known) -> dict[str, float]:
    moved = None if known.moving_labels is None else resample(known.moving_labels, fixed, transform)
    points = known.fixed_landmarks, known.moving_landmarks
    return evaluate_pair(
        known.fixed_labels,
        moved,
        known.structures,
        transform=transform,
        fixed_points=points[0],
        moving_points=points[1],
    )


def _sizes(displacement: Displacement, known: Known) -> dict[str, Size]:
    """Of 3D label maps of both scans."""
    fixed, moving = known.fixed_labels, known.moving_labels
    if fixed is None or moving is None or fixed.grid.ndim != 3:
        return {}
    return sizes(fixed, moving, displacement, known.structures)


def _of_segmentations(work: Working) -> dict[str, dict[str, float]]:
    """Dice of S(y) with S of the moving scan, on the working grid."""
    moving, fixed, grid = work.alignment.moving_segmentation, work.alignment.fixed_segmentation, work.pair.grid
    if moving is None or fixed is None:
        return {}
    goal, labels = fixed.argmax(dim=1).to(torch.uint8), moving.argmax(dim=1).to(torch.uint8)
    names = work.model.structures
    # What was segmented lies where the rigid motion put it: its inverse gives the initial state.
    back = Affine(work.pair.transform.inverse().matrix @ work.pair.start.matrix)
    initial = resample(Volume(labels, grid, "labels"), grid, back, nearest=True).data
    out = {"initial": class_dice(initial, goal, names)}
    if work.pair.rigid is not None:
        out["rigid"] = class_dice(labels, goal, names)
    for name, found in work.transforms.items():
        out[name] = class_dice(labels_at(moving, grid, grid, found), goal, names)
    return out


def _inverse_error(
    displacement: Displacement, inverse: Displacement, fixed: Grid, most: int = 20_000
) -> tuple[float, float]:
    """|T(T^-1(q)) - q| in mm on a regular choice of the moving grid's voxels whose image lies inside the fixed grid."""
    grid = inverse.grid
    step = max(1, round((grid.voxels / most) ** (1 / grid.ndim)))
    axes = [np.arange(step // 2, s, step) if s > step // 2 else np.arange(1) for s in grid.shape]
    q = grid.world(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, grid.ndim))
    p = inverse(q)
    inside = fixed.contains(p)
    if not inside.any():
        return 0.0, 0.0
    miss = np.linalg.norm(displacement(p[inside]) - q[inside], axis=1)
    return float(miss.mean()), float(miss.max())


def describe(
    scans: tuple[ScanInfo, ScanInfo],
    work: Working,
    watch: Stopwatch,
    numbers: Numbers,
    known: Known,
    used: Mapping[str, Any],
) -> dict[str, Any]:
    """What `result.json` says, by `ResultModel`; numbers that are not finite become null. `used` is what was chosen:
    preset, start and masks."""
    model, pair = work.model, work.pair
    last = list(numbers.states.values())[-1]
    fixed, moving = scans
    segments = work.alignment.fixed_segmentation is not None
    result: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "fixed": fixed.model_dump(exclude_unset=True),
        "moving": moving.model_dump(exclude_unset=True),
        "convention": CONVENTION,
        "system": model.recipe.network.system,
        "weights": {"file": model.source, "checksum": model.header.get("checksum"), "recipe": model.recipe.name},
        "provenance": provenance(model.device, model.deterministic) | {"precision": model.precision},
        "network_grid": GridInfo.of(pair.grid).model_dump(),
        "reads_fixed_labels": work.structure is not None,
        "structures": list(model.structures) if segments else [],
        "label_names": model.label_names if segments else {},
        "rigid": None,
        "optimisation": _optimisation(work),
        **used,
        "quality": quality(work),
        "time_s": {name: round(s, 3) for name, s in watch.seconds.items()} | {"total": round(watch.total, 3)},
        "peak_memory_mib": round(peak_memory_mib()),
        "covered_percent": round(100 * numbers.covered, 2),
        "folds_percent": last["folds"],
        "log_jacobian_sd": last["log_jacobian_sd"],
        "inverse_error_mm": {"mean": numbers.inverse_error[0], "max": numbers.inverse_error[1]},
        "dice": _dice(numbers, known),
        "warnings": _warnings(fixed.grid.grid(), moving.grid.grid(), work, numbers),
    }
    if pair.rigid is not None:
        information = {"before": pair.rigid.before, "after": pair.rigid.metric}
        found = {"matrix_lps_mm": pair.rigid.transform.matrix.tolist(), "accepted": pair.rigid.accepted}
        linear = None if pair.transform is pair.rigid.transform else pair.transform.matrix.tolist()
        result["rigid"] = found | {"mutual_information_nats": information, "affine_matrix_lps_mm": linear}
    if known.fixed_landmarks is not None:
        result["tre_mm"] = {name: values["tre"] for name, values in numbers.states.items()}
    if numbers.sizes:
        result["volumes"] = {name: asdict(size) for name, size in numbers.sizes.items()}
    if known.measurable:
        result["metrics"] = numbers.states
    return ResultModel.model_validate(plain(result)).model_dump(mode="json", exclude_unset=True)


def _optimisation(work: Working) -> dict[str, Any] | None:
    used = work.settings
    if work.refine == 0:
        return None
    return {
        "steps": work.refine,
        "similarity": used.similarity,
        "smoothness": float(used.smoothness),
        "spacing_mm": None if used.spacing is None else float(used.spacing),
        "sliding": bool(used.sliding),
        "rigid_parts": used.n_rigid,
    }


def _dice(numbers: Numbers, known: Known) -> dict[str, Any]:
    def table(states: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
        return {s: {k[5:]: v for k, v in values.items() if k.startswith("dice/")} for s, values in states.items()}

    out: dict[str, Any] = {}
    if numbers.segmentations:
        out["segmentations"] = table(numbers.segmentations)
    if known.fixed_labels is not None:
        out["labels"] = table(numbers.states)
    return out


def _warnings(fixed: Grid, moving: Grid, work: Working, numbers: Numbers) -> list[str]:
    """What should make a reader careful, in plain language."""
    pair = work.pair
    before, rigid, after = _stages(numbers)
    worse = worse_than_rigid(after, rigid)
    out = [*([worse] if worse else []), *pair.warnings, *plain_warnings(after, before, numbers.covered, rigid)]
    if work.verdict is not None and work.verdict[0] == "FAIL":
        out.insert(0, f"The verdict is FAIL. {work.verdict[1][-1]}")
    made = work.alignment.synthesised
    if made is not None and not work.alignment.registered:
        ratio = copy_ratio(made, pair.moving, pair.fixed, pair.moving_mask * pair.fixed_mask)
        if ratio < COPIES_BELOW:
            out.append(COPIED)
    shift = float(np.linalg.norm(pair.transform(fixed.centre) - pair.start(fixed.centre)))
    if shift > 50:
        out.append(f"The rigid pre-alignment moved the scan by {shift:.0f} mm. Check that the headers are right.")
    if fixed.ndim == 2 and (unknown_spacing(fixed) or unknown_spacing(moving)):
        out.append(NO_SPACING)
    if numbers.inverse_error[1] > float(fixed.spacing.max()):
        out.append(f"The inverse is off by up to {numbers.inverse_error[1]:.1f} mm, as a rule where the field folds.")
    return list(dict.fromkeys(out))


def _stages(numbers: Numbers) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Before, after the rigid step and in the end: of known labels, else of the system's own segmentations."""
    states = numbers.states
    own = {} if any("dice" in key for key in list(states.values())[-1]) else numbers.segmentations
    names = list(states)[0], "rigid", list(states)[-1]
    before, rigid, after = ({**states.get(name, {}), **own.get(name, {})} for name in names)
    return before, rigid, after
