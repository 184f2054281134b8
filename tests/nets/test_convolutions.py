"""3D convolutions: on every path the results and gradients are torch's."""

from __future__ import annotations

import pytest
import torch

from jssr.nets import convolutions
from jssr.nets.convolutions import Conv3d

CASES = {
    "one small volume": ((1, 8, 6, 5, 7), 3, 1, 1),
    "an odd first axis": ((1, 8, 7, 4, 4), 3, 1, 1),
    "a stride": ((1, 9, 7, 6, 8), 3, 2, 1),
    "a stride that leaves voxels out": ((1, 8, 8, 6, 6), 3, 2, 0),
    "halves": ((1, 8, 6, 8, 4), 2, 2, 0),
    "a kernel of four": ((1, 8, 8, 6, 6), 4, 2, 1),
    "few channels": ((1, 2, 6, 5, 7), 3, 1, 1),
    "one voxel": ((2, 9, 4, 5, 3), 1, 1, 0),
    "two volumes": ((2, 16, 5, 6, 7), 3, 1, 1),
    "a large volume": ((1, 8, 24, 120, 3), 3, 1, 1),
    "thin": ((1, 8, 1, 5, 5), 3, 1, 1),
    "long lines": ((2, 5, 3, 4, 26), 3, 1, 1),
}


def gradients(layer, image):
    image = image.clone(memory_format=torch.preserve_format).requires_grad_()
    made = layer(image)
    (made * torch.linspace(-1, 1, made.numel()).view(made.shape)).sum().backward()
    found = [made.detach(), image.grad, *(p.grad for p in layer.parameters())]
    layer.zero_grad()
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("wide_vectors", [True, False], ids=["AVX512", "AVX2"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d], ids=["channels first", "last"])
@pytest.mark.parametrize("case", CASES)
def test_results_and_gradients_are_those_of_torch(monkeypatch, case, layout, wide_vectors, bias):
    monkeypatch.setattr(convolutions, "cpu_has_avx512", lambda: wide_vectors)
    shape, kernel, stride, padding = CASES[case]
    torch.manual_seed(0)
    ours = Conv3d(shape[1], 10, kernel, stride, padding, bias=bias).to(memory_format=layout)
    theirs = torch.nn.Conv3d(shape[1], 10, kernel, stride, padding, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    image = torch.randn(shape).to(memory_format=layout)
    for found, known in zip(gradients(ours, image), gradients(theirs, image.contiguous()), strict=True):
        torch.testing.assert_close(found, known, rtol=1e-4, atol=1e-4 * float(known.abs().max()))
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-5, atol=1e-5)


def test_what_needs_no_gradient_gets_none():
    layer, image = Conv3d(8, 8, 3, padding=1), torch.randn(1, 8, 5, 5, 5)
    layer.weight.requires_grad_(False)
    layer(image).sum().backward()
    assert layer.weight.grad is None and torch.allclose(layer.bias.grad, torch.full((8,), 125.0))
    layer.requires_grad_(False)
    layer(image.requires_grad_()).sum().backward()
    assert layer.weight.grad is None and image.grad is not None


@pytest.mark.parametrize("size", [4, 24])  # from 24 the loops take first gradients by the weights
def test_gradients_of_gradients(size):
    layer, image = Conv3d(8, 8, 3, padding=1), torch.randn(1, 8, 4, 4, size, requires_grad=True)
    plain = torch.nn.Conv3d(8, 8, 3, padding=1)
    plain.load_state_dict(layer.state_dict())
    found = []
    for one in (layer, plain):
        slopes = torch.autograd.grad(one(image).square().sum(), (image, one.weight), create_graph=True)
        found.append(torch.autograd.grad(sum(slope.square().sum() for slope in slopes), image)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4 * float(found[1].abs().max()))
