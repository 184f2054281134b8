"""Cohorts of real radiographs, to score and to learn from: `python projects/jrsnet/real_radiographs.py DATA OUT`.

`OUT/visits`: the patients of `cxr_gbc` with several visits; the first listed one is fixed. Masks of both lungs and the
mediastinum drawn by radiologists. Patient 51 is left out: its two images are one exposure.
`OUT/made`: radiographs of 40 patients (JSRT), each deformed once as JRS-Net's paper prints it ("large") and once as two
visits differ ("mild", `jssr.training.deform`), masks and contour points alike. The film itself is fixed.
`OUT/films`: the same 40 as they are, to train on; of use for what is scored on `visits`, not on `made`.
`DATA` holds the folders `cxr_gbc` (with its `metadata.csv`) and `cxr_jsrt_mc_sz/JSRT`, as their sources give them.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.volume import Points, Volume
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_image, write_image
from jssr.io.points import write_points
from jssr.recipes.augmentation import Deform
from jssr.training.augment import generator_of
from jssr.training.deform import deformed

SAME_EXPOSURE = "51"
LUNGS = {"regions": {"lungs": ["lung_right", "lung_left"]}}
JSRT = {1: "lung_left", 2: "lung_right", 3: "heart"}
PARTS = ("RL", "LL", "H", "RCLA", "LCLA")
FRAME = 1024
"""Pixels of the frame that JSRT's contour points are given in; its images here have 256."""


def make_visits(data: Path, out: Path) -> None:
    """Patients with several visits."""
    visits: dict[str, list[str]] = defaultdict(list)
    with (data / "metadata.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["patientid"] != SAME_EXPOSURE:
                visits[row["patientid"]].append(row["filename"])
    cases = []
    for patient, names in visits.items():
        if len(names) < 2:
            continue
        folder = out / f"g{patient}"
        folder.mkdir(parents=True, exist_ok=True)
        images, labels = {}, {}
        for number, name in enumerate(names, start=1):
            phase = f"visit{number}"
            images[phase], labels[phase] = (f"g{patient}/{phase}{part}.png" for part in ("", "_labels"))
            write_image(read_image(data / "images" / name, "labels"), out / images[phase])
            write_image(read_image(data / "labels" / name, "labels"), out / labels[phase])
        cases.append(Case(id=f"g{patient}", images=images, labels=labels))
    names = {1: "lung_right", 2: "lung_left", 3: "mediastinum"}
    Cohort(name="real-visits", reference_phase="visit1", cases=cases, label_names=names, root=out, **LUNGS).save()


def make_deformed(data: Path, out: Path, seed: int = 0) -> None:
    """Radiographs and what known deformations make of them."""
    cases = []
    for number, path in enumerate(sorted((data / "images").glob("*.png"))):
        name = path.stem
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        image, labels = read_image(path), read_image(data / "labels" / path.name, "labels")
        points = contours(data / "landmarks1024", name, image.grid)
        images, masks, marks = {"film": f"{name}/film.png"}, {"film": f"{name}/film_labels.png"}, {}
        write_image(image, out / images["film"], np.uint8)
        write_image(labels, out / masks["film"], np.uint8)
        for k, (phase, how) in enumerate((("large", Deform()), ("mild", Deform(p_mild=1.0)))):
            lungs = (labels.data > 0) & (labels.data < 3)
            drawn = deformed(lungs[None].long(), how, generator_of(seed, number, k))
            images[phase], masks[phase] = f"{name}/{phase}.png", f"{name}/{phase}_labels.png"
            moved = drawn.apply(image.data[None])[0]
            write_image(Volume(moved, image.grid), out / images[phase], np.uint8)
            classes = drawn.apply(labels.data[None].float(), "nearest")[0].round().to(torch.uint8)
            write_image(Volume(classes, image.grid, "labels"), out / masks[phase], np.uint8)
            if points is not None:
                marks[phase] = f"{name}/{phase}.csv"
                write_points(there(points, drawn.undone()[0], image.grid), out / marks[phase])
        if points is not None:
            marks["film"] = f"{name}/film.csv"
            write_points(points, out / marks["film"])
        cases.append(Case(id=name, images=images, labels=masks, landmarks=marks))
    Cohort(name="real-deformed", reference_phase="film", cases=cases, label_names=JSRT, root=out, **LUNGS).save()


def make_films(data: Path, out: Path) -> None:
    """Radiographs with masks, one a patient."""
    cases = []
    for path in sorted((data / "images").glob("*.png")):
        folder = out / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        write_image(read_image(path), folder / "film.png", np.uint8)
        write_image(read_image(data / "labels" / path.name, "labels"), folder / "film_labels.png", np.uint8)
        parts = ({"film": f"{path.stem}/film{part}.png"} for part in ("", "_labels"))
        cases.append(Case(id=path.stem, split="train", **dict(zip(("images", "labels"), parts, strict=True))))
    Cohort(name="real-films", reference_phase="film", cases=cases, label_names=JSRT, root=out, **LUNGS).save()


def contours(folder: Path, name: str, grid: Grid) -> Points | None:
    """Points of the contours of lungs, heart and collar bones in pixels of the image; None where there are none."""
    found: list[np.ndarray] = []
    names: list[str] = []
    for part in PARTS:
        files = sorted((folder / part).glob(f"{name}.*"))
        if not files:
            return None
        xy = np.load(files[0])
        found.append((xy + 0.5) * grid.shape[0] / FRAME - 0.5)
        names += [f"{part.lower()}{k:02d}" for k in range(len(xy))]
    return Points(np.concatenate(found), tuple(names))


def there(points: Points, u: torch.Tensor, grid: Grid) -> Points:
    """Where points of the film lie in what was made of it, those that fall outside left out."""
    at = torch.from_numpy(points.xyz.T[None, :, :, None]).float()
    moved = points.xyz + ff.sample(u[None], at)[0, :, :, 0].T.double().numpy()
    inside = grid.contains(moved)
    return Points(moved[inside], tuple(n for n, k in zip(points.names, inside, strict=True) if k))


def main(data: Path, out: Path) -> None:
    """Make them all."""
    make_visits(data / "cxr_gbc", out / "visits")
    make_deformed(data / "cxr_jsrt_mc_sz" / "JSRT", out / "made")
    make_films(data / "cxr_jsrt_mc_sz" / "JSRT", out / "films")


if __name__ == "__main__":
    if len(sys.argv) < 3 or "--help" in sys.argv:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
