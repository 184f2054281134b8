"""What a tool is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Transform, resample
from jssr.core.volume import Volume
from jssr.errors import JssrError, MissingExtraError, requires
from jssr.io.provenance import package_version

__all__ = ["Tool", "isotropic", "missing"]


@dataclass(frozen=True)
class Tool:
    """A registration tool.

    Attributes:
        name: as the tables and the command line call it.
        settings: what is run, in words.
        own_rigid: it aligns rigidly or affinely itself; otherwise it is given `rigid`, found by us.
        run: (fixed, moving, rigid, threads) to the whole map, fixed to moving space.
        lacks: what is missing on this machine, None where the tool can be used.
        dims: axes of the images that it takes here.
        load: imports its library, which is no part of its seconds.
        package: whose version is the tool's; None where it does not tell.
    """

    name: str
    settings: str
    own_rigid: bool
    run: Callable[[Volume, Volume, Affine, int], Transform]
    lacks: Callable[[], str | None]
    dims: tuple[int, ...] = (3,)
    load: Callable[[], object] = lambda: None
    package: str | None = None

    @property
    def version(self) -> str | None:
        """Of its package; None where nobody tells."""
        return None if self.package is None else package_version(self.package)

    def check(self) -> None:
        """Make sure that it can be used.

        Raises:
            JssrError: it is not installed.
        """
        wanted = self.lacks()
        if wanted:
            raise JssrError(f"{self.name} cannot be used here: {wanted}")


def missing(module: str) -> Callable[[], str | None]:
    """A `Tool.lacks` for a Python package of the extra."""

    def lacks() -> str | None:
        try:
            requires("benchmark", module)
        except MissingExtraError as error:
            return str(error)
        return None

    return lacks


def isotropic(fixed: Volume, moving: Volume, rigid: Affine) -> tuple[Volume, Volume, Grid]:
    """Both scans on one grid with equal spacing along its axes, the finest of the fixed scan, but 1 mm at least: for
    tools that know voxels only. The moving scan comes through `rigid`."""
    step = max(1.0, float(np.min(fixed.grid.spacing)))
    grid = fixed.grid if np.ptp(fixed.grid.spacing) < 1e-3 * step else fixed.grid.respaced(step)
    return resample(fixed, grid), resample(moving, grid, rigid), grid
