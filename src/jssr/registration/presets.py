"""Options by task: `--preset NAME`. What the user names wins over the preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

PresetName = Literal["ct-abdomen", "ct-lung", "ct-mr", "mr-mr", "mr-us", "head", "xray"]
Pair = frozenset[str]
"""Modalities of two scans, as `jssr.core.volume.Modality` names them."""


@dataclass(frozen=True)
class Preset:
    """What a task usually wants.

    Attributes:
        name: of the task.
        pairs: modalities of the two scans, whichever is fixed, that it is for.
        values: options of `jssr.register` that it sets.
        why: one sentence.
    """

    name: str
    pairs: tuple[Pair, ...]
    values: Mapping[str, Any]
    why: str

    @property
    def takes(self) -> str:
        """Its modalities in words."""
        return " or ".join(" and ".join(sorted(pair) if len(pair) > 1 else [*pair, *pair]) for pair in self.pairs)


CT, MR, CT_MR, MR_US, XRAY = (
    frozenset(names) for names in (("ct",), ("mr",), ("ct", "mr"), ("mr", "us"), ("radiograph",))
)  # fmt: skip


def _preset(name: str, why: str, *pairs: Pair, **values: Any) -> Preset:
    return Preset(name, pairs, MappingProxyType({"system": "discrete", **values}), why)


PRESETS: Mapping[str, Preset] = {
    one.name: one
    for one in (
        _preset(
            "ct-abdomen",
            "Contrast agent brightens each organ by itself, so intensities are compared over small neighbourhoods.",
            CT, similarity="lncc",
        ),
        _preset(
            "ct-lung",
            "Lungs slide along the chest wall, so the field may tear there; vessels are compared by intensity.",
            CT, similarity="lncc", sliding=True,
        ),
        _preset(
            "ct-mr",
            "The two show other intensities of one anatomy, so its edges (self-similarity) are compared.",
            CT_MR, similarity="mind",
        ),
        _preset(
            "mr-mr",
            "Intensities have no unit and drift across a coil, so they are compared over small neighbourhoods.",
            MR, similarity="lncc",
        ),
        _preset(
            "mr-us",
            "Ultrasound shares edges with MR and speckle with nothing.",
            MR_US, similarity="mind",
        ),
        _preset(
            "head",
            "The skull is stiff and the brain moves by millimetres; the two may differ in contrast.",
            CT, CT_MR, MR, similarity="mixture",
        ),
        _preset("xray", "Two radiographs: nothing is known of depth, and the affine start is searched for.", XRAY),
    )
}  # fmt: skip
"""The choices follow from what the scans show. No number in them was tuned."""
