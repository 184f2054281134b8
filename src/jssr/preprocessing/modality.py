"""The modality of a scan, decided once: DICOM's tag, else an option, else the cohort's file, else a guess."""

from __future__ import annotations

import torch

from jssr.core.volume import Modality, Volume
from jssr.preprocessing.intensity import NO_DATA, Window, thinned


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
        return volume.known_as("guess", modality=guess_modality(volume)), ()
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
    """Guess from the intensities alone: CT has air near -1000 HU, or at least fat at -100 HU; MR is not negative.
    2D images are radiographs: they have no HU, whatever their intercept."""
    if volume.grid.ndim == 2:
        return "radiograph"
    data = thinned(volume.data).float()
    data = data[torch.isfinite(data) & (data > NO_DATA)]
    if data.numel() == 0:
        return "mr"
    if float(data.min()) <= -500 and float(data.max()) < 2**15:
        return "ct"
    negative = float((data < -50).float().mean())
    return "ct" if negative > 0.005 and float(data.min()) < -100 and float(data.max()) < 5000 else "mr"


def window_for(modality: Modality, window: Window | None) -> Window | None:
    """The window where the scan is CT, None (robust percentiles) where it is not."""
    return window if modality == "ct" else None
