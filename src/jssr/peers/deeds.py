"""deeds (Heinrich et al. 2013): linearBCV, then deedsBCV, where their executables are on the PATH.

They know voxels only, want both scans on one grid and take their numbers for Hounsfield units. They write
`_matrix.txt`, F with moving index = F' (i, j, k, 1); and `_displacements.dat`, float32, three arrays (of the second,
the first and the third axis; the first axis runs fastest) on every fourth voxel, in voxels, to be added to that
index.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement, Transform
from jssr.core.volume import Volume
from jssr.errors import JssrError
from jssr.io.images import write_image
from jssr.io.provenance import run_program
from jssr.peers.base import Peer, isotropic

PROGRAMS = ("linearBCV", "deedsBCV")
STEP = 4
"""Voxels between control points on the last level of the defaults."""


def _run(fixed: Volume, moving: Volume, rigid: Affine, threads: int) -> Transform:
    y, x, grid = isotropic(fixed, moving, Affine.identity())
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name, volume in (("fixed", y), ("moving", x)):
            write_image(volume, out / f"{name}.nii.gz", np.float32)
        files = ["-F", str(out / "fixed.nii.gz"), "-M", str(out / "moving.nii.gz")]
        (out / "linear").touch()  # it resolves the path of its output before there is any
        (out / "deeds").touch()
        run_program([PROGRAMS[0], *files, "-O", str(out / "linear")], environment)
        affine = out / "linear_matrix.txt"
        run_program([PROGRAMS[1], *files, "-O", str(out / "deeds"), "-A", str(affine)], environment)
        return _read(np.loadtxt(affine), np.fromfile(out / "deeds_displacements.dat", np.float32), grid)


def _read(matrix: np.ndarray, values: np.ndarray, grid: Grid) -> Displacement:
    """The full transform from the programs' files."""
    coarse = [s // STEP for s in grid.shape]
    if values.size != 3 * int(np.prod(coarse)):
        raise JssrError(f"deeds wrote {values.size} numbers for a grid of {grid.shape}; were its defaults changed?")
    second, first, third = (v.reshape(coarse, order="F") for v in np.split(values, 3))
    control = torch.from_numpy(np.ascontiguousarray(np.stack([first, second, third])))[None]
    here = ff.identity(grid.shape)
    scale = torch.tensor([c / s for c, s in zip(coarse, grid.shape, strict=True)]).view(1, 3, 1, 1, 1)
    u = ff.sample(control, here * scale)
    linear = torch.from_numpy(matrix.T[:3].copy()).float()
    at = torch.einsum("ij,bj...->bi...", linear[:, :3], here) + linear[:, 3].view(1, 3, 1, 1, 1)
    return Displacement((at + u - here)[0], grid)


class Deeds(Peer):
    """A peer of programs on the PATH."""

    def lacks(self) -> str | None:
        lost = [program for program in PROGRAMS if shutil.which(program) is None]
        where = "build them from github.com/mattiaspaul/deedsBCV"
        return f"{' and '.join(lost)} not on the PATH; {where}" if lost else None


_SETTINGS = "linearBCV and deedsBCV with their defaults, both scans at the fixed scan's finest spacing"
PEERS = (Deeds("deeds", _SETTINGS, _run),)
