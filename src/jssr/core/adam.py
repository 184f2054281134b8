"""Adam (Kingma and Ba 2015) on one tensor: `torch.optim.Adam` takes 2 s to import, as long as an alignment."""

from __future__ import annotations

import torch
from torch import Tensor


class Adam:
    """Moves `parameter` in place, with `torch.optim.Adam`'s defaults; `rate` may be changed between steps."""

    def __init__(self, parameter: Tensor, rate: float) -> None:
        self.parameter, self.rate, self.count = parameter, rate, 0
        self.mean, self.square = torch.zeros_like(parameter), torch.zeros_like(parameter)

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """One step down a gradient of the parameter's shape."""
        self.count += 1
        self.mean.lerp_(gradient, 0.1)
        self.square.lerp_(gradient.square(), 0.001)
        size = (self.square / (1 - 0.999**self.count)).sqrt_().add_(1e-8)
        self.parameter.addcdiv_(self.mean, size, value=-self.rate / (1 - 0.9**self.count))
