"""What in the numbers of a pair should make a reader careful, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jssr.metrics.results import split_key


def plain_warnings(
    after: Mapping[str, float],
    before: Mapping[str, float] | None = None,
    covered: float | None = None,
    rigid: Mapping[str, float] | None = None,
) -> list[str]:
    """Sentences on what a reader should look at.

    Args:
        after: the values of `evaluate_pair` after the alignment.
        before: the same of the initial state.
        covered: fraction of the fixed image for which the moving scan has data.
        rigid: the same values after the rigid alignment alone.
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
    nothing, low, worse = [], [], []
    for key, value in after.items():
        metric, structure = split_key(key)
        if metric != "dice":
            continue
        if value == 0.0:
            nothing.append(structure)
        elif value < 0.7:
            low.append(f"{structure} {100 * value:.0f} %")
        if 0.0 < value < before.get(key, math.nan) - 0.01:
            worse.append(f"{structure} from {100 * before[key]:.1f} to {100 * value:.1f} %")
    out = []
    if nothing:
        out.append(f"Found in one of the two scans only, or without any overlap: {', '.join(nothing)}.")
    if low:
        out.append(f"Low overlap (Dice): {', '.join(low)}. Look at the contours.")
    if worse:
        out.append(f"Worse than before the alignment (Dice): {', '.join(worse)}.")
    return out
