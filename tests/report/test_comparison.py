from io import BytesIO

import numpy as np
import torch
from PIL import Image

from jssr.core.grid import Grid
from jssr.core.transform import Affine, Displacement
from jssr.core.volume import Volume
from jssr.report.comparison import method_rows

GRID = Grid.of((24, 20, 16), (4.0, 4.0, 5.0))


def scan(shift):
    data = torch.full((1, *GRID.shape), -200.0)
    data[:, 6 + shift : 16 + shift, 5:15, 4:12] = 100.0
    return Volume(data, GRID), Volume((data > 0).to(torch.uint8), GRID, "labels")


def test_a_row_for_each_method_and_the_right_one_fits():
    (fixed, goal), (moving, labels) = scan(0), scan(3)
    u = torch.zeros(3, *GRID.shape)
    u[0] = 3.0
    maps = {"before": Affine.identity(), "right": Displacement(u, GRID)}
    picture = np.asarray(Image.open(BytesIO(method_rows(fixed, moving, maps, goal, labels, "axial", 120))))
    without = np.asarray(Image.open(BytesIO(method_rows(fixed, moving, maps, plane="axial", width=120))))
    assert picture.shape[0] % 2 == 0 and picture.shape[0] == without.shape[0]
    assert picture.shape[1] > without.shape[1]  # the column of outlines
    high = picture.shape[0] // 2
    orange = [
        (np.abs(row[..., :3].astype(int) - (255, 176, 32)).sum(axis=-1) < 30)[:, 2 * 126 : 3 * 126].sum()
        for row in (picture[:high], picture[high:])
    ]
    assert orange[0] > 50 and orange[1] == 0  # moved outlines lie on the fixed ones: white
