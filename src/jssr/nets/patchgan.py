"""The 3D PatchGAN discriminator of Pix2Pix (Isola et al. 2017), for any input size.

Written out although MONAI has one: importing MONAI's networks costs several seconds at the start of every command.
"""

from __future__ import annotations

from torch import Tensor, nn

from jssr.nets.blocks import norm
from jssr.nets.convolutions import Conv3d


class PatchGAN(nn.Module):
    """One logit for each overlapping patch. The receptive field for `layers` 1, 2, 3 is 16, 34, 70 voxels.

    4^n convolutions: `layers` of stride 2 with doubling width, one of stride 1, and the head of stride 1. Instance
    normalisation after all but the first and the last, as batches are 1 here.

    Args:
        width: channels of the first convolution.
        layers: stride-2 convolutions.
        inputs: channels; Pix2Pix judges an image together with the one it was made of.
    """

    def __init__(self, width: int = 64, layers: int = 2, inputs: int = 1, dim: int = 3) -> None:
        super().__init__()
        kind = {2: nn.Conv2d, 3: Conv3d}[dim]
        body: list[nn.Module] = [kind(inputs, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for layer in range(1, layers + 1):
            before, after = width * 2 ** (layer - 1), width * 2**layer
            body += [kind(before, after, 4, stride=2 if layer < layers else 1, padding=1), norm(dim, after)]
            body.append(nn.LeakyReLU(0.2))
        body.append(kind(width * 2**layers, 1, 4, padding=1))
        self.net = nn.Sequential(*body)

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, *spatial), at least 2^(layers + 2) voxels along each axis, to patch logits, float32."""
        logits: Tensor = self.net(image)
        return logits.float()
