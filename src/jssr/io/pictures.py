"""A folder of radiographs with masks as a cohort: `images/` beside `masks/` (or `labels/`), files of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jssr.errors import CohortError
from jssr.io.images import read_image

_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".nii.gz", ".nii", ".nrrd", ".mha")
_MASKS = ("masks", "labels")
_LOOKED_AT = 25
PHASE = "radiograph"


def picture_folders(folder: Path) -> tuple[Path, Path] | None:
    """The folders of images and of masks in a folder, None where it is not of that kind."""
    masks = next((folder / name for name in _MASKS if (folder / name).is_dir()), None)
    return (folder / "images", masks) if masks is not None and (folder / "images").is_dir() else None


def cohort_of_pictures(folder: Path) -> dict[str, Any]:
    """The content of `cohort.json`: every image that has a mask is a case of one phase. All labels together are the
    structure "lungs"; several are also "label_1" and so on."""
    found = picture_folders(folder)
    assert found is not None
    images, masks = ({_stem(p): p for p in sorted(place.iterdir()) if _stem(p)} for place in found)
    both = [name for name in images if name in masks]
    if not both:
        raise CohortError(f"{folder}: no file in {found[0].name}/ has one of its name in {found[1].name}/")
    values = sorted({int(v) for name in both[:_LOOKED_AT] for v in np.unique(read_image(masks[name], "labels").array)})
    named = [v for v in values if v]
    if not named:
        raise CohortError(f"{folder}: the first {min(len(both), _LOOKED_AT)} masks are empty")
    alone = len(named) == 1

    def of(files: dict[str, Path], name: str) -> dict[str, str]:
        return {PHASE: str(files[name].relative_to(folder))}

    return {
        "name": folder.resolve().name,
        "reference_phase": PHASE,
        "label_names": {v: "lungs" if alone else f"label_{v}" for v in named},
        "regions": {} if alone else {"lungs": [f"label_{v}" for v in named]},
        "cases": [{"id": name, "images": of(images, name), "labels": of(masks, name)} for name in both],
    }


def _stem(path: Path) -> str:
    """A picture's name without its ending, "" for other files."""
    ending = next((e for e in _ENDINGS if path.name.lower().endswith(e)), None)
    return path.name[: -len(ending)] if ending and path.is_file() else ""
