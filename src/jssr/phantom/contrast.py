"""How bright each tissue of the phantom is in every phase, and how that differs between patients.

The values of each tissue stand in `jssr.phantom.regions`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jssr.phantom.regions import Tissue, column

__all__ = ["PHASES", "TEXTURE", "PatientContrast", "Texture", "sample_contrast", "tissue_values"]

PHASES = ("non-contrast", "arterial", "venous", "delay", "t1", "t2")


@dataclass(frozen=True)
class Texture:
    """Structure inside a tissue: `sd` (HU) and correlation `length` (mm), indexed by tissue code, (256,) each."""

    sd: NDArray[np.float32]
    length: NDArray[np.float32]


TEXTURE = Texture(sd=column("sd"), length=np.maximum(column("length"), 1.0))


@dataclass(frozen=True)
class PatientContrast:
    """What stays the same in all phases of one patient.

    Args:
        offset: (256,) HU added to a tissue without contrast.
        gain: (256,) factor on a tissue's enhancement.
        dose: factor on all enhancement: contrast per blood volume.
        timing: how late the arterial phase was taken, in sd: below 0 early arterial, above 0 late (portal inflow).
        oral: HU that oral contrast adds to stomach and small bowel (0 without).
        water: (256,) factor on MR signals.
    """

    offset: NDArray[np.float32]
    gain: NDArray[np.float32]
    dose: float = 1.0
    timing: float = 0.0
    oral: float = 0.0
    water: NDArray[np.float32] = field(default_factory=lambda: np.ones(256, dtype=np.float32))


_TWINS = (
    (Tissue.KIDNEY_RIGHT_CORTEX, Tissue.KIDNEY_LEFT_CORTEX),
    (Tissue.KIDNEY_RIGHT_MEDULLA, Tissue.KIDNEY_LEFT_MEDULLA),
    (Tissue.KIDNEY_RIGHT_PELVIS, Tissue.KIDNEY_LEFT_PELVIS),
    (Tissue.PORTAL_VEIN, Tissue.PORTAL_BRANCH),
    (Tissue.AORTA, Tissue.ARTERY),
)


def sample_contrast(rng: np.random.Generator) -> PatientContrast:
    """Draw one patient: fat in liver and pancreas, bone density, dose, timing, oral contrast."""
    offset = column("spread") * rng.standard_normal(256).clip(-2.5, 2.5).astype(np.float32)
    gain = np.exp(0.10 * rng.standard_normal(256).clip(-2.5, 2.5)).astype(np.float32)
    water = np.exp(0.10 * rng.standard_normal(256).clip(-2.5, 2.5)).astype(np.float32)
    # Steatosis lowers the liver by about 1.7 HU per per cent of fat fraction ([STA]: 65, 23, -3 HU at 0.5, 25, 40 %),
    # so this is about 7 to 22 %. [BOY] finds 6 % of adults at 40 HU or less, up to 46 % with milder criteria.
    if rng.random() < 0.22:
        offset[Tissue.LIVER] -= np.float32(rng.uniform(12, 38))
    offset[Tissue.PANCREAS] -= np.float32(rng.uniform(0, 25) * (rng.random() < 0.4))
    bone = np.float32(rng.standard_normal())
    for tissue in (Tissue.VERTEBRA_MARROW, Tissue.RIB_MARROW, Tissue.PELVIS_MARROW):
        offset[tissue] = 0.4 * offset[tissue] + 40 * bone
    for tissue in (Tissue.VERTEBRA_CORTEX, Tissue.RIB_CORTEX, Tissue.PELVIS_CORTEX):
        offset[tissue] = 0.4 * offset[tissue] + 70 * bone
    for first, second in _TWINS:
        for values in (offset, gain, water):
            values[second] = values[first]
    return PatientContrast(
        offset,
        gain,
        dose=float(np.exp(0.15 * np.clip(rng.standard_normal(), -2, 2))),
        timing=float(np.clip(rng.standard_normal(), -1.8, 1.8)),
        oral=float(rng.uniform(60, 260) if rng.random() < 0.2 else 0.0),
        water=water,
    )


def tissue_values(phase: str, rng: np.random.Generator, patient: PatientContrast) -> NDArray[np.float32]:
    """Mean value of each tissue code in one scan of one patient.

    Args:
        phase: "non-contrast", "arterial", "venous", "delay" (Hounsfield units) or "t1", "t2" (arbitrary,
            about 0..1000).
        rng: small differences between two scans of one patient.
        patient: from `sample_contrast`.

    Returns:
        (256,) indexed by tissue code.

    Raises:
        ValueError: another phase.
    """
    if phase in ("t1", "t2"):
        return _mr_values(phase, rng, patient)
    if phase not in PHASES:
        raise ValueError(f"phase must be one of {', '.join(PHASES)}, got {phase!r}")
    values = column("hu") + patient.offset
    jitter = rng.standard_normal(256).clip(-2.5, 2.5).astype(np.float32)
    if phase != "non-contrast":
        enhancement = column(phase) * patient.gain * np.float32(patient.dose)
        if phase == "arterial":
            late = column("late")
            # Log-normal over patients, with the table as its mean.
            enhancement *= np.exp(late * np.float32(patient.timing) - 0.5 * late**2)
        values += enhancement * (1 + 0.04 * jitter)
    values += 0.15 * column("spread") * jitter
    if patient.oral:
        # Oral contrast dilutes on its way: the stomach keeps the most.
        values[Tissue.STOMACH_CONTENT] += patient.oral
        values[Tissue.SMALL_BOWEL_CONTENT] += 0.7 * patient.oral
    values[Tissue.AIR] = -1000
    return np.clip(values, -1000, 1500).astype(np.float32)


def _mr_values(phase: str, rng: np.random.Generator, patient: PatientContrast) -> NDArray[np.float32]:
    repetition, echo = (520.0, 12.0) if phase == "t1" else (4000.0, 90.0)
    repetition *= float(np.exp(0.12 * rng.standard_normal()))
    echo *= float(np.exp(0.12 * rng.standard_normal()))
    t1, t2 = np.maximum(column("t1"), 1), np.maximum(column("t2"), 1)
    signal = column("density") * (1 - np.exp(-repetition / t1)) * np.exp(-echo / t2) * patient.water
    scale = 1150.0 if phase == "t1" else 1300.0
    jitter = np.exp(0.04 * rng.standard_normal(256).clip(-2.5, 2.5))
    return (scale * signal * jitter).astype(np.float32)
