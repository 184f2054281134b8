"""Where radiographs lie: 2D images have no place in the patient that two of them share.

A picture file knows no millimetres at all, and a detector's spacing says nothing of where the patient stood before it.
So the moving image starts with its middle on the fixed image's middle; where either has no spacing of its own (a pixel
of exactly 1, as picture files are read) it is also scaled, so that their longer sides agree.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Volume


def unknown_spacing(grid: Grid) -> bool:
    """Whether the size of a 2D image's pixels is unknown."""
    return bool((grid.spacing == 1.0).all())


def start_2d(fixed: Grid, moving: Grid) -> Affine:
    """Points of the fixed image to points of the moving one, before anything is registered: middle to middle, and
    longer side to longer side where a spacing is not known."""
    scale = 1.0
    if unknown_spacing(fixed) or unknown_spacing(moving):
        scale = _side(moving) / _side(fixed)
    # Columns and rows stay what they are: the directions of two radiographs have nothing to do with each other.
    linear = scale * moving.direction @ fixed.direction.T
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = moving.centre - linear @ fixed.centre
    return Affine(matrix)


def placed(moving: Volume, fixed: Grid) -> Volume:
    """A moving 2D image where `start_2d` puts it on the fixed one; a 3D one stays where its header has it."""
    if fixed.ndim == 3:
        return moving
    start = start_2d(fixed, moving.grid)
    return replace(moving, grid=Grid(moving.grid.shape, np.linalg.inv(start.matrix) @ moving.grid.affine))


def from_start(displacement: Displacement, fixed: Grid, moving: Grid) -> Displacement:
    """What a transform from fixed to moving space does beyond `start_2d`, so that it leads to where `placed` puts the
    moving one: scale and handedness of two 2D images are no deformation. Of 3D images it is the transform itself."""
    if fixed.ndim == 3:
        return displacement
    back = np.linalg.inv(start_2d(fixed, moving).matrix)
    grid = displacement.grid
    change = torch.from_numpy(np.linalg.inv(grid.affine) @ back @ grid.affine)
    at = ff.identity(grid.shape)[0].double()
    there = torch.einsum("ij,jyx->iyx", change[:2, :2], at + displacement.u.double()) + change[:2, 2].view(2, 1, 1)
    return Displacement((there - at).float(), grid)


def grid_2d(image: Grid, pixels: int) -> Grid:
    """A square grid of `pixels` along each side, centred on an image, its longer side filled."""
    spacing = _side(image) / pixels
    first = image.centre - image.direction @ np.full(2, (pixels - 1) / 2 * spacing)
    return Grid.of((pixels, pixels), spacing, first.tolist(), image.direction)


def seen_spacing(grid: Grid, transform: Affine) -> float:
    """What the spacing of a grid is in the image that a transform leads to."""
    return float(np.sqrt(abs(np.linalg.det(transform.matrix))) * grid.spacing[0])


def _side(grid: Grid) -> float:
    return float((np.array(grid.shape) * grid.spacing).max())
