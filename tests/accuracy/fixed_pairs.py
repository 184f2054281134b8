"""The fixed pairs of the accuracy and golden tests, how each is aligned, and Dice and landmark error by SimpleITK.

Only what a user has is used here: `python -m jssr phantom`, `jssr.register`, and the files that a result leaves. So
these tests stand while the package's modules move.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import SimpleITK as sitk
import torch

import jssr

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Real scans for development, beside the repository; not on every machine."""
PHANTOMS = {
    "abdomen": ("--seed", "7", "--phases", "venous,arterial,t1", "--shape", "96", "80", "48"),
    "thorax": ("--seed", "7", "--anatomy", "thorax", "--phases", "visit1,visit2"),
}


@dataclass(frozen=True)
class Case:
    """One pair and how it is aligned: the phantom (or folder of real scans), two of its scans, words for `register`."""

    source: str
    fixed: str
    moving: str
    words: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    "ct-jssr": Case("abdomen", "venous", "arterial", {"system": "jssr", "refine": 0}),
    "ct-jssr-refined": Case("abdomen", "venous", "arterial", {"system": "jssr", "refine": 10}),
    "ct-discrete": Case("abdomen", "venous", "arterial", {"system": "discrete"}),
    "t1-discrete": Case("abdomen", "venous", "t1", {"system": "discrete"}),
    "radiograph-jrsnet": Case("thorax", "visit1", "visit2", {"system": "jrsnet"}),
    "radiograph-discrete": Case("thorax", "visit1", "visit2", {"system": "discrete"}),
}


def make_phantom(name: str, folder: Path) -> Path:
    """Make one patient of `PHANTOMS` and return the folder of its files."""
    words = ["phantom", str(folder / name), "--patients", "1", "--workers", "1", *PHANTOMS[name]]
    subprocess.run([sys.executable, "-m", "jssr", *words], check=True, capture_output=True)
    return next(p for p in (folder / name).iterdir() if p.is_dir())


def scan_file(place: Path, name: str) -> Path:
    """The file of a scan or label map, whatever its format."""
    return next(p for p in (place / f"{name}.nii.gz", place / f"{name}.png") if p.is_file())


@contextmanager
def float32_on_one_thread() -> Iterator[None]:
    """No bfloat16 where the processor has it, and one thread: what is computed is then nearly the same everywhere."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(mock.patch.object(torch.cpu, name, lambda: False, create=True))
            yield
    finally:
        torch.set_num_threads(threads)


def align(case: Case, place: Path) -> jssr.Registration:
    """Align a case's two files in float32, deterministically."""
    files = [scan_file(place, name) for name in (case.fixed, case.moving)]
    with float32_on_one_thread():
        found = jssr.register(*files, deterministic=True, **case.words)
    assert found.result["provenance"]["precision"] == "32-true", "bfloat16 was not switched off"
    return found


def field_of(folder: Path) -> sitk.DisplacementFieldTransform:
    """The `displacement.nii.gz` of a result's folder as ITK reads it; also of radiographs."""
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(folder / "displacement.nii.gz"), sitk.sitkVectorFloat64))


def read_landmarks(path: Path) -> dict[str, tuple[float, ...]]:
    """Name to position, from `name,x,y[,z]`."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    axes = len([word for word in rows[0] if word in ("x", "y", "z")])
    return {row[0]: tuple(float(v) for v in row[1 : 1 + axes]) for row in rows[1:]}


def landmark_error(fixed: Path, moving: Path, transform: sitk.Transform | None, start: str = "") -> float:
    """Mean distance (mm, pixels) of the carried fixed landmarks from the moving ones, of names that begin so."""
    y, x = read_landmarks(fixed), read_landmarks(moving)
    names = [name for name in y if name in x and name.startswith(start)]
    assert len(names) >= 5
    carried = [y[name] if transform is None else transform.TransformPoint(y[name]) for name in names]
    return float(np.linalg.norm(np.array(carried) - np.array([x[name] for name in names]), axis=1).mean())


def overlap(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform | None = None) -> float:
    """Mean Dice over the labels of the fixed map; the moving one is carried over by its nearest voxel."""
    transform = transform or sitk.Transform(fixed.GetDimension(), sitk.sitkIdentity)
    carried = sitk.Resample(moving, fixed, transform, sitk.sitkNearestNeighbor, 0)
    return mean_dice(sitk.GetArrayFromImage(fixed), sitk.GetArrayFromImage(carried))


def mean_dice(truth: np.ndarray, said: np.ndarray) -> float:
    """Mean Dice over the labels of `truth`, 0 apart."""
    labels = [value for value in np.unique(truth) if value]
    pairs = [(truth == value, said == value) for value in labels]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))


def found_organs(place: Path, folder: Path, fixed: str) -> float | None:
    """Mean Dice of what the shipped segmentor said of the fixed scan; None where nothing was said.

    Structures meet by name: a region of the phantom's `cohort.json` (liver with its tumours, lungs), or one label.
    """
    said = folder / "fixed_segmentation.nii.gz"
    if not said.is_file():
        return None
    names = json.loads((folder / "result.json").read_text(encoding="utf-8"))["label_names"]
    cohort = json.loads((place.parent / "cohort.json").read_text(encoding="utf-8"))
    values = {name: int(value) for value, name in cohort["label_names"].items()}
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(scan_file(place, f"{fixed}_labels"))))
    truth = np.zeros_like(labels)
    for number, name in names.items():
        parts = [values[part] for part in cohort["regions"].get(name, [name])]
        truth[np.isin(labels, parts)] = int(number)
    return mean_dice(truth, sitk.GetArrayFromImage(sitk.ReadImage(str(said))))
