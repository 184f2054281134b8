"""What is drawn for a step of training, as a function of the seed and the step alone."""

from __future__ import annotations

import numpy as np
import torch


def generator_of(*numbers: int) -> torch.Generator:
    """A generator whose state mixes all the numbers well."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def whose_turn(seed: int, stream: int, index: int, count: int) -> int:
    """One of `count`: each round through all is in an order of its own."""
    order = torch.randperm(count, generator=generator_of(seed, stream, index // count))
    return int(order[index % count])
