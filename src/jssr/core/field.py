"""Displacement fields on one grid: the conventions of the project, in code.

- A field `u` is `(B, n, *spatial)`, float32, in VOXELS of the fixed grid, components in the order of the tensor's axes.
- It lives on the FIXED grid and PULLS: `moved(p) = moving(p + u(p))`.
- `align_corners=True` throughout: voxel centres are the sampling points, the outermost ones are the border.

On disk fields are millimetres in LPS; only `jssr.io` and `jssr.core.transform` convert.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import kernels, training_kernels
from jssr.core.precision import full_precision

_SLAB = 1 << 18
"""Voxels of a part of a field that is computed at a time."""


def identity(shape: Sequence[int], like: Tensor | None = None) -> Tensor:
    """Return the voxel indices of a grid, (1, n, *shape) float32."""
    device = None if like is None else like.device
    axes = [torch.arange(s, dtype=torch.float32, device=device) for s in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def sample(image: Tensor, at: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """Read an image (B, C, *spatial) at voxel positions (B, n, *out), in the order of its axes: (B, C, *out).

    Args:
        mode: "bilinear" (n-linear) or "nearest".
        padding: "border" repeats the outermost voxels, "zeros" reads 0 outside.
    """
    if mode == "bilinear" and kernels.usable(image, at):
        return kernels.sample(image, at, padding == "zeros")
    size = torch.tensor(image.shape[2:], dtype=at.dtype, device=at.device)
    scale = (2.0 / (size - 1).clamp(min=1)).view(1, -1, *([1] * (at.ndim - 2)))
    # grid_sample wants x (the last axis) first.
    where = (at * scale - 1).flip(1).movedim(1, -1)
    return grid_sample(image, where.to(image.dtype), mode, padding)


def grid_sample(image: Tensor, where: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """`torch.nn.functional.grid_sample` with aligned corners, on all of a CPU's cores for a single volume too.

    Args:
        image: (B, C, *spatial).
        where: (B, *out, n), last axis first, -1..1 between the outermost voxel centres.
    """
    pieces = _pieces(image, where)
    if pieces == 1:
        return F.grid_sample(image, where, mode=mode, padding_mode=padding, align_corners=True)
    slabs = where[0].unflatten(0, (pieces, -1))
    images = image.expand(pieces, *image.shape[1:])
    read = F.grid_sample(images, slabs, mode=mode, padding_mode=padding, align_corners=True)
    return read.movedim(0, 1).flatten(1, 2)[None]


def _pieces(image: Tensor, where: Tensor) -> int:
    """Slabs to cut one volume's reading into: on a CPU PyTorch gives each sample of a batch to one thread."""
    if image.device.type != "cpu" or image.ndim != 5 or image.shape[0] != 1 or where[..., 0].numel() < 4096:
        return 1
    # Each slab has a gradient of the whole image to itself: more than four cost more than they save.
    most = min(torch.get_num_threads(), 4 if image.requires_grad else 64)
    return max(k for k in range(1, most + 1) if where.shape[1] % k == 0)


def warp(image: Tensor, u: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """Pull an image through a field: `out(p) = image(p + u(p))`. Shapes (B, C, *spatial) and (B, n, *spatial)."""
    if mode == "bilinear" and kernels.usable(image, u):
        return kernels.sample(image, u, padding == "zeros", lattice=True)
    if mode == "bilinear" and padding == "border" and training_kernels.usable(image, u):
        return training_kernels.warp(image, u)
    return sample(image, identity(u.shape[2:], u) + u, mode, padding)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the field that first follows `inner`, then `outer`: `w(p) = inner(p) + outer(p + inner(p))`.

    `warp(image, compose(outer, inner)) == warp(warp(image, outer), inner)`. Beyond the border `outer` is held constant.
    """
    return inner + warp(outer, inner)


def exponentiate(v: Tensor, squarings: int = 7) -> Tensor:
    """Integrate a stationary velocity (B, n, *spatial) over unit time by scaling and squaring: exp(v), in voxels."""
    u = v / 2**squarings
    for _ in range(squarings):
        u = compose(u, u)
    return u


def solve_inverse(
    u: Tensor,
    goal: Tensor,
    start: Tensor | None = None,
    linear: Tensor | None = None,
    *,
    step: float = 0.8,
    tolerance: float = 2e-3,
    allowed: float = 3e-4,
    iterations: int = 30,
) -> Tensor:
    """Find `p` with `p + u(p) = goal` by the fixed point `p <- p + step * linear (goal - p - u(p))` (Chen et al. 2008).

    Where the field folds there is no inverse: those points never settle, and what comes back there means nothing.

    Args:
        u: (B, n, *spatial).
        goal: (B, n, *out) in voxels of `u`.
        start: first guess, of the shape of `goal`, which it is by default.
        linear: (n, n), the inverse of the linear map that `p + u(p)` is near to, where that turns by more than some 60
            degrees: about the identity it diverges then.
        step: below 1 it converges where gradients come near 1, and the plain fixed point oscillates.
        tolerance, allowed: it ends once no more than the share `allowed` of components is off by more than `tolerance`;
            compiled (`core.kernels`), each point does once none of its components is.
    """
    p = goal if start is None else start
    if kernels.usable(u, goal, p):
        return kernels.solve_inverse(u, goal, p, linear, step, tolerance, iterations)
    for _ in range(iterations):
        miss = (goal - p - sample(u, p)).clamp_(-1e4, 1e4)  # numbers, where it diverges
        p = p + step * (miss if linear is None else torch.einsum("ij,bj...->bi...", linear, miss))
        if float((miss.abs() > tolerance).float().mean()) <= allowed:
            break
    return p


def invert(u: Tensor) -> Tensor:
    """Invert a diffeomorphic field on its own grid, as `solve_inverse` does it."""
    grid = identity(u.shape[2:], u)
    return solve_inverse(u, grid, grid - u) - grid


def resize_field(u: Tensor, shape: Sequence[int]) -> Tensor:
    """Resample a field to another number of voxels over the same extent, values rescaled to the new voxels."""
    old, new = u.shape[2:], tuple(shape)
    if tuple(old) == new:
        return u
    scale = [(b - 1) / (a - 1) if a > 1 else 1.0 for a, b in zip(old, new, strict=True)]
    factor = torch.tensor(scale, dtype=u.dtype, device=u.device).view(1, -1, *([1] * len(new)))
    return resize_image(u, new) * factor


def resize_image(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Resample (B, C, *spatial) linearly to another number of voxels, outermost voxel centres kept."""
    if training_kernels.usable(image):
        return training_kernels.resize(image, shape, corners=True)
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    return F.interpolate(image, size=tuple(shape), mode=mode, align_corners=True)


def pooled(image: Tensor, size: int, ceil_mode: bool = False) -> Tensor:
    """Mean of each block of `size` voxels along every axis of (B, C, *spatial); with `ceil_mode` also of those that are
    cut off by the border."""
    if kernels.usable(image) and min(image.shape[2:]) >= size:
        return kernels.pooled(image, size, ceil_mode)
    return (F.avg_pool3d if image.ndim == 5 else F.avg_pool2d)(image, size, ceil_mode=ceil_mode)


@full_precision  # autocast would take the transposed convolution
def bspline_field(control_points: Tensor, spacing: int, shape: Sequence[int]) -> Tensor:
    """The 2D field (B, 2, *shape) that control points of a cubic B-spline make.

    Args:
        control_points: (B, 2, h, w), the middles of blocks of `spacing` pixels; beyond the border they are repeated.
        spacing: pixels between control points, even.
        shape: at most `spacing` times that of the control points.
    """
    t = (torch.arange(4 * spacing, device=control_points.device) - (4 * spacing - 1) / 2).abs() / spacing
    kernel = torch.where(t < 1, 2 / 3 - t**2 + t**3 / 2, (2 - t).clamp(min=0) ** 3 / 6)
    weight = (kernel[:, None] * kernel)[None, None].expand(2, 1, -1, -1)
    around = F.pad(control_points, (2, 2, 2, 2), mode="replicate")
    # Two more control points on each side, and the kernel's own overhang of 3/2 spacings.
    field = F.conv_transpose2d(around, weight, stride=spacing, padding=2 * spacing + 3 * spacing // 2, groups=2)
    return field[:, :, : shape[0], : shape[1]]


def smooth(image: Tensor, sigma: float | Sequence[float]) -> Tensor:
    """Gaussian-filter (B, C, *spatial) along each axis, sigma in voxels, border repeated. Zero sigma leaves an axis."""
    n = image.ndim - 2
    sigmas = [float(sigma)] * n if isinstance(sigma, (int, float)) else [float(s) for s in sigma]
    for axis, s in enumerate(sigmas):
        if s <= 0:
            continue
        radius = max(1, int(3 * s + 0.5))
        x = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
        kernel = torch.exp(-0.5 * (x / s) ** 2)
        kernel /= kernel.sum()
        if kernels.usable(image):
            image = kernels.filtered(image, kernel[radius:].tolist(), axis + 2)
        else:
            image = _filter_axis(image, kernel, axis + 2)
    return image


def _filter_axis(image: Tensor, kernel: Tensor, axis: int) -> Tensor:
    moved = image.movedim(axis, -1)
    flat = moved.reshape(-1, 1, moved.shape[-1])
    radius = kernel.numel() // 2
    out = F.conv1d(F.pad(flat, (radius, radius), mode="replicate"), kernel.view(1, 1, -1))
    return out.view(moved.shape).movedim(-1, axis)


def jacobian_determinant(u: Tensor) -> Tensor:
    """Determinant of the Jacobian of `p + u(p)` in each cell between 2**n neighbouring voxels.

    Forward differences of the cell's first corner, as in most reports of folding; a value at or below 0 is a fold. Of
    (B, n, *spatial) in voxels, n = 2 or 3, it is (B, *(spatial - 1)).
    """
    if kernels.usable(u) and min(u.shape[2:]) > 1:
        return kernels.determinant(u)
    thick = max(1, _SLAB // max(1, u[0, 0, 0].numel()))
    if u.requires_grad or u.shape[2] - 1 <= thick:
        return _determinant(u)
    # In slabs: what is made on the way is ten times the field.
    return torch.cat([_determinant(u[:, :, k : k + thick + 1]) for k in range(0, u.shape[2] - 1, thick)], dim=1)


def _determinant(u: Tensor) -> Tensor:
    n = u.shape[1]
    inner = [slice(None), slice(None)] + [slice(0, -1)] * n
    units = torch.eye(n, dtype=u.dtype, device=u.device).view(n, 1, n, *[1] * n)
    rows = []
    for axis in range(n):
        ahead = [*inner[: axis + 2], slice(1, None), *inner[axis + 3 :]]
        rows.append(u[tuple(ahead)] - u[tuple(inner)] + units[axis])
    if n == 2:
        return rows[0][:, 0] * rows[1][:, 1] - rows[0][:, 1] * rows[1][:, 0]
    det = torch.zeros_like(rows[0][:, 0])
    for column, (a, b) in zip((2, 1, 0), combinations(range(3), 2), strict=True):
        minor = rows[1][:, a] * rows[2][:, b] - rows[1][:, b] * rows[2][:, a]
        det = det + (-1) ** column * rows[0][:, column] * minor
    return det
