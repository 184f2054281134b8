"""The GAN terms of JSSR, eq. (1), in the standard non-saturating form (the print lacks the `1 -`)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from jssr.core.precision import full_precision


@full_precision
def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-E log D(y) - E log(1 - D(G(x, y))), from logits."""
    return F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()


@full_precision
def generator_loss(fake: Tensor) -> Tensor:
    """-E log D(G(x, y)), from logits."""
    return F.softplus(-fake.float()).mean()
