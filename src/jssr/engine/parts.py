"""One piece per structure: what a segmentor says of a part far from the organ is taken back."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

__all__ = ["largest_parts"]


def largest_parts(probabilities: Tensor) -> Tensor:
    """Give every piece of a structure but its largest (by faces) to the background, as nnU-Net does after training.

    Each structure that the recipes know is one piece of tissue. A scan that shows more of the body than the training
    data did brings blobs in places the segmentor has never seen, a bladder called liver for example.

    Args:
        probabilities: (1, K, *spatial), class 0 the background.

    Returns:
        The same shape; a new tensor.
    """
    out = probabilities.clone()
    classes = probabilities[0].argmax(dim=0).numpy()
    for k in range(1, probabilities.shape[1]):
        pieces, count = ndimage.label(classes == k)
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            stray = torch.from_numpy((pieces > 0) & (pieces != sizes.argmax()))
            out[0, 0][stray] += out[0, k][stray]
            out[0, k][stray] = 0
    return out
