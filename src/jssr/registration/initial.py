"""The transform that a user has already: read, and checked against the two scans before the work."""

from __future__ import annotations

import os

from jssr.core.grid import Grid
from jssr.core.resampling import coverage
from jssr.core.transform import Affine, Displacement
from jssr.errors import TransformError
from jssr.io.formats import split_format
from jssr.io.transforms import TransformLike, as_affine, as_transform, read_any
from jssr.io.transforms.base import Images
from jssr.preprocessing.rigid import OverlapError
from jssr.registration.options import Initial

Start = Initial | Affine | Displacement
"""Where a pair starts: by a rule, or by a transform from fixed to moving space."""


def read_initial(given: Initial | TransformLike, fixed: Grid, moving: Grid, names: tuple[str, str]) -> Start:
    """Where a pair starts, from what the user gave.

    Args:
        given: a rule, a transform, or a file; "flirt:start.mat" names its format.
        fixed, moving: where the two scans lie; `names` are theirs.

    Raises:
        TransformError: it cannot be read, or is of another dimension.
        OverlapError: it leads out of the moving scan.
    """
    if isinstance(given, str) and given in ("geometry", "centre"):
        rule: Initial = "centre" if given == "centre" else "geometry"
        return rule
    name, n = "initial", fixed.ndim
    if isinstance(given, (str, os.PathLike)):
        of, name = split_format(os.fspath(given))
        found = read_any(name, of, Images(fixed, moving, names))
    else:
        found = as_transform(given, name)
    if found.ndim != n:
        raise TransformError(f"{name}: expected a {n}D transform, as {names[0]} is {n}D, got a {found.ndim}D one")
    start: Affine | Displacement | None = as_affine(found)
    if start is None:
        start = found if isinstance(found, Displacement) else found.displacement(fixed)
    coarse = fixed.respaced((fixed.spacing * [max(1.0, s / 64) for s in fixed.shape]).tolist())
    if not bool(coverage(coarse, moving, start).any()):
        raise OverlapError(
            f"{name}: leads from {names[0]} out of {names[1]}: no point of the one lies in the other; expected a "
            "transform of fixed to moving points in LPS mm (jssr convert --inverse turns one round)"
        )
    return start
