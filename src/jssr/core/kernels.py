"""Inner loops of a registration in C (`kernels.c`), in 3D, on a CPU, where no gradient is asked for: reading images
along fields, distances of features, MIND-SSC, costs of a search, inverses. They are compiled when the package is built;
where there was no compiler, or with `JSSR_KERNELS=0`, callers do the same with torch, in several times the time."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

OFF = "JSSR_KERNELS"
"""Environment variable; "0" leaves the loops out."""
LANES = 8
"""Channels are taken so many at a time."""
_HERE = Path(__file__).parent
_PARTS = 4
"""Parts a thread: where one waits for a busy core the others go on."""
_LINES = 64
"""Lines of a lattice that `distances` sums up together, whatever the threads: its sums do not depend on them."""
_PLANES = 24
"""Planes of a part of `mind_ssc`, at least: six before and behind it are computed for it too."""


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """The compiled loops that this processor can run, built of the source beside them, or None."""
    if os.environ.get(OFF) == "0":
        return None
    source = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(_HERE.glob("*.[ch]")))).hexdigest()
    wide = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    for name in ("libkernels-avx2.so", "libkernels.so") if wide else ("libkernels.so",):
        if (_HERE / name).is_file() and _is_whole(_HERE / name):
            try:
                found = ctypes.CDLL(str(_HERE / name))
                found.jssr_source.restype = ctypes.c_char_p
                if found.jssr_source().decode() == source:
                    return found
            except (OSError, AttributeError):  # built for another system, or of an old source
                continue
    return None


def _is_whole(path: Path) -> bool:
    """Whether a library of Linux reaches to the end of the table that its header names: a cut one ends the process."""
    with path.open("rb") as file:
        head = file.read(64)
    if head[:6] != b"\x7fELF\x02\x01":  # of 64 bits, the low byte first
        return True
    table, entry, count = (int.from_bytes(head[a:b], "little") for a, b in ((40, 48), (58, 60), (60, 62)))
    return path.stat().st_size >= table + entry * count


def variant() -> str:
    """Which loops are used: "compiled for AVX2", "compiled", or "torch" where none are."""
    found = library()
    return "torch" if found is None else "compiled for AVX2" if "avx2" in found._name else "compiled"


def usable(*tensors: Tensor) -> bool:
    """Whether the loops can take these: they are compiled, all are 3D (1, C, *spatial) float32 on the CPU, and no
    gradient is wanted."""
    if any(t.ndim != 5 or len(t) != 1 or t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors):
        return False
    return not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors)) and library() is not None


def sample(image: Tensor, at: Tensor, zeros: bool = False, lattice: bool = False) -> Tensor:
    """`core.field.sample` of an image (1, C, *shape) at positions (1, 3, *out), linearly: (1, C, *out).

    Args:
        zeros: what lies beyond the border is 0, not the border.
        lattice: positions are counted from each voxel of the output, as a field's are (`core.field.warp`).
    """
    out, count = torch.empty(1, image.shape[1], *at.shape[2:]), at[0, 0].numel()
    image, at = image.contiguous(), at.contiguous()
    grid = int64(at.shape[2:]) if lattice else None
    given = image, image.shape[1], int64(image.shape[2:]), at, count, grid, int(zeros), out
    shared(count, 8192, lambda *part: call("jssr_sample", *given, *part))
    return out


def solve_inverse(
    u: Tensor, goal: Tensor, start: Tensor, linear: Tensor | None, step: float, tolerance: float, iterations: int,
    settled: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`core.field.solve_inverse` of a field (1, 3, *shape); each point ends once it is off by no more than `tolerance`
    along any axis. `settled`, (*out) bool, is told which were."""
    u, goal, found = u.contiguous(), goal.contiguous(), start.clone(memory_format=torch.contiguous_format)
    count, turn = goal[0, 0].numel(), None if linear is None else linear.float().contiguous()
    given = u, int64(u.shape[2:]), goal, found, count, turn, step, tolerance, iterations, settled
    shared(count, 4096, lambda *part: call("jssr_inverse", *given, *part))
    return found


def distances(
    features: tuple[Tensor, Tensor],
    seen: Tensor,
    body: Tensor,
    where: Sequence[slice],
    field: Tensor,
    size: Sequence[float],
    outlier: float | None,
) -> tuple[Tensor, Tensor]:
    """The weighted mean distance between features of the fixed image at points of a lattice and those of the moving one
    where a field puts them, and its derivative by the field, (1, 3, *lattice).

    Args:
        features: of the moving and of the fixed image, (*shape, lanes) float16, lanes a multiple of `LANES`.
        seen: (*shape), 1 where the moving image has data; a point that reads less than 0.99 of it does not count.
        body: (*shape) of the fixed image, the weight of each voxel.
        where: the lattice, a slice of the fixed image along each axis.
        field: (1, 3, *lattice) mm; size: mm of a voxel along each axis.
        outlier: of `losses.features.FeatureDistance`.
    """
    moving, fixed = features
    slope, field = torch.zeros_like(field, memory_format=torch.contiguous_format), field.contiguous()
    groups = -(-field[0, 0, :, :, 0].numel() // _LINES)
    sums = torch.zeros(groups, 2, dtype=torch.float64)
    first, step = int64([s.start for s in where]), int64([s.step or 1 for s in where])
    given = (
        moving, fixed, seen, body.contiguous(), int64(moving.shape[:3]), int64(fixed.shape[:3]), moving.shape[3], first,
        step, int64(field.shape[2:]), field, torch.tensor(size), float(outlier or 0), slope, sums, _LINES,
    )  # fmt: skip
    shared(groups, 1, lambda *part: call("jssr_apart", *given, *part))
    value, total = sums.sum(dim=0).tolist()
    return torch.tensor(value / max(total, 1.0)), slope.div_(max(total, 1.0))


def mind_ssc(
    around: Tensor, dilation: int, pairs: tuple[Sequence[int], Sequence[int], Sequence[int]],
    rows: Tensor | None = None, factor: float = 1.0,
) -> Tensor:  # fmt: skip
    """`losses.mind.mind_ssc` in 3D, with patches of 3 voxels.

    Args:
        around: the image (1, 1, *spatial) with 2 * dilation more voxels on every side.
        pairs: six directions from patch to patch, the direction of each of the 12 channels, and its first patch.
        rows: (*spatial, lanes) float16 to write the channels into, times `factor`.

    Returns:
        (1, 12, *spatial), or `rows`.
    """
    around = around.contiguous()
    shape = [s - 4 * dilation for s in around.shape[2:]]
    out = torch.empty(1, 12, *shape) if rows is None else None
    lanes = 0 if rows is None else rows.shape[3]
    sums = torch.empty(shape[0], dtype=torch.float64)

    def made(middle: float) -> None:
        given = around, int64(shape), dilation, *map(int64, pairs), middle, sums, out, rows, lanes, float(factor)
        shared(shape[0], _PLANES, lambda *part: call("jssr_mind", *given, *part))

    made(-1.0)
    made(float(sums.sum()) / (shape[0] * shape[1] * shape[2]))
    return rows if out is None else out  # type: ignore[return-value]


def costs(
    fixed: Tensor, moving: Tensor, masks: tuple[Tensor, Tensor], offsets: Tensor, stride: int, pool: int, usual: float,
    weight: Tensor,
) -> Tensor:  # fmt: skip
    """The costs of `systems.discrete`: (labels, *cells).

    Args:
        fixed: features (C, *shape), every `stride`-th voxel along each axis; moving: (C, *spatial), every voxel.
        masks: of the fixed image (*shape) and of the moving one (*spatial).
        offsets: (labels, 3), where in the moving image the fixed image's first voxel is looked for.
        pool: voxels along each side of a cell, of `fixed`.
        usual: the cost of what is looked for where the moving image has no data.
        weight: (*cells), the mean of the fixed image's mask in each.
    """
    moving, seen = _parted(moving, stride), _parted(masks[1][None], stride)
    out = torch.empty(len(offsets), *weight.shape)
    there = int64([*moving.shape[1:3], moving.shape[4]])
    given = (
        fixed.contiguous(), moving, masks[0].contiguous(), seen, int64(fixed.shape[1:]), there, len(fixed), stride,
        offsets.long().contiguous(), len(offsets), pool, float(usual), weight.contiguous(), out,
    )  # fmt: skip
    shared(weight.shape[0], 1, lambda *part: call("jssr_costs", *given, *part))
    return out


def least(costs: Tensor, labels: Tensor, v: Tensor, theta: float) -> Tensor:
    """For each cell the label d with the least costs + theta * (|d|^2 - 2 d . v), the first of equals, (cells,).

    Args:
        costs: (labels, cells); labels: (labels, 3); v: (3, cells).
    """
    labels = labels.float().contiguous()
    found = torch.empty(costs.shape[1], dtype=torch.int64)
    square = labels.square().sum(dim=1)
    given = costs.contiguous(), labels, square, len(labels), costs.shape[1], v.contiguous(), float(theta), found
    shared(costs.shape[1], 1024, lambda *part: call("jssr_least", *given, *part))
    return found


def filtered(image: Tensor, weights: Sequence[float], axis: int) -> Tensor:
    """An image (1, C, *spatial) filtered along an axis of the tensor by a symmetric kernel, the border repeated.

    Args:
        weights: from the kernel's middle outwards.
    """
    image = image.contiguous()
    out, length = torch.empty_like(image), image.shape[axis]
    inner = image[(0,) * (axis + 1)].numel()
    given = image, length, inner, torch.tensor(weights, dtype=torch.float32), len(weights) - 1, out
    size = inner if inner > 1 else length
    shared(image.numel() // size, max(1, 65536 // size), lambda *part: call("jssr_filter", *given, *part))
    return out


def pooled(image: Tensor, size: int, ceil_mode: bool) -> Tensor:
    """`core.field.pooled` of an image (1, C, *spatial)."""
    image = image.contiguous()
    made = [-(-s // size) if ceil_mode else s // size for s in image.shape[2:]]
    out = torch.empty(1, image.shape[1], *made)
    given = image, int64(image.shape[2:]), size, int64(made), out
    planes = image.shape[1] * made[0]
    least = max(1, 32768 // max(1, image[0, 0, 0].numel() * size))
    shared(planes, least, lambda *part: call("jssr_pool", *given, *part))
    return out


def determinant(u: Tensor) -> Tensor:
    """`core.field.jacobian_determinant` of a field (1, 3, *spatial), two voxels along each axis at least."""
    u, made = u.contiguous(), [s - 1 for s in u.shape[2:]]
    out = torch.empty(1, *made)
    given = u, int64(u.shape[2:]), out
    shared(made[0] * made[1], 64, lambda *part: call("jssr_determinant", *given, *part))
    return out


def _parted(image: Tensor, stride: int) -> Tensor:
    """(C, x, y, z) as (C, x, y, stride, z / stride): voxels that are compared side by side lie side by side."""
    more = -image.shape[3] % stride
    image = torch.nn.functional.pad(image, (0, more))
    return image.unflatten(3, (-1, stride)).transpose(3, 4).contiguous()


def int64(numbers: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    """Whole numbers as the loops take them."""
    return (ctypes.c_int64 * len(numbers))(*numbers)


def call(name: str, *arguments: object) -> None:
    """Call a loop: whole numbers as int64, others as float, arrays by where they begin."""
    function = getattr(library(), name)
    if function(*[_AS.get(type(a), _as_it_is)(a) for a in arguments]):
        raise MemoryError(f"{name}: expected room for its scratch, got none: close other programs")


def _as_it_is(value: object) -> object:
    return value


def _begin(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


_AS: dict[type, Callable[[Any], object]] = {
    Tensor: _begin, torch.nn.Parameter: _begin, int: ctypes.c_int64, float: ctypes.c_float,
}  # fmt: skip


def shared(count: int, least: int, part: Callable[[int, int], object]) -> None:
    """Do `part(begin, end)` for all of 0 .. count, on as many threads as torch has; parts of `least` at least."""
    threads = min(torch.get_num_threads(), max(1, count // least))
    if threads == 1:
        part(0, count)
        return
    parts = min(threads * _PARTS, max(1, count // least))
    edges = [count * k // parts for k in range(parts + 1)]
    for done in [_pool(threads).submit(part, a, b) for a, b in zip(edges, edges[1:], strict=False)]:
        done.result()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "kernels")


# A process that is forked has none of the threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
