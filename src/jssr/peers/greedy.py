"""greedy (Yushkevich et al.; the package picsl-greedy): rigid, then greedy diffeomorphic registration."""

from __future__ import annotations

from functools import partial
from io import StringIO

import numpy as np
import SimpleITK as sitk

from jssr.core.bridges import grid_of, to_sitk
from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.core.volume import Volume
from jssr.peers.base import Peer

RIGID = "-a -dof 6 -ia-identity -m NMI -n 40x10"
"""The package's own quick start. With 12 degrees of freedom and NCC it mirrored a T1 MR onto a CT."""
ITERATIONS = (100, 50, 10)
"""Coarse to fine; each level halves the fixed scan's voxels."""
LEAST_VOXELS = 4
"""Along each axis on the coarsest level: with fewer its filter refuses the scan."""
PRECISE = "-wp 0"
"""The warp as it was computed. By default greedy rounds it to 0.1 voxel, which reads as roughness."""
SEED = "-seed 1"
"""Without it two runs differ (0.4 mm on a liver)."""
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _run(metric: str, fixed: Volume, moving: Volume, rigid: Affine, threads: int) -> Transform:
    from picsl_greedy import Greedy3D

    # What lies outside a scan greedy takes for 0, which of Hounsfield units is water.
    scans = {"fixed": fixed, "moving": moving}
    images = {name: to_sitk((v.data - v.data.min()).numpy(), v.grid) for name, v in scans.items()}
    greedy, quiet = Greedy3D(), StringIO()
    levels = iterations(min(fixed.grid.shape))
    common = f"-V 0 {SEED} -threads {threads} -i fixed moving"
    greedy.execute(f"{common} {RIGID} -o affine", out=quiet, err=quiet, affine=None, **images)
    greedy.execute(f"{common} -m {metric} -n {levels} {PRECISE} -it affine -o warp", out=quiet, err=quiet, warp=None)
    # The matrix maps fixed to moving points in RAS; the warp is in LPS millimetres on the fixed grid, and comes first.
    matrix = RAS @ np.asarray(greedy["affine"], dtype=np.float64) @ RAS
    warp = greedy["warp"]
    vectors = sitk.GetArrayViewFromImage(warp).transpose(2, 1, 0, 3)
    return Chain(Displacement.from_millimetres(vectors, grid_of(warp)), Affine(matrix))


def iterations(voxels: int) -> str:
    """The iterations of each level, as greedy reads them, for a scan of so many voxels along its shortest axis."""
    levels = len(ITERATIONS)
    while levels > 1 and voxels // 2 ** (levels - 1) < LEAST_VOXELS:
        levels -= 1
    return "x".join(str(n) for n in ITERATIONS[:levels])


def _peer(name: str, metric: str) -> Peer:
    settings = f"rigid ({RIGID}), then deformable (-m {metric} -n {iterations(1000)} {PRECISE}; of scans with few "
    settings += f"slices without the last of these levels), {SEED}; least intensity 0"
    return Peer(name, settings, partial(_run, metric), "picsl_greedy", "picsl-greedy")


PEERS = (_peer("greedy", "NCC 4x4x4"), _peer("greedy-mi", "NMI"))
