"""Axis order and signs as the networks know them: the first tensor axis towards the patient's left, the second towards
the back, the third towards the head, as nearly as the scan allows. Only whole axes are swapped or turned, so no voxel
changes its value or its place in the patient."""

from __future__ import annotations

from itertools import permutations

from jssr.core.grid import Grid
from jssr.core.volume import Volume

__all__ = ["canonical"]


def canonical(volume: Volume) -> Volume:
    """Reorder the axes of a volume so that its direction comes nearest to the identity.

    Args:
        volume: (C, *shape) on any grid.

    Returns:
        The same voxels at the same places of the patient, on a grid with permuted and flipped axes.
    """
    direction, n = volume.grid.direction, volume.grid.ndim
    # Column a of the direction is tensor axis a; `order[w]` is the axis that runs most along world axis w.
    order = list(max(permutations(range(n)), key=lambda axes: sum(abs(direction[w, a]) for w, a in enumerate(axes))))
    back = [axis for axis in range(n) if direction[axis, order[axis]] < 0]
    if order == list(range(n)) and not back:
        return volume
    affine = volume.grid.affine.copy()
    affine[:n, :n] = affine[:n, :n][:, order]
    shape = [volume.grid.shape[a] for a in order]
    for axis in back:
        affine[:n, n] += affine[:n, axis] * (shape[axis] - 1)
        affine[:n, axis] *= -1
    data = volume.data.permute(0, *[a + 1 for a in order]).flip([axis + 1 for axis in back])
    return Volume(data.contiguous(), Grid(tuple(shape), affine), volume.kind, volume.name)
