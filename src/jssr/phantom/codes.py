"""What the phantom is made of: tissue codes, and the evaluation label of each."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["LABELS", "PELVIS_LABELS", "Tissue", "labels_of", "pelvis_labels_of"]

LABELS: dict[str, int] = {
    "liver": 1,
    "spleen": 2,
    "kidney_right": 3,
    "kidney_left": 4,
    "pancreas": 5,
    "gallbladder": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior_vena_cava": 9,
    "portal_vein": 10,
    "bowel": 11,
    "vertebrae": 12,
    "ribs": 13,
    "lung": 14,
    "muscle": 15,
    "liver_tumour": 16,
    "adrenal_gland": 17,
    "heart": 18,
}


PELVIS_LABELS: dict[str, int] = {
    "bladder": 1,
    "prostate": 2,
    "rectum": 3,
    "femoral_heads": 4,
    "pelvis": 5,
    "muscle": 6,
}


class Tissue(IntEnum):
    """Codes of `Anatomy.tissue`: finer than the evaluation labels."""

    AIR = 0
    SKIN = 1
    FAT_SUBCUTANEOUS = 2
    FAT_VISCERAL = 3
    MUSCLE = 4
    DIAPHRAGM = 5
    VERTEBRA_CORTEX = 6
    VERTEBRA_MARROW = 7
    DISC = 8
    CANAL = 9
    RIB_CORTEX = 10
    RIB_MARROW = 11
    CARTILAGE = 12
    PELVIS_CORTEX = 13
    PELVIS_MARROW = 14
    LUNG = 15
    LUNG_VESSEL = 16
    MYOCARDIUM = 17
    HEART_BLOOD = 18
    LIVER = 19
    HEPATIC_VEIN = 20
    PORTAL_BRANCH = 21
    HCC = 22
    HCC_CAPSULE = 23
    HCC_NECROSIS = 24
    METASTASIS = 25
    METASTASIS_RIM = 26
    METASTASIS_NECROSIS = 27
    CYST = 28
    GALLBLADDER_WALL = 29
    BILE = 30
    SPLEEN = 31
    KIDNEY_RIGHT_CORTEX = 32
    KIDNEY_RIGHT_MEDULLA = 33
    KIDNEY_RIGHT_PELVIS = 34
    KIDNEY_LEFT_CORTEX = 35
    KIDNEY_LEFT_MEDULLA = 36
    KIDNEY_LEFT_PELVIS = 37
    RENAL_CYST_RIGHT = 38
    RENAL_CYST_LEFT = 39
    PANCREAS = 40
    ADRENAL = 41
    STOMACH_WALL = 42
    STOMACH_CONTENT = 43
    STOMACH_GAS = 44
    SMALL_BOWEL_WALL = 45
    SMALL_BOWEL_CONTENT = 46
    BOWEL_GAS = 47
    COLON_WALL = 48
    STOOL = 49
    AORTA = 50
    CALCIFICATION = 51
    VENA_CAVA = 52
    PORTAL_VEIN = 53
    ARTERY = 54
    RENAL_VEIN = 55
    MESENTERIC_VEIN = 56
    OESOPHAGUS = 57
    TABLE = 58
    MUSCLE_FAT = 59  # fat between muscles: counts as muscle
    FAT_PLANE = 60  # only while painting: fat that keeps organs apart
    BLADDER_WALL = 61
    URINE = 62
    PROSTATE_CENTRAL = 63
    PROSTATE_PERIPHERAL = 64
    URETHRA = 65
    SEMINAL_VESICLE = 66
    RECTUM_WALL = 67
    RECTUM_CONTENT = 68
    RECTUM_GAS = 69
    FEMUR_CORTEX = 70
    FEMUR_MARROW = 71


_LABEL_OF: dict[str, tuple[Tissue, ...]] = {
    "liver": (Tissue.LIVER, Tissue.HEPATIC_VEIN, Tissue.PORTAL_BRANCH, Tissue.CYST),
    "liver_tumour": (
        Tissue.HCC,
        Tissue.HCC_CAPSULE,
        Tissue.HCC_NECROSIS,
        Tissue.METASTASIS,
        Tissue.METASTASIS_RIM,
        Tissue.METASTASIS_NECROSIS,
    ),
    "spleen": (Tissue.SPLEEN,),
    "kidney_right": (
        Tissue.KIDNEY_RIGHT_CORTEX,
        Tissue.KIDNEY_RIGHT_MEDULLA,
        Tissue.KIDNEY_RIGHT_PELVIS,
        Tissue.RENAL_CYST_RIGHT,
    ),
    "kidney_left": (
        Tissue.KIDNEY_LEFT_CORTEX,
        Tissue.KIDNEY_LEFT_MEDULLA,
        Tissue.KIDNEY_LEFT_PELVIS,
        Tissue.RENAL_CYST_LEFT,
    ),
    "pancreas": (Tissue.PANCREAS,),
    "gallbladder": (Tissue.GALLBLADDER_WALL, Tissue.BILE),
    "stomach": (Tissue.STOMACH_WALL, Tissue.STOMACH_CONTENT, Tissue.STOMACH_GAS),
    "aorta": (Tissue.AORTA, Tissue.CALCIFICATION),
    "inferior_vena_cava": (Tissue.VENA_CAVA,),
    "portal_vein": (Tissue.PORTAL_VEIN,),
    "bowel": (
        Tissue.SMALL_BOWEL_WALL,
        Tissue.SMALL_BOWEL_CONTENT,
        Tissue.BOWEL_GAS,
        Tissue.COLON_WALL,
        Tissue.STOOL,
    ),
    "vertebrae": (Tissue.VERTEBRA_CORTEX, Tissue.VERTEBRA_MARROW, Tissue.DISC),
    "ribs": (Tissue.RIB_CORTEX, Tissue.RIB_MARROW),
    "lung": (Tissue.LUNG, Tissue.LUNG_VESSEL),
    "muscle": (Tissue.MUSCLE, Tissue.MUSCLE_FAT),
    "adrenal_gland": (Tissue.ADRENAL,),
    "heart": (Tissue.MYOCARDIUM, Tissue.HEART_BLOOD),
}


_PELVIS_LABEL_OF: dict[str, tuple[Tissue, ...]] = {
    "bladder": (Tissue.BLADDER_WALL, Tissue.URINE),
    "prostate": (Tissue.PROSTATE_CENTRAL, Tissue.PROSTATE_PERIPHERAL, Tissue.URETHRA),
    "rectum": (Tissue.RECTUM_WALL, Tissue.RECTUM_CONTENT, Tissue.RECTUM_GAS),
    "femoral_heads": (Tissue.FEMUR_CORTEX, Tissue.FEMUR_MARROW),
    "pelvis": (Tissue.PELVIS_CORTEX, Tissue.PELVIS_MARROW),
    "muscle": (Tissue.MUSCLE, Tissue.MUSCLE_FAT),
}


def labels_of(tissue: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Map tissue codes to the evaluation labels of the abdomen, same shape."""
    return _labelled(tissue, _LABEL_OF, LABELS)


def pelvis_labels_of(tissue: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Map tissue codes to the evaluation labels of the pelvis, same shape."""
    return _labelled(tissue, _PELVIS_LABEL_OF, PELVIS_LABELS)


def _labelled(
    tissue: NDArray[np.uint8], members: dict[str, tuple[Tissue, ...]], values: dict[str, int]
) -> NDArray[np.uint8]:
    table = np.zeros(256, dtype=np.uint8)
    for name, codes in members.items():
        table[[int(t) for t in codes]] = values[name]
    return table[tissue]
