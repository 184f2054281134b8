"""What a peer is: a registration tool of others, behind one function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.transform import Affine, Transform
from jssr.core.volume import Volume
from jssr.errors import JssrError, MissingExtraError, requires
from jssr.io.provenance import package_version

Run = Callable[[Volume, Volume, Affine, int], Transform]
"""(fixed, moving, rigid, threads) to the full transform."""


@dataclass(frozen=True)
class Peer:
    """A registration tool of others.

    Attributes:
        name: as the tables and the command line call it.
        settings: what is run, in words.
        run: (fixed, moving, rigid, threads) to the full transform, fixed to moving space.
        module: of the extra `benchmark`, imported before it is timed.
        package: whose version is the peer's.
        own_rigid: it aligns rigidly or affinely itself; otherwise it is given `rigid`, found by us.
        dims: axes of the images that it takes here.
    """

    name: str
    settings: str
    run: Run
    module: str | None = None
    package: str | None = None
    own_rigid: bool = True
    dims: tuple[int, ...] = (3,)

    @property
    def version(self) -> str | None:
        """Of its package; None if there is none."""
        return None if self.package is None else package_version(self.package)

    def lacks(self) -> str | None:
        """What is missing on this machine, None where it can be used."""
        try:
            if self.module is not None:
                requires("benchmark", self.module.partition(".")[0])
        except MissingExtraError as error:
            return str(error)
        return None

    def load(self) -> None:
        """Import its library, which is no part of its seconds."""
        if self.module is not None:
            import_module(self.module)

    def check(self) -> None:
        """Make sure that it can be used."""
        wanted = self.lacks()
        if wanted:
            raise JssrError(f"{self.name} cannot be used here: {wanted}")


def isotropic(fixed: Volume, moving: Volume, rigid: Affine) -> tuple[Volume, Volume, Grid]:
    """Both scans on one grid of equal spacing, for peers that know voxels only; the moving scan comes through `rigid`.

    The spacing is the finest of the fixed scan, but at least 1 mm.
    """
    step = max(1.0, float(np.min(fixed.grid.spacing)))
    grid = fixed.grid if np.ptp(fixed.grid.spacing) < 1e-3 * step else fixed.grid.respaced(step)
    return resample(fixed, grid), resample(moving, grid, rigid), grid
