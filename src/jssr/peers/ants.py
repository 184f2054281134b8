"""ANTs SyN (Avants et al. 2008; the package antspyx)."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from jssr.core.transform import Affine, Transform
from jssr.core.volume import Volume
from jssr.io.images import write_image
from jssr.io.transforms import read_transform
from jssr.peers.base import Peer

THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
SEED = 1


def _run(kind: str, fixed: Volume, moving: Volume, rigid: Affine, threads: int) -> Transform:
    os.environ[THREADS] = "1"  # read when ITK is loaded
    import ants

    # Whatever `threads` is: with more than one ANTs sums in no order, and no two runs are alike. Also a seed.
    ants.config.set_ants_deterministic(True, SEED)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.nii" for name in ("fixed", "moving")}
        for name, volume in (("fixed", fixed), ("moving", moving)):
            # ANTs begins with the centres of mass: with Hounsfield units below 0 these can lie anywhere.
            write_image(volume.with_data(volume.data - volume.data.min()), paths[name], np.float32)
        images = {name: ants.image_read(str(path)) for name, path in paths.items()}
        found = ants.registration(
            images["fixed"], images["moving"], type_of_transform=kind, outprefix=f"{folder}/found_"
        )
        # Affine and warp, composed by ANTs itself, as one field on the fixed grid in LPS millimetres.
        full = ants.apply_transforms(
            images["fixed"], images["moving"], found["fwdtransforms"], compose=f"{folder}/full_"
        )
        return read_transform(full)


def _peer(name: str, kind: str, what: str) -> Peer:
    settings = f"antspyx's type_of_transform={kind!r}: {what}; deterministic: one thread, seed {SEED}"
    return Peer(name, settings, partial(_run, kind), "ants", "antspyx")


PEERS = (
    _peer("syn-mi", "SyN", "affine, then SyN by mutual information, its own defaults"),
    # "SyNCC" asks for 2100 iterations a level: three pairs of 128 x 128 x 64 took more than half an hour on two cores.
    _peer("syn-cc", "antsRegistrationSyN[s]", "ANTs' recommended script: rigid, affine, then SyN by cross-correlation"),
)
