"""ConvexAdam (Siebert, Hansen and Heinrich 2021; the package convexAdam), after our rigid alignment: it has none."""

from __future__ import annotations

import contextlib
import io

import torch

from jssr.core.hardware import torch_threads
from jssr.core.transform import Affine, Chain, Displacement, Transform
from jssr.core.volume import Volume
from jssr.peers.base import Peer, isotropic


def _run(fixed: Volume, moving: Volume, rigid: Affine, threads: int) -> Transform:
    from convexAdam.convex_adam_MIND import convex_adam_pt

    y, x, grid = isotropic(fixed, moving, rigid)
    with torch_threads(threads), contextlib.redirect_stdout(io.StringIO()):
        u = convex_adam_pt(y.data[0], x.data[0], dtype=torch.float32, device=torch.device("cpu"))
    # Voxels of the common grid, (*shape, 3), in the order of the axes, pulling.
    field = torch.from_numpy(u).movedim(-1, 0).float().contiguous()
    return Chain(Displacement(field, grid), rigid)


PEERS = (
    Peer(
        "convexadam",
        "its defaults (MIND-SSC 1/2, grid 6, radius 4, 80 steps of Adam, lambda 1.25) on both scans at the fixed "
        "scan's finest spacing, after our rigid alignment",
        _run,
        "convexAdam.convex_adam_MIND",
        "convexAdam",
        own_rigid=False,
    ),
)
