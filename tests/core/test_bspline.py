import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from jssr.core.bspline import ControlGrid, adjoint, evaluate


def test_weights_are_those_of_scipy_and_sum_to_one():
    grid = ControlGrid((20,), (4.5,))
    at = torch.tensor([0.0, 0.3, 4.5, 11.0, 19.0])
    (found,) = grid.weights([at])
    # Control point k lies at (k - 1) * 4.5; its basis function spans two spacings to each side.
    for k in range(grid.counts[0]):
        knots = (np.arange(5) - 2 + k - 1) * 4.5
        expected = np.nan_to_num(BSpline.basis_element(knots, extrapolate=False)(at.numpy().astype(float)))
        assert np.allclose(found[:, k].numpy(), expected, atol=1e-6)
    assert torch.allclose(found.sum(dim=1), torch.ones(5))


@pytest.mark.parametrize("shape", [(12, 9, 10), (14, 11)])
def test_a_linear_field_is_fitted_and_read_exactly(shape):
    grid = ControlGrid(shape, (3.0, 4.0, 2.5)[: len(shape)])
    axes = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in shape], indexing="ij")
    field = torch.stack([0.5 + 0.1 * axes[0] - 0.2 * axes[1]] * len(shape))[None]
    control = grid.fit(field)
    assert control.shape == (1, len(shape), *grid.counts)
    assert torch.allclose(grid.dense(control), field, atol=1e-4)


def test_the_adjoint_is_the_transposed_map():
    generator = torch.Generator().manual_seed(0)
    grid = ControlGrid((9, 8, 7), (2.0, 3.0, 4.0))
    weights = grid.weights([torch.tensor([0.0, 4.2, 8.0]), torch.arange(8.0), torch.tensor([1.5, 6.0])])
    control = torch.randn(1, 3, *grid.counts, generator=generator)
    values = torch.randn(1, 3, 3, 8, 2, generator=generator)
    left = (evaluate(control, weights) * values).sum()
    right = (control * adjoint(values, weights)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-4)
