"""What the machine computes fast in, and the memory layout that suits it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn


def device_type(accelerator: str) -> str:
    """The device ("cpu", "cuda", "mps") that an accelerator name of Lightning Fabric means on this machine."""
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        return "cuda"
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return "mps"
    return "cpu"


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies in bfloat16 (AVX512-BF16 or AMX). Elsewhere bf16 autocast is emulated and slow."""
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        if getattr(torch.cpu, name, bool)():
            return True
    if hasattr(torch.cpu, "_is_avx512_bf16_supported"):
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


@functools.cache
def cpu_has_avx512() -> bool:
    """Whether torch computes in vectors of 512 bits on this CPU."""
    return bool(torch.backends.cpu.get_cpu_capability() == "AVX512")


def choose_precision(requested: str, accelerator: str = "auto") -> str:
    """Resolve "auto" to "bf16-mixed" where the hardware computes in it, "16-mixed" on other NVIDIA GPUs, else
    "32-true". Anything else is returned as it is."""
    if requested != "auto":
        return requested
    device = device_type(accelerator)
    if device == "cuda":
        return "bf16-mixed" if torch.cuda.get_device_capability() >= (8, 0) else "16-mixed"
    return "bf16-mixed" if device == "cpu" and cpu_has_bf16() else "32-true"


def use_channels_last(module: nn.Module) -> None:
    """Store the weights of every convolution channels-last, in place; the activations follow them.

    Per convolution and not `module.to(memory_format=...)`, which fails on a system that has both 2D and 3D ones.
    """
    for part in module.modules():
        if isinstance(part, (nn.Conv3d, nn.ConvTranspose3d)):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last_3d)
        elif isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads of torch within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def deterministic_algorithms(deterministic: bool, strict: bool) -> Iterator[None]:
    """Deterministic algorithms within the block, if asked for; torch's settings are restored."""
    settings: Any = torch.utils.deterministic  # its switch is made at run time and unknown to type checkers
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, fill = torch.backends.cudnn.benchmark, settings.fill_uninitialized_memory
    # Weights are channels-last, and some CPU kernels give gradients that are not; harmless, and warned of on every run.
    warnings.filterwarnings("ignore", "grad and param do not obey the gradient layout contract")
    if deterministic:
        torch.use_deterministic_algorithms(True, warn_only=not strict)
        # It writes NaN into every new array first, to find code that reads it unset: time without use here.
        settings.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = not deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
        settings.fill_uninitialized_memory = fill
