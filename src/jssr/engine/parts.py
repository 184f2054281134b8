"""One piece per structure: what a segmentor says of a part far from the organ is taken back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

__all__ = ["largest_parts"]


def largest_parts(probabilities: Tensor, classes: Sequence[int]) -> Tensor:
    """Give every piece of some classes but the largest (by faces) to the background, as nnU-Net does after training.

    For organs that are one piece of tissue, as the recipe says (`one_piece`). A scan that shows more of the body than
    the training data did brings blobs in places the segmentor has never seen, a bladder called liver for example.

    Args:
        probabilities: (1, K, *spatial), class 0 the background.
        classes: those of one piece.

    Returns:
        The same shape; a new tensor.
    """
    out = probabilities.clone()
    labels = probabilities[0].argmax(dim=0).numpy()
    for k in classes:
        pieces, count = ndimage.label(labels == k)
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            stray = torch.from_numpy((pieces > 0) & (pieces != sizes.argmax()))
            out[0, 0][stray] += out[0, k][stray]
            out[0, k][stray] = 0
    return out
