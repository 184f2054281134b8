"""One piece for each structure, or two: what a segmentor says of a part far from the organ is taken back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

__all__ = ["largest_parts"]


def largest_parts(probabilities: Tensor, pieces: Mapping[int, int]) -> Tensor:
    """Give every piece (by faces) of some classes but the largest to the background, as nnU-Net does after training.

    For organs that are one piece of tissue or two, as the recipe says (`one_piece`, `two_pieces`). A scan that shows
    more of the body than the training data did brings blobs in places the segmentor has never seen, a bladder called
    liver for example.

    Args:
        probabilities: (1, K, *spatial), class 0 the background.
        pieces: class to the number of pieces that are kept.

    Returns:
        The same shape; a new tensor.
    """
    out = probabilities.clone()
    labels = probabilities[0].argmax(dim=0).numpy()
    for k, kept in pieces.items():
        found, count = ndimage.label(labels == k)
        if count > kept:
            sizes = np.bincount(found.ravel())
            sizes[0] = 0
            largest = np.argsort(-sizes, kind="stable")[:kept]
            stray = torch.from_numpy((found > 0) & ~np.isin(found, largest))
            out[0, 0][stray] += out[0, k][stray]
            out[0, k][stray] = 0
    return out
