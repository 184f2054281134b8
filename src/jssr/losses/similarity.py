"""How alike two images are, voxel by voxel or window by window. Masks weigh each voxel; all are to be minimised."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from jssr.core import kernels
from jssr.core.precision import full_precision


def masked_mean(value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of each sample (B, C, *spatial), weighted by a mask (B, 1, *spatial) where there is one; of these the mean.

    Each sample counts alike, however much of it the mask shows: so the mean over a batch is that over its parts.
    """
    if mask is None:
        return value.mean()
    weight = mask.expand_as(value)
    return ((value * weight).flatten(1).sum(dim=1) / weight.flatten(1).sum(dim=1).clamp(min=1.0)).mean()


@full_precision
def l1(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute difference, JSSR eq. (4)."""
    return masked_mean((a.float() - b.float()).abs(), mask)


def box_mean(image: Tensor, size: int) -> Tensor:
    """Mean over a cube of `size` (odd) voxels, one axis after the other; outside counts as the border's repeat."""
    radius = size // 2
    if image.requires_grad and size > 5:
        return _box_mean_by_products(image, size)
    if 0 < radius <= 2 and kernels.usable(image):
        for axis in range(2, image.ndim):
            image = kernels.filtered(image, [1 / size] * (radius + 1), axis)
        return image
    for axis in range(2, image.ndim) if radius else ():
        length = image.shape[axis]
        first, last = image.narrow(axis, 0, 1), image.narrow(axis, length - 1, 1)
        padded = torch.cat([first] * radius + [image] + [last] * radius, dim=axis)
        if size <= 5:
            total = padded.narrow(axis, 0, length) + padded.narrow(axis, 1, length)
            for offset in range(2, size):
                total.add_(padded.narrow(axis, offset, length))
        else:
            # Running sums in float64: in float32 their rounding exceeds the variance of flat regions.
            sums = torch.cat([torch.zeros_like(first, dtype=torch.float64), padded.double().cumsum(axis)], dim=axis)
            total = (sums.narrow(axis, size, length) - sums.narrow(axis, 0, length)).to(image.dtype)
        image = total.div_(size)
    return image


def _box_mean_by_products(image: Tensor, size: int) -> Tensor:
    """The same by a product with a matrix of bands along each axis, whose gradient is another: in half the time."""
    for axis in range(2, image.ndim):
        length = image.shape[axis]
        seen = torch.arange(length)[:, None] + torch.arange(size) - size // 2
        band = F.one_hot(seen.clamp(0, length - 1), length).sum(dim=1).to(image) / size
        if axis == image.ndim - 1:
            image = image @ band.t()
        else:
            image = (band @ image.flatten(axis + 1)).view_as(image)
    return image


@full_precision
def lncc(a: Tensor, b: Tensor, mask: Tensor | None = None, size: int = 9, eps: float = 1e-4) -> Tensor:
    """1 - squared local normalised cross-correlation over `size`^n windows (Avants 2008; VoxelMorph). 0 is a match."""
    a, b = a.float(), b.float()
    mean_a, mean_b = box_mean(a, size), box_mean(b, size)
    cross = box_mean(a * b, size) - mean_a * mean_b
    var_a = (box_mean(a * a, size) - mean_a**2).clamp(min=0)
    var_b = (box_mean(b * b, size) - mean_b**2).clamp(min=0)
    return masked_mean(1 - cross**2 / (var_a * var_b + eps * eps + eps * (var_a + var_b)), mask)


@full_precision
def ncc(a: Tensor, b: Tensor, mask: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """1 - normalised cross-correlation of whole images, mean over the batch: Cao et al. 2018, eq. (3). 0 is a match.

    Where an image is constant there is nothing to correlate: 1.
    """
    a, b = a.float(), b.float()
    weight = torch.ones_like(a) if mask is None else mask.expand_as(a)
    axes = tuple(range(1, a.ndim))
    count = weight.sum(axes, keepdim=True).clamp(min=1.0)
    a, b = (weight * (i - (weight * i).sum(axes, keepdim=True) / count) for i in (a, b))
    norms = (a.square().sum(axes) * b.square().sum(axes) + eps).sqrt()
    return (1 - (a * b).sum(axes) / norms).mean()


@full_precision
def mutual_information(a: Tensor, b: Tensor, mask: Tensor | None = None, bins: int = 32) -> Tensor:
    """Mutual information in nats of two images in -1..1 (B, 1, *spatial), mean over the batch (Wells et al. 1996).

    Grey values are spread over `bins` bins by linear Parzen windows, so that there is a gradient.
    """
    apart, together = _entropies(_joint(a, b, mask, bins))
    return (apart - together).mean()


@full_precision
def normalised_mutual_information(a: Tensor, b: Tensor, mask: Tensor | None = None, bins: int = 32) -> Tensor:
    """(H(a) + H(b)) / H(a, b) of two images as above, mean over the batch (Studholme et al. 1999): 1 where neither
    says anything of the other, 2 where each says all."""
    apart, together = _entropies(_joint(a, b, mask, bins))
    return (apart / together.clamp(min=1e-6)).mean()


def sample_information(a: Tensor, b: Tensor, bins: int, few: bool = False) -> float:
    """Mutual information in nats of paired samples in -1..1, from hard bins (Maes et al. 1997; macJNet, eq. 1).

    Args:
        bins: along each side of the joint histogram.
        few: take off the expected surplus of few samples, (rows - 1)(columns - 1) / 2N over the bins in use (Miller
            1955), down to 0.

    Returns:
        nan without samples.
    """
    if not a.numel():
        return math.nan
    codes = [((x + 1) * (bins / 2)).long().clamp_(0, bins - 1) for x in (a, b)]
    joint = torch.bincount(codes[0] * bins + codes[1], minlength=bins * bins).double().view(1, bins, bins) / a.numel()
    apart, together = _entropies(joint)
    rows, columns = (int((joint.sum(dim=axis) > 0).sum()) for axis in (2, 1))
    surplus = (rows - 1) * (columns - 1) / (2 * a.numel()) if few else 0.0
    return max(0.0, float(apart - together) - surplus)


@full_precision
def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of two images in -1..1 (Wang et al. 2004: Gaussian windows of 11 voxels). 1 is a
    match."""
    at = torch.arange(-5.0, 6.0, device=a.device)
    gaussian = (-(at**2) / (2 * 1.5**2)).exp()
    return ssim_map(a, b, [gaussian / gaussian.sum()] * (a.ndim - 2)).mean()


@full_precision
def ssim_inside(a: Tensor, b: Tensor, inside: Tensor) -> float:
    """Mean SSIM of windows of 7 voxels that lie inside entirely (macJNet, eq. 2); nan where there is none.

    The equation is printed with sums where the standard (Wang et al. 2004) has products, as here.

    Args:
        a, b: (1, 1, *spatial) in -1..1.
        inside: the same shape, bool: where both have data.
    """
    size = [min(7, s) for s in a.shape[2:]]
    values = ssim_map(a, b, [torch.full((s,), 1 / s) for s in size])
    pool = F.max_pool3d if a.ndim == 5 else F.max_pool2d
    full = pool((~inside).float(), size, stride=1) == 0
    return float(values[full].mean()) if bool(full.any()) else math.nan


@full_precision
def ssim_map(a: Tensor, b: Tensor, window: Sequence[Tensor]) -> Tensor:
    """SSIM of each window that lies inside two images (B, 1, *spatial) in -1..1.

    Args:
        window: weights along each axis, which sum to 1.
    """
    a, b = (a.float() + 1) / 2, (b.float() + 1) / 2
    convolve = F.conv3d if a.ndim == 5 else F.conv2d

    def mean(image: Tensor) -> Tensor:
        for axis, weights in enumerate(window):
            shape = [-1 if k == axis else 1 for k in range(len(window))]
            image = convolve(image, weights.to(image).view(1, 1, *shape))
        return image

    mu, nu = mean(a), mean(b)
    variances, covariance = mean(a * a) - mu**2 + mean(b * b) - nu**2, mean(a * b) - mu * nu
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mu * nu + c1) * (2 * covariance + c2) / ((mu**2 + nu**2 + c1) * (variances + c2))


def _joint(a: Tensor, b: Tensor, mask: Tensor | None, bins: int) -> Tensor:
    """The joint histogram of each pair of images: (B, bins, bins), each sums to 1."""
    found = []
    for k in range(a.shape[0]):
        weight = torch.ones_like(a[k]) if mask is None else mask[k].expand_as(a[k])
        p, q = (_spread(image[k].float().flatten(), bins) for image in (a, b))
        found.append((p * weight.flatten()) @ q.T / weight.sum().clamp(min=1.0))
    return torch.stack(found)


def _entropies(joint: Tensor) -> tuple[Tensor, Tensor]:
    """H(a) + H(b) and H(a, b) of joint histograms (B, n, n), (B,) nats each."""
    a, b, both = (-(p * (p + 1e-9).log()).sum(dim=1) for p in (joint.sum(dim=2), joint.sum(dim=1), joint.flatten(1)))
    return a + b, both


def _spread(values: Tensor, bins: int) -> Tensor:
    """Share of each value (N,) in each bin: (bins, N), columns sum to 1."""
    place = (values.clamp(-1, 1) + 1) / 2 * (bins - 1)
    return (1 - (place - torch.arange(bins, device=values.device)[:, None]).abs()).clamp(min=0)


def joint_mask(*masks: Tensor | None) -> Tensor | None:
    """The product of the masks that are there."""
    present = [m for m in masks if m is not None]
    return None if not present else torch.stack([m.expand_as(present[0]) for m in present]).prod(dim=0)
