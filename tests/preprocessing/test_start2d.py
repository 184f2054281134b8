import numpy as np
import pytest
import torch

from jssr.core.grid import Grid
from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.errors import ImageError
from jssr.preprocessing.prepare import prepare_image, prepare_pair
from jssr.preprocessing.start2d import from_start, grid_2d, placed, start_2d


def test_pictures_start_middle_to_middle_and_side_to_side():
    """Of 100 x 80 and 300 x 200 pixels: three pixels for one."""
    start = start_2d(Grid.of((100, 80)), Grid.of((300, 200)))
    assert start([49.5, 39.5]).tolist() == pytest.approx([149.5, 99.5])
    assert start([50.5, 39.5]).tolist() == pytest.approx([152.5, 99.5])


def test_known_spacings_are_kept():
    """100 x 0.5 mm onto 300 x 0.2 mm: a millimetre stays one; wherever the headers say that they lie."""
    fixed, moving = Grid.of((100, 80), 0.5, (7, 7)), Grid.of((300, 200), 0.2, (-900, 0))
    start = start_2d(fixed, moving)
    assert start(fixed.centre).tolist() == pytest.approx(moving.centre.tolist())
    assert (start(fixed.centre + 1) - start(fixed.centre)).tolist() == pytest.approx([1, 1])


def test_the_working_grid_is_square_and_holds_the_image():
    grid = grid_2d(Grid.of((100, 80), 2.0, (5, 9)), 50)
    assert grid.shape == (50, 50) and grid.spacing.tolist() == pytest.approx([4, 4])
    assert grid.centre.tolist() == pytest.approx([5 + 99, 9 + 79])


def radiograph(shape, spacing=1.0, top=200.0):
    """A bright disc of a quarter of the longer side, at a third of the way."""
    i, j = torch.meshgrid(*[torch.arange(float(s)) for s in shape], indexing="ij")
    side = max(shape)
    disc = ((i - shape[0] / 3) ** 2 + (j - shape[1] / 2) ** 2).sqrt() < side / 8
    return Volume((20 + disc * top)[None], Grid.of(shape, spacing))


def test_a_pair_of_pictures_of_different_size_comes_onto_one_grid():
    pair = prepare_pair(radiograph((100, 100)), radiograph((300, 300), top=5000.0), 1.0, None, pixels=64)
    assert pair.fixed.shape == pair.moving.shape == (1, 1, 64, 64)
    assert float((pair.fixed - pair.moving).abs().mean()) < 0.03  # the same picture at another size and brightness
    assert bool((pair.fixed_mask == 1).all()) and pair.rigid is None
    assert np.allclose(pair.start.matrix, pair.transform.matrix)


def test_what_does_not_fill_the_square_has_no_data():
    ready = prepare_image(radiograph((100, 50)), 1.0, None, pixels=32)
    assert ready.mask[0, 0].sum(dim=1).tolist() == [16] * 32
    assert bool((ready.image[ready.mask == 0] == -1).all())


def test_flat_and_solid_do_not_go_together():
    solid = Volume(torch.rand(1, 8, 8, 8), Grid.of((8, 8, 8)), name="solid")
    with pytest.raises(ImageError, match="solid .3D."):
        prepare_pair(radiograph((30, 30)), solid, 1.0, None)


def test_what_a_map_does_beyond_the_start():
    """Four times the pixels, turned over, somewhere else: the start alone is no deformation, five pixels more are."""
    fixed = Grid.of((20, 16), 1.0)
    moving = Grid.of((80, 64), 1.0, (300.0, -40.0), np.array([[-1.0, 0.0], [0.0, 1.0]]))
    start = start_2d(fixed, moving)
    whole = start.displacement(fixed)
    assert whole.u.abs().max() > 100
    assert from_start(whole, fixed, moving).u.abs().max() < 1e-3
    at = fixed.world(np.stack(np.meshgrid(np.arange(20), np.arange(16), indexing="ij"), axis=-1))
    further = Displacement.from_millimetres(start(at + np.array([5.0, 0.0])) - at, fixed)
    beyond = from_start(further, fixed, moving).u
    assert torch.allclose(beyond[0], torch.tensor(5.0), atol=1e-3) and beyond[1].abs().max() < 1e-3
    image = placed(Volume(torch.zeros(1, 80, 64), moving), fixed)
    np.testing.assert_allclose(image.grid.world([[0, 0], [79, 63]]), start.inverse()(moving.world([[0, 0], [79, 63]])))
    np.testing.assert_allclose(image.grid.centre, fixed.centre)
    solid = Grid.of((3, 3, 3))
    assert from_start(further, solid, solid) is further
