"""Multi-organ label maps: what TotalSegmentator's names (Wasserthal et al., Radiol Artif Intell 2023) mean here."""

from __future__ import annotations

import gzip
import json
import os
import re
import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from jssr.errors import ImageError
from jssr.phantom.regions import LABELS, Tissue

__all__ = ["label_of", "mobility_of", "read_label_names", "tissue_of"]

_EXTENSIONS_AT = 348  # where the header of a NIfTI-1 file ends
_LONGEST = 1 << 22

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


def read_label_names(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read value -> name from a JSON object, or from the label table that TotalSegmentator leaves in a NIfTI header.

    Args:
        path: `.json`, either `{"1": "spleen"}` or `{"spleen": 1}`; or `.nii`, `.nii.gz` with an XML extension.

    Raises:
        ImageError: missing or unreadable file, or no names in it.
    """
    path = Path(path)
    try:
        names = _from_json(path) if path.suffix.lower() == ".json" else _from_nifti(path)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, ValueError, TypeError, EOFError, zlib.error, struct.error, ElementTree.ParseError) as error:
        raise ImageError(f"{path}: the names of the labels cannot be read ({type(error).__name__}: {error})") from error
    if not names:
        raise ImageError(f"{path}: holds no label names; give them with --names FILE.json")
    return names


def _from_json(path: Path) -> dict[int, str]:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if all(isinstance(v, int) for v in content.values()):
        content = {v: k for k, v in content.items()}
    return {int(k): str(v) for k, v in content.items() if int(k) != 0}


def _from_nifti(path: Path) -> dict[int, str]:
    with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
        header = file.read(_EXTENSIONS_AT + 4)
        if len(header) < _EXTENSIONS_AT + 4:
            raise ValueError("shorter than a NIfTI header")
        order = "<" if struct.unpack("<i", header[:4])[0] == _EXTENSIONS_AT else ">"
        data_at = struct.unpack(f"{order}f", header[108:112])[0]
        if header[_EXTENSIONS_AT] == 0:
            return {}
        block = file.read(int(np.clip(data_at - len(header), 0, _LONGEST)))
    names: dict[int, str] = {}
    at = 0
    while at + 8 <= len(block):
        size, _ = struct.unpack(f"{order}ii", block[at : at + 8])
        if size < 8:
            break
        names.update(_from_xml(block[at + 8 : at + size]))
        at += size
    return names


def _from_xml(text: bytes) -> dict[int, str]:
    text = text.rstrip(b"\0 \n")
    # No entities: a label table needs none, and they are how XML bombs are built.
    if b"<Label" not in text or b"<!ENTITY" in text:
        return {}
    table = ElementTree.fromstring(text)
    found = {int(e.get("Key", "0")): (e.text or "").strip() for e in table.iter("Label")}
    return {value: name for value, name in found.items() if value != 0 and name}
