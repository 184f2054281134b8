"""What in the numbers of a pair should make a reader careful, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from jssr.metrics.results import split_key

COPIES_BELOW = 0.05
SAME_BELOW = 1e-3
"""Images of -1..1 whose mean absolute difference is below this are the same: nothing to move or to recolour."""


def plain_warnings(
    after: Mapping[str, float],
    before: Mapping[str, float] | None = None,
    covered: float | None = None,
    rigid: Mapping[str, float] | None = None,
) -> list[str]:
    """Sentences on what a reader should look at.

    All values are as `evaluate_pair` gives them: after the alignment, before it, and after the rigid alignment alone.
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
    worse = [
        f"{split_key(key)[1]} from {100 * value:.1f} to {100 * after[key]:.1f} %"
        for key, value in (rigid or {}).items()
        if split_key(key)[0] == "dice" and after.get(key, math.nan) < value - 0.01
    ]
    if worse:
        out.append(f"Worse than by the rigid alignment alone (Dice): {', '.join(worse)}.")
    landmarks, earlier = after.get("tre", math.nan), (before or {}).get("tre", math.nan)
    if landmarks > earlier:
        out.append(f"The landmarks are farther apart than before: {earlier:.1f} mm became {landmarks:.1f} mm.")
    return out


def _overlap_warnings(after: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """One sentence for each kind of trouble, with the structures that have it."""
    dice = {split_key(key)[1]: (value, before.get(key, math.nan)) for key, value in after.items() if key[:5] == "dice/"}
    nothing = [name for name, (now, _) in dice.items() if now == 0.0]
    low = [f"{name} {100 * now:.0f} %" for name, (now, _) in dice.items() if 0.0 != now < 0.7]
    worse = [
        f"{name} from {100 * b:.1f} to {100 * now:.1f} %" for name, (now, b) in dice.items() if 0.0 < now < b - 0.01
    ]
    found = [
        (nothing, "Found in one of the two scans only, or without any overlap: {}."),
        (low, "Low overlap (Dice): {}. Look at the contours."),
        (worse, "Worse than before the alignment (Dice): {}."),
    ]
    return [sentence.format(", ".join(names)) for names, sentence in found if names]


def copy_ratio(synthesised: Tensor, moving: Tensor, fixed: Tensor, mask: Tensor | None = None) -> float:
    """How far the synthesised image is from the fixed one, relative to how far the moving one is. NaN where moving
    and fixed are the same. All (B, 1, *spatial); `mask` is 1 where both have data."""
    weight = torch.ones_like(fixed) if mask is None else mask
    apart = ((moving - fixed).abs() * weight).sum()
    if float(apart) <= SAME_BELOW * float(weight.sum()):
        return math.nan
    return float(((synthesised - fixed).abs() * weight).sum() / apart)
