"""Multi-organ label maps: what TotalSegmentator's names (Wasserthal et al., Radiol Artif Intell 2023) mean here."""

from __future__ import annotations

import re

from jssr.phantom.regions import LABELS, Tissue

__all__ = ["label_of", "mobility_of", "tissue_of"]

# First match wins; patterns are matched from the start of the name.
_MEANING: tuple[tuple[str, str | None, Tissue, float | None], ...] = (
    # pattern, label here, tissue whose enhancement it takes, share of the breath (None: as its neighbours)
    (r"liver$", "liver", Tissue.LIVER, 1.0),
    (r"spleen$", "spleen", Tissue.SPLEEN, 0.95),
    (r"kidney_right", "kidney_right", Tissue.KIDNEY_RIGHT_CORTEX, 0.65),
    (r"kidney_left", "kidney_left", Tissue.KIDNEY_LEFT_CORTEX, 0.6),
    (r"pancreas", "pancreas", Tissue.PANCREAS, 0.6),
    (r"gallbladder", "gallbladder", Tissue.BILE, 0.95),
    (r"stomach", "stomach", Tissue.STOMACH_CONTENT, 0.9),
    (r"aorta", "aorta", Tissue.AORTA, 0.06),
    (r"inferior_vena_cava", "inferior_vena_cava", Tissue.VENA_CAVA, 0.15),
    (r"portal_vein", "portal_vein", Tissue.PORTAL_VEIN, 0.6),
    (r"small_bowel|duodenum", "bowel", Tissue.SMALL_BOWEL_CONTENT, 0.35),
    (r"colon", "bowel", Tissue.STOOL, 0.4),
    (r"vertebrae", "vertebrae", Tissue.VERTEBRA_MARROW, 0.04),
    (r"rib_", "ribs", Tissue.RIB_MARROW, 0.12),
    (r"lung", "lung", Tissue.LUNG, 0.8),
    (r"autochthon|iliopsoas|gluteus", "muscle", Tissue.MUSCLE, 0.05),
    (r"adrenal", "adrenal_gland", Tissue.ADRENAL, 0.6),
    (r"heart_myocardium", "heart", Tissue.MYOCARDIUM, 0.5),
    (r"heart", "heart", Tissue.HEART_BLOOD, 0.5),
    (r"iliac_artery", None, Tissue.ARTERY, 0.04),
    (r"iliac_ven", None, Tissue.VENA_CAVA, 0.04),
    (r"esophagus", None, Tissue.OESOPHAGUS, 0.4),
    (r"prostate", None, Tissue.MUSCLE, 0.02),
    (r"urinary_bladder", None, Tissue.CYST, 0.02),
    (r"spinal_cord", None, Tissue.CANAL, 0.04),
    (r"costal_cartilage", None, Tissue.CARTILAGE, 0.15),
    (r"hip|femur|sacrum|sternum|scapula|clavicula|humerus", None, Tissue.PELVIS_MARROW, 0.0),
)


def _meaning(name: str) -> tuple[str | None, Tissue, float | None]:
    for pattern, label, tissue, mobile in _MEANING:
        if re.match(pattern, name.strip().lower()):
            return label, tissue, mobile
    return None, Tissue.AIR, None


def label_of(name: str) -> int:
    """The phantom's label value for an organ's name; 0 where there is none."""
    label = _meaning(name)[0]
    return LABELS[label] if label else 0


def tissue_of(name: str) -> Tissue:
    """The tissue whose enhancement the organ takes; AIR where the name is unknown (then the voxel's HU decides)."""
    return _meaning(name)[1]


def mobility_of(name: str) -> float | None:
    """The share of the breathing motion that the organ follows, 0 to 1; None where the name is unknown."""
    return _meaning(name)[2]
