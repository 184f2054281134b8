"""The compiled loops of training give what torch gives in float64, and so do their gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from jssr.core import field as ff
from jssr.core import kernels
from jssr.core import training_kernels as loops

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="the loops are not compiled")
SHAPES = [(6, 5, 19), (4, 7, 8), (1, 3, 2)]


def _random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _agree(ours, theirs, *inputs, tolerance=1e-5):
    """Results and gradients of a function in float32 and of another one in float64 are the same."""
    found = []
    for function, kind in ((ours, torch.float32), (theirs, torch.float64)):
        given = [i.detach().to(kind, copy=True).requires_grad_() for i in inputs]
        made = function(*given)
        (made * torch.linspace(-1, 2, made.numel(), dtype=kind).view(made.shape)).sum().backward()
        found.append([made.detach().double(), *(i.grad.double() for i in given)])
    for ours_, theirs_ in zip(*found, strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=tolerance, atol=tolerance * float(theirs_.abs().max()))


@pytest.mark.parametrize("shape", SHAPES)
def test_warps(shape):
    image, u = _random(2, 3, *shape), 2 * _random(2, 3, *shape, seed=1)
    _agree(loops.warp, lambda i, f: ff.sample(i, ff.identity(shape).double() + f), image, u, tolerance=1e-4)


def test_a_warp_by_half_a_voxel_and_its_gradients_by_hand():
    image = torch.tensor([1.0, 3.0, 7.0]).view(1, 1, 1, 1, 3).requires_grad_()
    u = torch.zeros(1, 3, 1, 1, 3)
    u[0, 2, 0, 0] = torch.tensor([0.25, 0.5, 4.0])
    made = loops.warp(image, u.requires_grad_())
    assert made.flatten().tolist() == [1.5, 5.0, 7.0]
    made.sum().backward()
    assert image.grad.flatten().tolist() == [0.75, 0.25 + 0.5, 0.5 + 1]
    assert u.grad[0, 2].flatten().tolist() == [2.0, 4.0, 0.0]  # beyond the border nothing changes
    assert u.grad[0, :2].abs().max() == 0


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("size", [(12, 10, 38), (5, 13, 4), (6, 5, 19), (1, 1, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_resizing(shape, size, corners):
    theirs = lambda i: F.interpolate(i, size=size, mode="trilinear", align_corners=corners)  # noqa: E731
    _agree(lambda i: loops.resize(i, size, corners), theirs, _random(2, 3, *shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sloped", [False, True])
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("normed", [False, True])
def test_normalisation_with_what_is_beside_and_an_activation(normed, beside, sloped, shape):
    def ours(image, more, scale, shift, slope):
        by = (scale, shift) if normed else (None, None)
        return loops.activate(image, slope if sloped else None, *by, more if beside else None) + unused(
            more, scale, shift, slope
        )

    def theirs(image, more, scale, shift, slope):
        made = F.instance_norm(image, weight=scale, bias=shift, eps=1e-5) if normed else image
        made = made + more if beside else made
        return (F.prelu(made, slope) if sloped else made) + unused(more, scale, shift, slope)

    def unused(*tensors):  # so that each has a gradient
        return sum(t.sum() * 0 for t in tensors)

    image, more = 3 + _random(2, 3, *shape), _random(2, 3, *shape, seed=1)
    _agree(ours, theirs, image, more, *(_random(3, seed=k) for k in (2, 3, 4)), tolerance=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_two_layers_at_each_voxel(shape):
    def theirs(a, b, first, first_bias, slope, second, second_bias):
        hidden = F.prelu(F.conv3d(torch.cat([a, b], 1), first[..., None, None, None], first_bias), slope)
        return F.conv3d(hidden, second[..., None, None, None], second_bias)

    sizes = [(2, 3, *shape), (2, 1, *shape), (5, 4), (5,), (5,), (6, 5), (6,)]
    _agree(loops.head, theirs, *(_random(*size, seed=k) for k, size in enumerate(sizes)))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_shares_of_classes(shape, size):
    def theirs(logits):
        more = [n for s in reversed(shape) for n in (0, -s % size)]
        there = F.avg_pool3d(F.pad(torch.ones(1, 1, *shape, dtype=logits.dtype), more), size)
        return F.avg_pool3d(F.pad(logits.softmax(dim=1), more), size) / there

    _agree(lambda logits: loops.shares(logits, size), theirs, 4 * _random(2, 5, *shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_overlaps_of_classes_with_labels(shape):
    labels = torch.randint(0, 5, (2, 1, *shape), generator=torch.Generator().manual_seed(1))

    def theirs(logits):
        p, q = logits.softmax(dim=1).flatten(2), F.one_hot(labels.flatten(1), 5).transpose(1, 2).to(logits.dtype)
        cross = F.cross_entropy(logits, labels[:, 0], reduction="none").flatten(1).sum(dim=1, keepdim=True)
        return torch.cat([(p * q).sum(dim=2), p.square().sum(dim=2), q.sum(dim=2), cross], dim=1)

    def ours(logits):
        return torch.cat([part.reshape(2, -1) for part in loops.overlap(logits, labels)], dim=1)

    _agree(ours, theirs, 4 * _random(2, 5, *shape))


def test_an_overlap_by_hand():
    logits = torch.zeros(1, 2, 1, 1, 2, requires_grad=True)
    met, square, count, cross = loops.overlap(logits, torch.tensor([0, 1]).view(1, 1, 1, 1, 2))
    assert (met.tolist(), square.tolist(), count.tolist()) == ([[0.5, 0.5]], [[0.5, 0.5]], [[1.0, 1.0]])
    assert cross.item() == pytest.approx(2 * 0.693147, abs=1e-5)


def test_a_label_that_no_class_has_is_refused():
    with pytest.raises(ValueError, match="expected labels of 0 to 1, got 0 to 2"):
        loops.overlap(torch.zeros(1, 2, 1, 1, 3, requires_grad=True), torch.arange(3).view(1, 1, 1, 1, 3))


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 3), (5, 18), (4, 16)])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_convolutions(shape, inputs, outputs):
    x, g = _random(2, inputs, *shape), _random(2, outputs, *shape, seed=1)
    weight = _random(outputs, inputs, 3, 3, 3, seed=2).double().requires_grad_()
    x64 = x.double().requires_grad_()
    F.conv3d(x64, weight, padding=1).backward(g.double())
    found = loops.convolution_weights(g, x)
    torch.testing.assert_close(found.double(), weight.grad, rtol=1e-5, atol=1e-5 * float(weight.grad.abs().max()))
    found = loops.convolution_input(g, x.shape, weight.detach().float(), (1, 1, 1), (1, 1, 1))
    torch.testing.assert_close(found.double(), x64.grad, rtol=1e-5, atol=1e-5 * float(x64.grad.abs().max()))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (4, 2, 1), (4, 1, 1)])
def test_gradients_by_the_input_under_strides(kernel, stride, padding):
    x, weight = _random(2, 2, 9, 8, 11).double().requires_grad_(), _random(5, 2, kernel, kernel, kernel, seed=1)
    made = F.conv3d(x, weight.double(), stride=stride, padding=padding)
    g = _random(*made.shape, seed=2)
    made.backward(g.double())
    found = loops.convolution_input(g, x.shape, weight, (stride,) * 3, (padding,) * 3)
    torch.testing.assert_close(found.double(), x.grad, rtol=1e-5, atol=1e-5 * float(x.grad.abs().max()))


def test_the_same_on_one_thread_and_on_three():
    """No sum depends on the threads."""

    def step():
        image, u = _random(1, 6, 20, 24, 24).requires_grad_(), _random(1, 3, 20, 24, 24, seed=1).requires_grad_()
        layers = [_random(*s, seed=2).requires_grad_() for s in [(5, 12), (5,), (5,), (4, 5), (4,)]]
        made = loops.head(loops.warp(image, u), loops.activate(image, layers[0][0, :6]), *layers)
        sums = loops.overlap(made, torch.ones(1, 1, 20, 24, 24))
        torch.cat([part.flatten() for part in sums]).sum().backward()
        return [image.grad, u.grad, *(layer.grad for layer in layers), loops.convolution_weights(made, image).detach()]

    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(step())
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_only_what_the_loops_can_take():
    image = torch.zeros(1, 2, 3, 3, 3, requires_grad=True)
    assert loops.usable(image)
    assert not loops.usable(image.double())
    assert not loops.usable(image.detach())
    assert not loops.usable(image[0])
    assert not loops.usable(image.contiguous(memory_format=torch.channels_last_3d))
    with torch.no_grad():
        assert not loops.usable(image)
    with torch.autocast("cpu", torch.bfloat16):
        assert not loops.usable(image)


def test_gradients_of_gradients_are_refused():
    """The loops know first gradients alone: a penalty on gradients would silently lose its terms."""
    a = _random(1, 2, 5, 5, 5).requires_grad_()
    made = loops.activate(a, torch.full((2,), 0.2)).pow(3).sum()
    (g,) = torch.autograd.grad(made, a, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        (made + g.square().sum()).backward()
