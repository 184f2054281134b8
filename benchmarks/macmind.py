"""What macMIND costs at the paper's settings: `python benchmarks/macmind.py [--shape 128 128 96] [--threads 2]`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from jssr.cli.memory import keep_freed_memory
from jssr.io.provenance import peak_memory_mib
from jssr.losses.mind import MacMIND


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(128, 128, 96))
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(asked.threads)
    noise = torch.Generator().manual_seed(0)
    a, b = (torch.rand(1, 1, *asked.shape, generator=noise) for _ in range(2))
    macmind = MacMIND()
    seconds("warm", lambda: macmind.similarity(a[..., :16]))
    seconds("similarity of one image", lambda: macmind.similarity(a))
    moved = b.requires_grad_()
    distance = seconds("distance of two images, forward", lambda: macmind.distance_of(a, moved))
    seconds("the same, backward", distance.backward)
    print(f"peak memory, PyTorch included: {peak_memory_mib():.0f} MB")


def seconds(what: str, do: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Do it once and print how long it took."""
    start = time.perf_counter()
    done = do()
    if what != "warm":
        print(f"{what}: {time.perf_counter() - start:.2f} s")
    return done


if __name__ == "__main__":
    main()
