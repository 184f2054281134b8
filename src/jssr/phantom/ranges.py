"""How people differ: the ranges a phantom's anatomy is drawn from, and two populations."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SUPERVISED_POPULATION", "TARGET_POPULATION", "Interval", "Ranges"]

Interval = tuple[float, float]


@dataclass(frozen=True)
class Ranges:
    """Ranges (low, high) of one population's anatomy; millimetres and millilitres.

    Organ volumes follow Geraghty et al., Abdom Imaging 2004;29:482 (normal organ volumes at CT).
    """

    spacing: float = 2.0  # of the reference grid
    height: float = 360.0  # of the reference grid, head to foot
    body_width: Interval = (285.0, 435.0)
    body_depth: Interval = (202.0, 325.0)
    fat_lean: Interval = (5.0, 12.0)  # subcutaneous fat at the flank, leanest
    fat_obese: Interval = (30.0, 48.0)  # and of the most obese
    liver_ml: Interval = (1050.0, 2100.0)
    spleen_ml: Interval = (110.0, 380.0)
    kidney_length: Interval = (98.0, 122.0)
    tumours: tuple[int, int] = (0, 6)
    tumour_mm: Interval = (8.0, 60.0)
    hypervascular: float = 0.45  # share of tumours
    cyst: float = 0.15
    warp: Interval = (4.0, 9.0)  # largest displacement of the patient's smooth random warp
    rough: Interval = (1.5, 3.0)  # bumps of organ outlines
    small_bowel_loops: tuple[int, int] = (55, 120)
    dome_z: Interval = (98.0, 122.0)  # top of the right diaphragm above the reference level (L1)
    table: float = 0.7  # share of scans that show the table


TARGET_POPULATION = Ranges()

SUPERVISED_POPULATION = Ranges(
    body_width=(270.0, 400.0),
    body_depth=(188.0, 295.0),
    fat_obese=(22.0, 40.0),
    liver_ml=(900.0, 1800.0),
    spleen_ml=(90.0, 300.0),
    kidney_length=(92.0, 116.0),
    tumours=(0, 3),
    tumour_mm=(10.0, 45.0),
    hypervascular=0.25,
    cyst=0.25,
    warp=(4.0, 12.0),
    dome_z=(92.0, 116.0),
    table=0.4,
)
