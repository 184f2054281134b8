"""Inner loops of training in C (`training_kernels.c`), in 3D, on a CPU, in float32, with their gradients: warps,
resizing, normalisation with its activation, two layers at each voxel, class probabilities, convolutions' gradients.
Where they are not compiled, callers do the same with torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from jssr.core import kernels
from jssr.core.hardware import cpu_has_avx512
from jssr.core.kernels import call, int64, shared

_VOXELS = 16384
"""Voxels of a part whose sums are kept apart, whatever the threads: no sum depends on them."""
_INPUTS, _OUTPUTS = 4, 16
"""Channels of a part of a convolution's weights, as in the C file."""
_ROWS = 1
"""Channels of a sample of a part of the work, at least."""


def usable(*tensors: Tensor) -> bool:
    """Whether the loops can take these: they are compiled, all are (B, C, *spatial) float32 in 3D on the CPU, not
    channels-last, outside autocast, and a gradient is wanted of one."""
    if any(t.ndim != 5 or t.device.type != "cpu" or t.dtype != torch.float32 or not t.numel() for t in tensors):
        return False
    if any(t.is_contiguous(memory_format=torch.channels_last_3d) and not t.is_contiguous() for t in tensors):
        return False
    wanted = torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    return wanted and any(t.requires_grad for t in tensors) and kernels.library() is not None


def convolves() -> bool:
    """Whether convolutions are faster by these loops than by oneDNN for some sizes: on processors with AVX2 alone."""
    return not cpu_has_avx512() and kernels.variant() == "compiled for AVX2"


def warp(image: Tensor, u: Tensor) -> Tensor:
    """`core.field.warp` of (B, C, *spatial) by (B, 3, *lattice), linear, the border repeated."""
    made: Tensor = _Warped.apply(image, u)
    return made


def resize(image: Tensor, size: Sequence[int], corners: bool) -> Tensor:
    """`F.interpolate` of (B, C, *spatial), linear; `corners` is its `align_corners`."""
    made: Tensor = _Resized.apply(image, tuple(size), corners)
    return made


def activate(
    image: Tensor,
    slope: Tensor | None = None,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    beside: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(B, C, *spatial), each channel of a sample normalised to mean 0 and variance 1, scaled and shifted (C,) where
    `scale` is given; plus `beside`; through a PReLU of slopes (C,) where `slope` is given."""
    made: Tensor = _Activated.apply(image, slope, scale, shift, beside, eps)
    return made


def head(
    a: Tensor, b: Tensor, first: Tensor, first_bias: Tensor, slope: Tensor, second: Tensor, second_bias: Tensor
) -> Tensor:
    """Two convolutions of one voxel with a PReLU between them, of the channels of a and b (B, C, *spatial) together.

    Args:
        first: (H, C of a and b); slope: (H,); second: (K, H).

    Returns:
        (B, K, *spatial).
    """
    made: Tensor = _Head.apply(a, b, first, first_bias, slope, second, second_bias)
    return made


def shares(logits: Tensor, size: int) -> Tensor:
    """Class probabilities of logits (B, K, *spatial), averaged over blocks of `size` voxels along every axis, those too
    that the border cuts off."""
    made: Tensor = _Shares.apply(logits, size)
    return made


def overlap(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How class probabilities and labels agree, in sums over the voxels.

    Args:
        logits: (B, K, *spatial); labels: (B, 1, *spatial), of 0 to K - 1.

    Returns:
        For each class (B, K) the probability where it is the label, the squared probability, and the voxels of the
        label; and the cross-entropy (B,).

    Raises:
        ValueError: another label.
    """
    labels, classes = labels.long().contiguous(), logits.shape[1]
    low, high = (int(n) for n in labels.aminmax())
    if low < 0 or high >= classes:
        raise ValueError(f"expected labels of 0 to {classes - 1}, got {low} to {high}: check the label map's classes")
    sums: Tensor = _Overlap.apply(logits, labels)
    met, square, count = sums[:, :-1].unflatten(1, (3, -1)).unbind(1)
    return met, square, count, sums[:, -1]


def convolution_weights(g: Tensor, x: Tensor) -> Tensor:
    """The gradient of a convolution of x (B, C, *spatial) by its weights (K, C, 3, 3, 3), from that by its result
    (B, K, *spatial); padded by one voxel, without a stride."""
    g, x = g.contiguous(), x.contiguous()
    found = x.new_empty(g.shape[1], x.shape[1], 3, 3, 3)
    given = x, g, len(x), x.shape[1], g.shape[1], int64(x.shape[2:]), found
    parts = -(-x.shape[1] // _INPUTS) * -(-g.shape[1] // _OUTPUTS)
    shared(parts, 1, lambda *part: call("jssr_convolution_weights", *given, *part))
    return found


def convolution_input(
    g: Tensor, shape: Sequence[int], weight: Tensor, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """The gradient of a convolution by its input, of `shape` (B, C, *spatial), from that by its result (B, K, *out):
    for few channels C, as in between there are C times the kernel's voxels of numbers for each of the result."""
    kernel = weight.shape[2:]
    sizes = int64([*shape[2:], *g.shape[2:], *kernel, *stride, *padding])
    found, turned = g.new_zeros(*shape), weight.flatten(1).t()
    for one, to in zip(g.flatten(2), found, strict=True):
        given = turned @ one, sizes, to
        shared(shape[1], 1, lambda *part, given=given: call("jssr_fold", *given, *part))
    return found


class _Warped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, u: Tensor) -> Tensor:
        ctx.save_for_backward(image, u)
        return torch.cat([kernels.sample(i, f, lattice=True) for i, f in zip(image.split(1), u.split(1), strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (image, u), g = (t.contiguous() for t in ctx.saved_tensors), above[0].contiguous()
        shape, lattice, count = int64(image.shape[2:]), int64(u.shape[2:]), u[0, 0].numel()
        of_image = torch.zeros_like(image) if ctx.needs_input_grad[0] else None
        of_u = torch.empty_like(u) if ctx.needs_input_grad[1] else None
        for k in range(len(u)):
            if of_image is not None:
                spread = g[k], shape, u[k], lattice, of_image[k]
                shared(image.shape[1], _ROWS, lambda *part, given=spread: call("jssr_warp_image", *given, *part))
            if of_u is not None:
                pulled = image[k], image.shape[1], shape, g[k], u[k], lattice, of_u[k]
                shared(count, 8192, lambda *part, given=pulled: call("jssr_warp_field", *given, *part))
        return of_image, of_u


class _Resized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, size: tuple[int, ...], corners: bool) -> Tensor:
        image, ctx.shape = image.contiguous(), image.shape
        low, part = _places(tuple(image.shape[2:]), size, corners)
        ctx.how = int64(image.shape[2:]), int64(size), low, part
        out = image.new_empty(*image.shape[:2], *size)
        given = image, *ctx.how, out
        shared(image.shape[:2].numel(), _ROWS, lambda *part: call("jssr_resize", *given, *part))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        of_image = above[0].new_empty(ctx.shape)
        given = above[0].contiguous(), *ctx.how, of_image
        shared(ctx.shape[:2].numel(), _ROWS, lambda *part: call("jssr_resize_back", *given, *part))
        return of_image, None, None


@lru_cache(maxsize=64)
def _places(old: tuple[int, ...], new: tuple[int, ...], corners: bool) -> tuple[Tensor, Tensor]:
    """For every voxel along each axis, axis after axis: the old voxel before it, the share of the way to the next."""
    lows, parts = [], []
    for before, after in zip(old, new, strict=True):
        k = torch.arange(after, dtype=torch.float64)
        where = k * ((before - 1) / max(after - 1, 1)) if corners else (k + 0.5) * (before / after) - 0.5
        where = where.clamp(0, before - 1)
        low = where.floor().clamp(max=max(before - 2, 0))
        lows.append(low.long())
        parts.append((where - low).float())
    return torch.cat(lows), torch.cat(parts)


class _Activated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        slope: Tensor | None,
        scale: Tensor | None,
        shift: Tensor | None,
        beside: Tensor | None,
        eps: float,
    ) -> Tensor:
        image, beside = image.contiguous(), None if beside is None else beside.contiguous()
        rows, voxels, channels = image.shape[:2].numel(), image[0, 0].numel(), image.shape[1]
        seen, out = image.new_empty(rows, 2), torch.empty_like(image)
        ctx.save_for_backward(image, slope, scale, shift, beside, seen)
        given = image, voxels, channels, scale, shift, beside, slope, float(eps), seen, out
        shared(rows, _ROWS, lambda *part: call("jssr_activate", *given, *part))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        image, slope, scale, shift, beside, seen = ctx.saved_tensors
        rows, voxels, channels = image.shape[:2].numel(), image[0, 0].numel(), image.shape[1]
        of_image, sums = torch.empty_like(image), image.new_empty(rows, 3)
        of_beside = None if beside is None else torch.empty_like(image)
        given = (
            above[0].contiguous(), image, voxels, channels, scale, shift, beside, slope, seen, of_image, of_beside,
            sums,
        )  # fmt: skip
        shared(rows, _ROWS, lambda *part: call("jssr_activate_back", *given, *part))
        of_scale, of_shift, of_slope = sums.view(-1, channels, 3).sum(dim=0).unbind(1)
        return (
            of_image,
            None if slope is None else of_slope,
            None if scale is None else of_scale,
            None if scale is None else of_shift,
            of_beside,
            None,
        )


class _Head(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        a, b, first, first_bias, slope, second, second_bias = given = tuple(t.contiguous() for t in given)
        ctx.save_for_backward(*given)
        voxels, out = a[0, 0].numel(), a.new_empty(len(a), len(second), *a.shape[2:])
        for x, y, to in zip(a, b, out, strict=True):
            sizes = x, len(x), y, len(y), voxels
            layers = first, first_bias, slope, len(slope), second, second_bias, len(second)
            shared(voxels, _VOXELS, lambda *part, it=(*sizes, *layers, to): call("jssr_head", *it, *part))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        a, b, first, first_bias, slope, second, second_bias = given = ctx.saved_tensors
        g, voxels, wanted = above[0].contiguous(), a[0, 0].numel(), ctx.needs_input_grad
        of_a, of_b = (torch.empty_like(t) if want else None for t, want in zip((a, b), wanted, strict=False))
        parts = -(-voxels // _VOXELS)
        sums = a.new_empty(len(a), parts, sum(t.numel() for t in given[2:]))
        for k in range(len(a)):
            it = (
                g[k], a[k], a.shape[1], b[k], b.shape[1], voxels, first, first_bias, slope, len(slope), second,
                len(second), None if of_a is None else of_a[k], None if of_b is None else of_b[k],
            )  # fmt: skip

            def part(begin: int, end: int, it: tuple[Any, ...] = it, k: int = k) -> None:
                for one in range(begin, end):
                    call("jssr_head_back", *it, sums[k, one], one * _VOXELS, min((one + 1) * _VOXELS, voxels))

            shared(parts, 1, part)
        each = sums.sum(dim=(0, 1)).split([t.numel() for t in given[2:]])
        return of_a, of_b, *(part.view_as(t) for part, t in zip(each, given[2:], strict=True))


class _Shares(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(logits)
        ctx.size, logits = size, logits.contiguous()
        out = logits.new_empty(*logits.shape[:2], *[-(-s // size) for s in logits.shape[2:]])
        for one, to in zip(logits, out, strict=True):
            given = one, len(one), int64(one.shape[1:]), size, to
            shared(out.shape[2], 1, lambda *part, given=given: call("jssr_share", *given, *part))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None]:
        logits, g = ctx.saved_tensors[0].contiguous(), above[0].contiguous()
        of_logits = torch.empty_like(logits)
        for one, up, to in zip(logits, g, of_logits, strict=True):
            given = up, one, len(one), int64(one.shape[1:]), ctx.size, to
            shared(g.shape[2], 1, lambda *part, given=given: call("jssr_share_back", *given, *part))
        return of_logits, None


class _Overlap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        logits = logits.contiguous()
        ctx.save_for_backward(logits, labels)
        classes, voxels = logits.shape[1], logits[0, 0].numel()
        parts = -(-voxels // _VOXELS)
        sums = torch.empty(len(logits), parts, 3 * classes + 1, dtype=torch.float64)
        for k in range(len(logits)):

            def part(begin: int, end: int, k: int = k) -> None:
                for one in range(begin, end):
                    edges = one * _VOXELS, min((one + 1) * _VOXELS, voxels)
                    call("jssr_overlap", logits[k], labels[k], classes, voxels, sums[k, one], *edges)

            shared(parts, 1, part)
        return sums.sum(dim=1).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None]:
        logits, labels = ctx.saved_tensors
        classes, voxels = logits.shape[1], logits[0, 0].numel()
        by = torch.cat([above[0][:, : 2 * classes], above[0][:, -1:]], dim=1).contiguous()
        of_logits = torch.empty_like(logits)
        for k in range(len(logits)):
            given = by[k], logits[k], labels[k], classes, voxels, of_logits[k]
            shared(voxels, 8192, lambda *part, given=given: call("jssr_overlap_back", *given, *part))
        return of_logits, None
