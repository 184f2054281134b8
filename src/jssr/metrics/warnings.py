"""What in the numbers of a pair should make a reader careful, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from jssr.metrics.results import split_key, spoken

COPIES_BELOW = 0.05
SAME_BELOW = 1e-3
"""Images of -1..1 whose mean absolute difference is below this are the same: nothing to move or to recolour."""
LISTED = 3
"""Structures that one sentence names; the report has all."""
DICE_MARGIN = 0.01
TRE_MARGIN_MM = 0.1
"""Less is no difference that a reader should act on."""
WORSE = "The deformation made the alignment worse than the rigid step alone"
"""How the sentence begins that comes before all others."""


def plain_warnings(
    after: Mapping[str, float],
    before: Mapping[str, float] | None = None,
    covered: float | None = None,
    rigid: Mapping[str, float] | None = None,
) -> list[str]:
    """Sentences on what a reader should look at.

    All values are as `evaluate_pair` gives them: after the alignment, before it, and after the rigid step alone.
    `covered` is the fraction of the fixed image for which the moving scan has data.
    """
    out = []
    if covered is not None and covered < 0.9:
        out.append(
            f"The moving scan covers only {covered:.0%} of the fixed image. Outside, nothing is shown and the field is "
            "extrapolated: do not judge the alignment there."
        )
    folds = after.get("folds", 0.0)
    if folds > 0.1:
        out.append(f"{folds:.3g} % of the field folds: tissue is turned inside out there (black in the Jacobian map).")
    if after.get("log_jacobian_sd", 0.0) > 0.5:
        out.append("Sizes change strongly over short distances. The field is rougher than breathing would make it.")
    out += _overlap_warnings(after, before or {})
    if worse := _fallen(after, rigid or {}):
        out.append(f"Worse than by the rigid step alone (Dice): {_listed(worse)}.")
    landmarks, earlier = after.get("tre", math.nan), (before or {}).get("tre", math.nan)
    if landmarks > earlier + TRE_MARGIN_MM:
        out.append(f"The landmarks are farther apart than before: {earlier:.1f} mm became {landmarks:.1f} mm.")
    return out


def worse_than_rigid(after: Mapping[str, float], rigid: Mapping[str, float]) -> str:
    """That the deformation lost what the rigid step had, in a sentence; empty where it did not.

    Landmarks must be 0.1 mm farther apart, or the mean Dice of the structures be 1 point less.
    """
    told = []
    if after.get("tre", math.nan) > rigid.get("tre", math.nan) + TRE_MARGIN_MM:
        told.append(f"landmark error from {rigid['tre']:.2f} to {after['tre']:.2f} mm")
    was, now = (_mean_dice(values) for values in (rigid, after))
    if now < was - DICE_MARGIN:
        told.append(f"mean Dice from {100 * was:.1f} to {100 * now:.1f} %")
    return f"{WORSE}: {', '.join(told)}." if told else ""


def _mean_dice(values: Mapping[str, float]) -> float:
    known = [v for key, v in values.items() if split_key(key)[0] == "dice" and not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


def _fallen(after: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """Structures that overlap, but by a point of Dice less than before, those that fell most first."""
    fell = {
        split_key(key)[1]: (before[key], now)
        for key, now in after.items()
        if split_key(key)[0] == "dice" and 0.0 < now < before.get(key, math.nan) - DICE_MARGIN
    }
    ordered = sorted(fell.items(), key=lambda one: one[1][1] - one[1][0])
    return [f"{spoken(name)} from {100 * was:.1f} to {100 * now:.1f} %" for name, (was, now) in ordered]


def _listed(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - LISTED} more (see the report)" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _overlap_warnings(after: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """One sentence for each kind of trouble, with the structures that have it."""
    dice = {split_key(key)[1]: value for key, value in after.items() if split_key(key)[0] == "dice"}
    nothing = [spoken(name) for name, now in dice.items() if now == 0.0]
    low = sorted((now, name) for name, now in dice.items() if 0.0 != now < 0.7)
    found = [
        (nothing, "Found in one of the two scans only, or without any overlap: {}."),
        ([f"{spoken(name)} {100 * now:.0f} %" for now, name in low], "Low overlap (Dice): {}. Look at the contours."),
        (_fallen(after, before), "Worse than before the alignment (Dice): {}."),
    ]
    return [sentence.format(_listed(names)) for names, sentence in found if names]


def copy_ratio(synthesised: Tensor, moving: Tensor, fixed: Tensor, mask: Tensor | None = None) -> float:
    """How far the synthesised image is from the fixed one, relative to how far the moving one is. NaN where moving
    and fixed are the same. All (B, 1, *spatial); `mask` is 1 where both have data."""
    weight = torch.ones_like(fixed) if mask is None else mask
    apart = ((moving - fixed).abs() * weight).sum()
    if float(apart) <= SAME_BELOW * float(weight.sum()):
        return math.nan
    return float(((synthesised - fixed).abs() * weight).sum() / apart)
