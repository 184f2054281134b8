"""The 3D PatchGAN discriminator of Pix2Pix (Isola et al. 2017), from MONAI, for any input size."""

from __future__ import annotations

from torch import Tensor, nn

from jssr.nets.blocks import pad_to_multiple

__all__ = ["PatchGAN"]


class PatchGAN(nn.Module):
    """One logit for each overlapping patch. The receptive field for `layers` 1, 2, 3 is 16, 34, 70 voxels.

    Args:
        width: channels of the first convolution; they double from layer to layer.
        layers: stride-2 convolutions.
    """

    def __init__(self, width: int = 64, layers: int = 2, dim: int = 3) -> None:
        from monai.networks.nets import PatchDiscriminator  # seconds to import, and only training needs it

        super().__init__()
        # Batch normalisation fails where one value a channel is left; batches are 1 here.
        self.net = PatchDiscriminator(
            spatial_dims=dim, channels=width, in_channels=1, num_layers_d=layers, norm=("instance", {"affine": True})
        )
        self.multiple = 2 ** (layers + 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, *spatial) to patch logits (B, 1, *smaller), float32."""
        padded, _ = pad_to_multiple(image, self.multiple)
        logits: Tensor = self.net(padded)[-1]
        return logits.float()
