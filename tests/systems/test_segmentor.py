"""The segmentor alone."""

import pytest
import torch
from torch import nn

from jssr.systems import SYSTEMS
from jssr.systems.segmentor import Segmentor


class Bright(nn.Module):
    """Class 1 where the image is positive; counts the voxels that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(image.shape[2:]))
        return torch.cat([-image, image], dim=1)


def test_tiles_cover_a_scan_and_agree_with_the_whole_where_a_voxel_decides():
    image = torch.randn(1, 1, 23, 16, 9, generator=torch.Generator().manual_seed(0))
    whole, tiled = Segmentor(Bright()), Segmentor(Bright(), (8, 16, 9))
    p, q = whole.segment(image), tiled.segment(image)
    assert torch.allclose(p, q, atol=1e-5) and torch.allclose(q.sum(dim=1), torch.ones(1, 23, 16, 9), atol=1e-5)
    assert whole.S.seen == [(23, 16, 9)]
    assert tiled.S.seen == [(8, 16, 9)] * 5  # begin at 0, 4, 8, 11, 15: neighbours share at least half
    small = Segmentor(Bright(), (24, 16, 9))
    small.segment(image)
    assert small.S.seen == [(23, 16, 9)]


def test_it_cannot_align():
    system = SYSTEMS["segmentor"]({"S": {"widths": [4, 4], "convs": [1, 1], "kernel": 3}}, {"tile": [16, 16, 16]}, 3)
    assert "displacement" not in system.outputs and system.tile == [16, 16, 16]
    image = torch.zeros(1, 1, 16, 16, 16)
    assert not system.align(image, image, image, image).displacement.any()
    with pytest.raises(TypeError):
        SYSTEMS["segmentor"]({"S": {}}, {"passes": 2}, 3)
