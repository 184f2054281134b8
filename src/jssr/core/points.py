"""Points carried along a transform, on numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jssr.core.at_points import solve_inverse
from jssr.core.grid import Grid
from jssr.core.notes import tell
from jssr.core.transform import Chain, Displacement, Transform
from jssr.core.volume import Points
from jssr.errors import TransformError


def move_points(points: Points, transform: Transform, to: Literal["fixed", "moving"], iterations: int = 50) -> Points:
    """Carry points along a registration.

    Args:
        points: LPS millimetres.
        transform: fixed to moving space.
        to: "moving" takes points of the fixed image to the moving image (the transform itself); "fixed" takes points
            of the moving image to the fixed image (its inverse, solved for each point by fixed-point iteration).

    Raises:
        ValueError: another `to`.
        TransformError: the points are of another dimension, or the transform has no inverse at some point (its field
            folds there).
    """
    if points.xyz.shape[1] != transform.ndim:
        raise TransformError(f"points of {points.xyz.shape[1]} coordinates, and a transform of {transform.ndim}D space")
    if to not in ("fixed", "moving"):
        raise ValueError(f'to must be "fixed" or "moving", got {to!r}')
    parts: Sequence[Transform] = transform.parts if isinstance(transform, Chain) else (transform,)
    out = points.xyz
    for part in parts if to == "moving" else reversed(parts):
        if isinstance(part, Displacement):
            found = continued(part, out) if to == "moving" else brought_back(part, out, iterations)
            _tell_outside(part.grid, out if to == "moving" else found, points.names)
            out = found
        else:
            out = part(out) if to == "moving" else part.inverse()(out)
    return Points(out, points.names)


def _tell_outside(grid: Grid, at: NDArray[np.float64], names: Sequence[str]) -> None:
    away = grid.distance(at)
    if (outside := away > 0).any():
        first = ", ".join(dict.fromkeys(name for name, out in zip(names, outside, strict=True) if out))
        tell(
            f"{int(outside.sum())} of {len(names)} points lie outside the displacement field, up to {away.max():.1f} "
            f"mm: it is continued there, less surely ({first[:120]})."
        )


def continued(transform: Displacement, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (N, n) through a field; beyond its grid the map goes on from the border as the field does on the whole:
    by the linear part of the affine transform next to it, so that a turn stays one."""
    grid = transform.grid
    out = transform(points)
    outside = grid.distance(points) > 0
    if outside.any():
        index = grid.index(points[outside])
        border = grid.world(index.clip(0, np.array(grid.shape) - 1))
        linear = _beyond(transform)
        further = points[outside] - border
        out[outside] = transform(border) + (further if linear is None else further @ linear.T)
    return out


def _beyond(transform: Displacement) -> NDArray[np.float64] | None:
    """The linear part (n, n), mm, by which a map goes on beyond its field; None of a field that folds."""
    n, steps = transform.ndim, transform.grid.affine[: transform.ndim, : transform.ndim]
    found = steps @ transform.nearest_linear()[:n, :n] @ np.linalg.inv(steps)
    sizes = np.linalg.svd(found, compute_uv=False)
    sane = sizes.min() > 0.5 and sizes.max() < 2 and np.linalg.det(found) > 0
    return np.asarray(found, dtype=np.float64) if sane else None


def brought_back(transform: Displacement, goal: NDArray[np.float64], iterations: int) -> NDArray[np.float64]:
    """The points (N, n) that a field takes to `goal`, to 1e-4 mm."""
    grid = transform.grid
    tolerance = 1e-4 / float(grid.spacing.max())
    linear = transform.nearest_linear()
    found = grid.world(solve_inverse(transform.read, grid.index(goal), linear, tolerance, iterations))
    beyond = grid.distance(found) > 0
    if beyond.any() and (onward := _beyond(transform)) is not None:
        back = np.linalg.inv(onward)
        for _ in range(iterations):
            found[beyond] += 0.9 * (goal[beyond] - continued(transform, found[beyond])) @ back.T
    off = float(np.linalg.norm(goal - continued(transform, found), axis=-1).max(initial=0.0))
    if not off <= 1.0:  # nan too
        raise TransformError(f"the field folds: it has no inverse at some of the points (off by {off:.1f} mm)")
    return found
