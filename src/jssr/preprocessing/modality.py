"""The modality of a scan, decided once: DICOM's tag, else an option, else the cohort's file, else a guess."""

from __future__ import annotations

import torch
from torch import Tensor

from jssr.core.volume import Modality, Volume
from jssr.preprocessing.intensity import NO_DATA, Window, thinned

_NEGATIVE = -50.0
_BELOW_AIR = -1300.0
"""HU; of real CT noise in air ends above."""
_FEW = 0.02
"""Share of air that a CT of a body has at least; the sarcoma CTs (cropped to 5 cm round it) have 0.10 and more."""
_SOME = 0.03
"""Share of fat and air, where there is less air; those CTs have 0.43 and more, MR after resampling 0.0001."""
_CLEAR = 0.1
_STRAY = 0.001
"""What interpolation leaves is no more, of most scans; it goes without a word."""
_LUNG_STORED, _TISSUE_STORED, _STORED_END = 300.0, (850, 1200), 5200.0
"""Of CT stored from 0, water at 1024: what is no air, soft tissue and fat, and the most."""
_MOSTLY = 0.75
_AT_ONCE = 1 << 22
"""Voxels that are counted at a time."""


def decide_modality(
    volume: Volume, option: Modality | None = None, cohort: Modality | None = None
) -> tuple[Volume, tuple[str, ...]]:
    """The scan with its modality and where that is from, and warnings where two sources contradict each other.

    Args:
        option: the modality that the user names.
        cohort: the modality in the cohort's file.
    """
    before, found = volume.modality, volume
    if before is None and option is not None:
        found = volume.known_as("option", modality=option)
    elif before is None and cohort is not None:
        found = volume.known_as("cohort", modality=cohort)
    elif before is None:
        found = volume.known_as("guess", modality=guess_modality(volume))
        return found, doubt(found, modality_of(found))
    elif "modality" not in volume.origins:
        found = volume.known_as("option", modality=before)
    where, decided = found.origins["modality"], found.modality
    source = {"option": "the option", "cohort": "the cohort"}.get(where, f"its {where}")
    if option is not None and option != decided:
        return found, (f"{volume.name}: {source} gives {decided}, the option {option}; it is treated as {decided}.",)
    seems = guess_modality(volume)
    if decided == "us" and seems == "mr":  # neither has a unit
        return found, ()
    if where == "guess" or volume.grid.ndim == 2 or seems == decided:
        return found, ()
    low, high = float(volume.data.min()), float(volume.data.max())
    return found, (
        f"{volume.name}: {source} gives {decided}, but intensities from {low:.4g} to {high:.4g} look like {seems}; "
        f"it is treated as {decided}.",
    )


def modality_of(volume: Volume) -> Modality:
    """What the volume says of itself, else a guess."""
    return volume.modality or guess_modality(volume)


def guess_modality(volume: Volume) -> Modality:
    """Guess from shares of the intensities: CT has air near -1000 HU or fat near -100 HU; MR is hardly negative.
    2D images are radiographs: they have no HU, whatever their intercept.

    Some voxels alone decide nothing: interpolation and bias correction leave MR with a few negative ones. Whether more
    than that is CT's: its values end at air, above `_BELOW_AIR`, but for fill values; a phase goes on.
    """
    if volume.grid.ndim == 2:
        return "radiograph"
    data = thinned(volume.data).float()
    data = data[torch.isfinite(data) & (data > NO_DATA)]
    if data.numel() == 0 or float(data.max()) >= 2**15:
        return "mr"
    low = data[(data < _BELOW_AIR) & (data > data.min())]
    if low.numel() and low.numel() - int(low.unique(return_counts=True)[1].max()) > _FEW * data.numel():
        return "mr"
    air, negative = _share_below(data, -500), _share_below(data, _NEGATIVE)
    return "ct" if air >= _FEW or (negative >= _SOME and float(data.max()) < 5000) else "mr"


def _share_below(data: Tensor, value: float) -> float:
    return float((data < value).float().mean())


def doubt(volume: Volume, guess: Modality) -> tuple[str, ...]:
    """What speaks against a guess of a 3D scan's modality, in words; nothing where it is clear."""
    if volume.grid.ndim == 2:
        return ()
    data = volume.data[volume.data > NO_DATA] if float(volume.data.min()) <= NO_DATA else volume.data
    count = sum(int((part < _NEGATIVE).count_nonzero()) for part in data.flatten().split(_AT_ONCE))
    share = count / max(1, data.numel())
    begin, option = f"{volume.name}: its modality is a guess", "name it (--fixed-modality, --moving-modality)"
    if guess == "ct":
        words = f"only {count} of {data.numel()} voxels ({100 * share:.2g} %) lie below {_NEGATIVE:.0f} HU, and it is"
        return () if share >= _CLEAR else (f"{begin}: {words} taken for CT; if it is not, {option}.",)
    stored = _stored_share(thinned(data).float())
    if stored > _MOSTLY:
        low, high = _TISSUE_STORED
        return (
            f"{begin}: {100 * stored:.0f} % of its tissue lies between {low} and {high}, as in a CT that is stored "
            "without its intercept of -1024; it is taken for MR. If it is CT, subtract 1024 first.",
        )
    if share > _STRAY or (count and float(data.min()) < -500):
        return (
            f"{begin}: {count} of {data.numel()} voxels ({100 * share:.2g} %) lie below {_NEGATIVE:.0f}, which is not "
            f"as the air and fat of CT have it, and it is taken for MR; if it is CT, {option}.",
        )
    return ()


def _stored_share(data: Tensor) -> float:
    """Of what is brighter than a lung of a CT that is stored from 0, the share that its soft tissue and fat would have;
    0 where it cannot be such a CT."""
    tissue = data[data > _LUNG_STORED]
    if tissue.numel() < data.numel() / 50 or _share_below(data, -1) > _STRAY or float(data.max()) > _STORED_END:
        return 0.0
    return float(((tissue > _TISSUE_STORED[0]) & (tissue < _TISSUE_STORED[1])).float().mean())


def window_for(modality: Modality, window: Window | None) -> Window | None:
    """The window where the scan is CT, None (robust percentiles) where it is not."""
    return window if modality == "ct" else None
