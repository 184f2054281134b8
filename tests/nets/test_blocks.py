"""Layers that are faster than PyTorch's own on a CPU give what PyTorch's give, and the same gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core import kernels
from jssr.nets.blocks import InstanceNorm3d, PReLU, at_each_voxel, conv, normalised, upsample_to

LAST = torch.channels_last_3d


def features(batch: int, dtype: torch.dtype = torch.float32, last: bool = True) -> Tensor:
    values = torch.randn(batch, 6, 7, 8, 9, generator=torch.Generator().manual_seed(0)).to(dtype)
    return (values.contiguous(memory_format=LAST) if last else values).requires_grad_()


def both(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], image: Tensor) -> None:
    """The outputs, and the gradients of the image and of the weights, agree."""
    made, wanted = ours(image), theirs(image)
    tolerance = {"rtol": 1e-4, "atol": 2e-5} if image.dtype == torch.float32 else {"rtol": 0.02, "atol": 0.02}
    assert made.dtype == wanted.dtype
    torch.testing.assert_close(made, wanted, **tolerance)
    above = torch.randn(made.shape, generator=torch.Generator().manual_seed(1)).to(made.dtype)
    weights = [list(f.parameters()) if isinstance(f, nn.Module) else [] for f in (ours, theirs)]
    found = torch.autograd.grad(made, [image, *weights[0]], above)
    for one, other in zip(found, torch.autograd.grad(wanted, [image, *weights[1]], above), strict=True):
        torch.testing.assert_close(one, other, **tolerance)


@pytest.mark.parametrize("batch", [1, 2])
def test_instances_are_normalised_where_they_lie(batch):
    ours, theirs = InstanceNorm3d(6, affine=True), nn.InstanceNorm3d(6, affine=True)
    with torch.no_grad():
        for layer in (ours, theirs):
            layer.weight.copy_(torch.arange(6) / 3)
            layer.bias.copy_(torch.arange(6) - 2.0)
    image = features(batch)
    both(ours, theirs, image)
    assert ours(image).is_contiguous(memory_format=LAST) and not theirs(image).is_contiguous(memory_format=LAST)
    both(ours, theirs, features(batch, last=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prelu_and_the_gradient_of_its_slopes(dtype):
    ours, theirs = PReLU(6).to(dtype), nn.PReLU(6).to(dtype)
    with torch.no_grad():
        for layer in (ours, theirs):
            layer.weight.copy_(torch.tensor([-0.5, 0.0, 0.25, 0.5, 1.0, 2.0]))
    both(ours, theirs, features(2, dtype))
    with torch.no_grad():
        image = features(1, dtype)
        assert torch.equal(ours(image), theirs(image))


@pytest.mark.parametrize("size", [(14, 16, 18), (9, 8, 20), (3, 4, 5)])
def test_features_are_resized_by_products(size):
    def theirs(image: Tensor) -> Tensor:
        return F.interpolate(image, size=size, mode="trilinear")

    for image in (features(2), features(1, torch.bfloat16), features(2, last=False)):
        both(lambda image: upsample_to(image, size), theirs, image)


def test_a_field_is_resized_in_full_precision_under_autocast():
    field = features(1)
    with torch.autocast("cpu", torch.bfloat16):
        made = upsample_to(field, (14, 16, 18))
    torch.testing.assert_close(made, F.interpolate(field, size=(14, 16, 18), mode="trilinear"))


def test_large_volumes_are_normalised_as_exactly_as_small_ones():
    """PyTorch adds channels-last features up one by one in float32: 192^3 voxels of noise are off by 0.005."""
    image = torch.randn(1, 1, 96, 64, 64, generator=torch.Generator().manual_seed(0)) + 100
    exact = ((image - image.double().mean()) / image.double().std(correction=0)).float()
    last = image.expand(-1, 2, -1, -1, -1).contiguous(memory_format=LAST)
    torch.testing.assert_close(InstanceNorm3d(2)(last)[:, :1], exact, rtol=1e-3, atol=1e-4)


def test_one_slope_for_all_channels_and_a_second_gradient():
    ours, theirs = PReLU(), nn.PReLU()
    both(ours, theirs, features(2))
    image = features(1)
    first = [torch.autograd.grad(f(image).square().sum(), image, create_graph=True)[0] for f in (ours, theirs)]
    second = [torch.autograd.grad(one.square().sum(), image)[0] for one in first]
    torch.testing.assert_close(*second)


@pytest.mark.parametrize("activation", [PReLU(6), nn.LeakyReLU(0.2)])
def test_what_is_done_in_one_pass_is_what_the_layers_do(monkeypatch, activation):
    image, norm = features(2, last=False), InstanceNorm3d(6, affine=True)
    layers = nn.Sequential(conv(3, 12, 6, 1), activation, conv(3, 6, 4, 1))

    def made() -> tuple[Tensor, ...]:
        first = normalised(image, norm, activation)
        last = at_each_voxel(layers, normalised(first, norm, activation, image), first)
        return last.detach(), *torch.autograd.grad(last.square().sum(), [image, *layers.parameters()])

    found = made()
    monkeypatch.setattr(kernels, "library", lambda: None)
    for ours, theirs in zip(found, made(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
