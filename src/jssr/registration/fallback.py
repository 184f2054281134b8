"""What aligns a pair where a network fails: `discrete`, which needs no training.

A network gives a field for every pair, also for a body part or a contrast that it has never seen. Where the scans are
less alike under its field than without one (self-similarities, `Evidence.found` against `Evidence.before`), `discrete`
aligns them instead, and the result says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from jssr.core.transform import Displacement
from jssr.preprocessing.prepare import PreparedPair
from jssr.registration.expected_error import evidence_of
from jssr.registration.model import UNTRAINED, Model, load_model
from jssr.systems.base import Alignment

__all__ = ["or_search"]

SEARCH = "discrete"
WORSE = 0.01
"""Less alike by so much of what unrelated points differ: the network has failed."""


def or_search(
    model: Model, pair: PreparedPair, alignment: Alignment, align: Callable[[Model], Alignment]
) -> tuple[Model, Alignment, tuple[str, ...]]:
    """A network's alignment where it helps, else that of `discrete` with the network's other outputs.

    Args:
        model: what made `alignment` of the pair.
        align: aligns the pair by another model.

    Returns:
        The model whose field it is, the alignment and a warning.
    """
    if model.recipe.network.system in UNTRAINED or pair.grid.ndim == 2:
        return model, alignment, ()
    evidence = evidence_of(pair, Displacement(alignment.displacement[0], pair.grid))
    if evidence.found >= evidence.before - WORSE:
        return model, alignment, ()
    search = load_model(SEARCH, device=model.device, deterministic=model.deterministic)
    told = (
        f"The network's field made the scans less alike ({100 * evidence.found:.0f} % of what unrelated points differ, "
        f"{100 * evidence.before:.0f} % without it): they were aligned by {SEARCH} instead. Was the network "
        "trained on this body part and contrast?"
    )
    return search, replace(alignment, displacement=align(search).displacement), (told,)
