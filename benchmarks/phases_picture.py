"""Makes docs/pictures/phases.jpg: what `jssr segment` finds in three phases of one real CT study.

python benchmarks/phases_picture.py DATA docs/pictures/phases.jpg

DATA/hcc_tace_ct/HCC_007_1997-12-27 is of HCC-TACE-Seg (Moawad et al. 2023, DOI 10.7937/TCIA.5FNA-0924, CC BY 4.0).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import jssr

STUDY = "HCC_007_1997-12-27"
PHASES = ("pre", "arterial", "venous")
WIDTH = 330
LEGEND = 48
"""Height of the names of the colours, pixels."""
SHARE = 0.45
"""Of the colour against the grey value."""
COLOURS = {
    "liver": (200, 80, 60), "spleen": (150, 90, 200), "kidney_right": (90, 160, 240), "kidney_left": (60, 110, 220),
    "stomach": (240, 180, 70), "pancreas": (250, 240, 110), "gallbladder": (90, 210, 110), "aorta": (255, 60, 90),
    "vertebrae": (230, 220, 190), "inferior_vena_cava": (80, 90, 255), "bowel": (190, 140, 90), "lung": (140, 220, 230),
    "heart": (255, 120, 160), "ribs": (210, 210, 150),
}  # fmt: skip


def coloured(plane: NDArray[np.float32], labels: NDArray[np.uint8], names: dict[int, str]) -> NDArray[np.uint8]:
    """A plane of a CT, -160 to 240 HU, with the structures' colours over it, (rows, columns, 3)."""
    grey = np.clip((plane + 160) / 400, 0, 1)[..., None] * np.full(3, 255.0)
    for value, name in names.items():
        there = labels == value
        grey[there] = (1 - SHARE) * grey[there] + SHARE * np.array(COLOURS.get(name, (255, 255, 255)))
    return grey.astype(np.uint8)


def panel(found: jssr.Segmentation, scan: jssr.Volume, axis: int, at_mm: float) -> Image.Image:
    """A plane of a scan, head or front up. `axis` 2 is axial, 1 coronal; `at_mm` is its LPS coordinate."""
    grid = scan.grid
    index = round((at_mm - grid.origin[axis]) / grid.spacing[axis] * np.sign(grid.direction[axis, axis]))
    index = min(max(index, 0), grid.shape[axis] - 1)
    image, labels = (np.take(v.array, index, axis=axis).T for v in (scan, found.labels))
    rows = 1 if axis == 2 else 2
    if axis == 1:
        image, labels = image[::-1], labels[::-1]
    height = round(WIDTH * image.shape[0] * grid.spacing[rows] / (image.shape[1] * grid.spacing[0]))
    picture = Image.fromarray(coloured(image.astype(np.float32), labels, found.label_names))
    return picture.resize((WIDTH, height), Image.Resampling.BICUBIC)


def main(data: str, out: str) -> None:
    """Two rows, axial and coronal, a column for each phase."""
    folder = Path(data) / "hcc_tace_ct" / STUDY
    scans = {phase: jssr.read_image(folder / f"{phase}.nii.gz") for phase in PHASES}
    found = {phase: jssr.segment(scan) for phase, scan in scans.items()}
    venous = found["venous"]
    liver = next(value for value, name in venous.label_names.items() if name == "liver")
    middle = venous.labels.grid.world(np.argwhere(venous.labels.array == liver).mean(axis=0).tolist())
    panels = {p: [panel(found[p], scans[p], axis, float(middle[axis])) for axis in (2, 1)] for p in PHASES}
    heights = [max(rows[k].height for rows in panels.values()) for k in range(2)]
    sheet = Image.new("RGB", (len(PHASES) * (WIDTH + 6) - 6, sum(heights) + 28 + LEGEND), "white")
    draw = ImageDraw.Draw(sheet)
    for column, phase in enumerate(PHASES):
        told = found[phase].phase
        name = "no phase" if told is None else told.name
        draw.text((column * (WIDTH + 6) + 4, 2), f"{phase}: jssr says {name}", fill=0, font_size=16)
        for k, picture in enumerate(panels[phase]):
            sheet.paste(picture, (column * (WIDTH + 6), 22 + k * (heights[0] + 6)))
    for k, (name, colour) in enumerate(COLOURS.items()):
        x, y = 6 + 140 * (k % 7), sheet.height - LEGEND + 8 + 20 * (k // 7)
        draw.rectangle((x, y, x + 12, y + 12), fill=colour)
        draw.text((x + 17, y - 2), name.replace("_", " "), fill=0, font_size=14)
    sheet.save(out, quality=85)


if __name__ == "__main__":
    main(*sys.argv[1:])
