"""CT and MR of legs and arms that lie on each other, for training patient by patient: `register/real.py` and
`features/train.py` use them.

DATA/sts_ctmr holds them in one frame (CC BY 3.0). The patients are dealt into three folds in their order; STS_019 is
left out, which is misaligned in the source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import painted
import torch
from torch import Tensor

from jssr.io.images import read_image
from jssr.preprocessing.modality import decide_modality
from jssr.preprocessing.prepare import prepare_pair
from jssr.recipes.jssr import register_compact

MISALIGNED = "STS_019"
FOLDS = 3
SPACING = 2.3
"""Voxels of the pairs, mm: what `register-compact` gives scans as small as these."""
WINDOW = register_compact().preprocessing.window


class Couple(NamedTuple):
    """CT and MR on one grid, (1, 1, *shape) in -1..1, and where both have data."""

    ct: Tensor
    mr: Tensor
    mask: Tensor


def patients(data: Path) -> list[str]:
    """Those that are used, in their order.

    Raises:
        FileNotFoundError: there are none.
    """
    found = [p.name for p in sorted((data / "sts_ctmr").iterdir()) if p.is_dir() and p.name != MISALIGNED]
    if not found:
        raise FileNotFoundError(f"expected a folder for each patient in {data / 'sts_ctmr'}, found none")
    return found


def taught(data: Path, fold: int) -> list[str]:
    """The patients of the other folds."""
    return [name for number, name in enumerate(patients(data)) if number % FOLDS != fold]


def prepared(data: Path, patient: str, folder: Path) -> Path:
    """The file of one patient on the working grid."""
    path = folder / f"{patient}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        ct, mr = (decide_modality(read_image(data / "sts_ctmr" / patient / f"{n}.nii.gz"))[0] for n in ("ct", "mr_t1"))
        pair = prepare_pair(ct, mr, SPACING, WINDOW, False)
        mask = (pair.fixed_mask * pair.moving_mask).numpy()
        painted.write(path, ct=pair.fixed.numpy(), mr=pair.moving.numpy(), mask=mask)
    return path


def couple(path: Path) -> Couple:
    """What `prepared` wrote."""
    found = np.load(path)
    return Couple(*(torch.from_numpy(found[n]) for n in ("ct", "mr", "mask")))


def either_file(path: Path) -> Any:
    """A couple or a body."""
    return couple(path) if "ct" in np.load(path).files else painted.tissue(path)
