"""Labelled pictures of painted bodies as a cohort: `python projects/joint/pictures.py OUT [--count 240] [--seed 500]`.

What a joint training learns its segmentor from beside scans without labels: `jssr prepare OUT -o PREPARED --recipe
jssr-body --no-rigid`, then `jssr train jssr-body --supervised PREPARED`. Each picture shows a part of one of the bodies
of `../painted.py` in a contrast that is drawn for it (`jssr.training.painting`). OUT is a cohort folder; the bodies go
to OUT/bodies.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.io.cohort import Case, Cohort
from jssr.io.images import write_image
from jssr.recipes.jssr import jssr_body
from jssr.training.painting import Painter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import painted  # noqa: E402

MARGIN = 24
"""Voxels by which a picture is larger than a patch."""
MR_SCALE = 500.0


def picture(painter: Painter, structures: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, str]:
    """Intensities (HU, or MR signal from 0 to 1000) and classes (*size) of one picture, and its modality."""
    drawn = painter.draw()
    classes = painted.classes_of(drawn, structures)
    image = drawn.image[0, 0]
    values = image * 200 if drawn.modality == "ct" else (image + 1) * MR_SCALE
    return values.round().numpy().astype(np.int16), classes.numpy().astype(np.uint8), drawn.modality


def main() -> None:
    """Write the pictures and cohort.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--bodies", type=int, default=120)
    parser.add_argument("--seed", type=int, default=500)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    recipe = jssr_body()
    structures, spacing = recipe.network.structures, recipe.preprocessing.spacing
    size = [s + MARGIN for s in recipe.training.patch or ()]
    bodies = [painted.tissue(file) for file in painted.bodies(chosen.out, chosen.bodies)]
    cases = []
    for number in range(chosen.count):
        painter = Painter(bodies, painted.SPACING, size, spacing, chosen.seed + number, painted.ABDOMEN)
        values, classes, modality = picture(painter, structures)
        folder = chosen.out / f"p{number:04d}"
        folder.mkdir(exist_ok=True)
        grid = Grid.of(values.shape, spacing)
        scan = Volume(torch.from_numpy(values)[None], grid, "image", folder.name, modality)  # type: ignore[arg-type]
        write_image(scan, folder / "painted.nii.gz")
        write_image(Volume(torch.from_numpy(classes)[None], grid, "labels"), folder / "labels.nii.gz")
        files = {"images": {"painted": f"{folder.name}/painted.nii.gz"}}
        cases.append(Case(id=folder.name, split="train", labels={"painted": f"{folder.name}/labels.nii.gz"}, **files))
    names = dict(enumerate(structures, start=1))
    Cohort(name="painted", reference_phase="painted", cases=cases, label_names=names).save(chosen.out)


if __name__ == "__main__":
    main()
