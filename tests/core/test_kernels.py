"""The compiled loops do what the same functions do with torch."""

import math
import os
import shutil
import subprocess
import sys

import pytest
import torch

from jssr.core import field as ff
from jssr.core import kernels, voxel_kernels
from jssr.core.bspline import ControlGrid
from jssr.losses.features import FeatureDistance, Rows
from jssr.losses.mind import mind_ssc, mind_ssc_rows
from jssr.losses.similarity import box_mean
from jssr.registration.control_points import Lattices, Terms, apart, roughness
from jssr.registration.full_size import continued
from jssr.systems import discrete

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="the loops are not compiled")
SHAPE = (21, 17, 14)


@pytest.fixture
def both(monkeypatch):
    """What a function gives with the loops and without."""

    def run(function):
        compiled = function()
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "library", lambda: None)
            return compiled, function()

    return run


@pytest.fixture
def libraries_of(monkeypatch, tmp_path):
    """Has the loops taken from copies of the sources and built libraries, another digest in place of theirs."""
    digest = kernels.library().jssr_source()

    def of(other):
        for source in kernels._HERE.glob("*.[ch]"):
            shutil.copy(source, tmp_path)
        for built in kernels._HERE.glob("libkernels*.so"):
            held = built.read_bytes()
            assert digest in held and len(other or digest) == len(digest)
            (tmp_path / built.name).write_bytes(held.replace(digest, other or digest))
        monkeypatch.setattr(kernels, "_HERE", tmp_path)
        kernels.library.cache_clear()

    yield of
    kernels.library.cache_clear()


def test_loops_of_an_older_source_are_not_called(libraries_of):
    libraries_of(b"0" * 64)
    assert kernels.library() is None and kernels.variant() == "torch"
    ramp, u = torch.arange(4.0).view(1, 1, 4, 1, 1), torch.zeros(1, 3, 4, 1, 1)
    u[:, 0] = 0.25
    assert not kernels.usable(ramp, u)
    assert ff.warp(ramp, u).flatten().tolist() == pytest.approx([0.25, 1.25, 2.25, 3.0], abs=1e-6)


def test_copies_of_this_source_are_called(libraries_of):
    libraries_of(None)
    assert kernels.variant() != "torch"
    assert kernels.library()._name.startswith(str(kernels._HERE))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libraries of Linux")
def test_a_cut_library_is_not_loaded(tmp_path):
    built = next(kernels._HERE.glob("libkernels*.so"))
    held = built.read_bytes()
    for size in (len(held), len(held) - 1, len(held) // 2, 100):
        (tmp_path / "cut.so").write_bytes(held[:size])
        assert kernels._is_whole(tmp_path / "cut.so") == (size == len(held))
    (tmp_path / "cut.so").write_bytes(b"")
    assert kernels._is_whole(tmp_path / "cut.so")  # the loader refuses what is no library


def _random(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def _close(found, tolerance=1e-5):
    torch.testing.assert_close(*found, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("shape", [SHAPE, (1, 9, 8), (6, 1, 5)])
def test_images_are_read_alike_within_and_beyond_the_border(both, padding, shape):
    image, u = _random(1, 3, *shape), _random(1, 3, *shape, seed=1, scale=4.0)
    _close(both(lambda: ff.warp(image, u, padding=padding)), 2e-5)
    at = ff.identity(shape)[:, :, :, ::2] + _random(1, 3, *shape, seed=2)[:, :, :, ::2]
    _close(both(lambda: ff.sample(image, at, padding=padding)), 2e-5)


def test_a_point_half_a_voxel_beyond_the_border_reads_half_where_zeros_are_beyond():
    at = torch.tensor([-0.5, 2.0, 2.0]).view(1, 3, 1, 1, 1)
    assert float(kernels.sample(torch.ones(1, 1, 5, 5, 5), at, zeros=True)) == 0.5
    assert float(kernels.sample(torch.ones(1, 1, 5, 5, 5), at)) == 1.0


def test_what_is_no_number_reads_the_border():
    at = torch.full((1, 3, 1, 1, 2), math.nan)
    assert kernels.sample(torch.ones(1, 1, 4, 4, 4), at).tolist() == [[[[[1.0, 1.0]]]]]


@pytest.mark.parametrize("turn", [False, True])
def test_inverses_lead_back(turn):
    u = ff.smooth(_random(1, 3, *SHAPE, scale=6.0), 3.0)
    goal, linear = ff.identity(SHAPE), torch.eye(3) * 0.9 if turn else None
    found = kernels.solve_inverse(u, goal, goal, linear, 0.8, 1e-3, 60)
    assert (found + ff.sample(u, found) - goal).abs().max() < 1.5e-3


@pytest.mark.parametrize("dilation", [1, 2])
def test_self_similarities_are_alike(both, dilation):
    image = ff.smooth(_random(1, 1, *SHAPE), 1.0)
    image[:, :, :6] = 0.3  # flat: the mean of its distances is held
    _close(both(lambda: mind_ssc(image, dilation)), 3e-6)
    rows = torch.zeros(*SHAPE, 16, dtype=torch.float16)
    mind_ssc_rows(image, rows, 2.0, dilation)
    torch.testing.assert_close(
        rows[..., :12], 2 * mind_ssc(image, dilation)[0].movedim(0, -1).half(), rtol=0, atol=2e-3
    )
    assert not rows[..., 12:].any()


@pytest.mark.parametrize("outlier", [None, 2.0])
@pytest.mark.parametrize("pool", [1, 2])
def test_distances_and_their_slopes_are_alike(both, outlier, pool):
    moving, fixed = (torch.rand(*SHAPE, 16, generator=torch.Generator().manual_seed(k)).half() for k in (0, 1))
    body, seen = (_random(1, 1, *SHAPE, seed=k) > -1 for k in (2, 3))
    features = FeatureDistance(moving, fixed, outlier)
    assert features.compiled
    terms = Terms(body.float(), Rows(seen.float()), (1.5, 1.0, 2.5), features, pool=pool)
    points = Lattices(terms.body, 600).draw()
    u = _random(1, 3, *points.shape, seed=4, scale=2.0)
    one = apart(terms, points, u)
    features.compiled = False
    other = apart(terms, points, u)
    assert float(one.value) == pytest.approx(float(other.value), rel=1e-5)
    torch.testing.assert_close(one.slope, other.slope, rtol=1e-4, atol=1e-7)
    assert one.slope.any()


@pytest.mark.parametrize("spacing", [(2.0, 3.5, 4.0), (20.0, 1.0, 5.2)])
def test_splines_are_read_alike_and_back(both, spacing):
    grid = ControlGrid(SHAPE, spacing)
    control = _random(1, 3, *grid.counts)
    # The last voxel lies on a control point along some axes, where the fourth of its weights is of none.
    positions = [torch.tensor([0.0, 0.5, 7.25, s - 1.0]) for s in SHAPE]
    _close(both(lambda: grid.read(control, positions)), 2e-6)
    _close(both(lambda: grid.dense(control)), 2e-6)
    values = _random(1, 3, 4, 4, 4, seed=1)
    _close(both(lambda: grid.back(values, positions)), 2e-6)
    field = ff.smooth(_random(1, 3, *SHAPE), 2.0)
    _close(both(lambda: grid.dense(grid.fit(field))), 1e-4)


def test_one_control_point_spreads_over_its_neighbours():
    grid = ControlGrid((9, 9, 9), (2.0, 2.0, 2.0))
    control = grid.zeros(torch.zeros(1))
    control[0, 1, 3, 3, 3] = 27.0  # lies at voxel (4, 4, 4); its weight is 2/3 there, 1/6 a spacing away
    found = grid.read(control, [torch.tensor([4.0, 6.0, 8.0]), torch.tensor([4.0]), torch.tensor([2.0, 4.0])])
    expected = torch.tensor([[2.0, 8.0], [0.5, 2.0], [0.0, 0.0]])
    torch.testing.assert_close(found[0, 1, :, 0], expected)
    assert not found[0, 0].any() and not found[0, 2].any()
    back = grid.back(torch.ones(1, 3, 1, 1, 1), [torch.tensor([4.0])] * 3)
    assert float(back[0, 2, 3, 3, 3]) == pytest.approx(8 / 27)
    assert float(back.sum()) == pytest.approx(3.0)


@pytest.mark.parametrize("sliding", [False, True])
@pytest.mark.parametrize("counts", [(21, 5, 6), (4, 4, 9)])
def test_roughness_is_alike(both, sliding, counts):
    control = _random(1, 3, *counts)
    one, other = both(lambda: roughness(control, (4.0, 5.0, 6.5), sliding))
    assert float(one.value) == pytest.approx(float(other.value), rel=1e-5)
    torch.testing.assert_close(one.slope, other.slope, rtol=1e-4, atol=1e-8)


def test_fields_are_continued_alike(both):
    u, valid = _random(1, 3, *SHAPE), _random(1, 1, *SHAPE, seed=1) > 0
    _close(both(lambda: continued(u, valid)))


def test_a_voxel_that_is_not_valid_becomes_the_mean_around_it():
    u, valid = torch.zeros(1, 1, 5, 5, 5), torch.ones(1, 1, 5, 5, 5, dtype=torch.bool)
    u[..., 2, 2, 1], u[..., 0, 0, 1] = 27.0, 9.0
    valid[..., 2, 2, 2] = valid[..., 0, 0, 0] = False
    found = voxel_kernels.relaxed(u, valid, 1)
    assert float(found[..., 2, 2, 2]) == 1.0
    assert float(found[..., 0, 0, 0]) == pytest.approx(9.0 * 4 / 27)  # beyond both borders it is read four times
    found[..., 2, 2, 2] = found[..., 0, 0, 0] = 0.0
    assert torch.equal(found, u)


@pytest.mark.parametrize("level", discrete.LEVELS)
def test_costs_and_the_labels_that_follow_are_alike(both, level):
    features = (torch.rand(1, 12, *SHAPE, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    masks = ((_random(1, 1, *SHAPE, seed=k) > -1).float() for k in (2, 3))
    given = (*features, *masks, level)
    _close(both(lambda: discrete._costs(*given)[0]))
    cost, labels = discrete._costs(*given)
    v = _random(3, cost[0].numel(), seed=5)
    one, other = both(lambda: discrete._nearest(cost.flatten(1), labels, v, 0.3))
    assert torch.equal(one, other)
    assert len(one.unique()) > 5


@pytest.mark.parametrize("size", [3, 5])
def test_filters_are_alike(both, size):
    image = _random(1, 2, *SHAPE)
    _close(both(lambda: box_mean(image, size)))
    _close(both(lambda: ff.smooth(image, (1.5, 0.0, 4.0))))


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("size", [2, 4])
def test_blocks_are_averaged_alike(both, size, ceil_mode):
    image = _random(1, 3, *SHAPE)
    _close(both(lambda: ff.pooled(image, size, ceil_mode)))


def test_determinants_are_alike(both):
    u = _random(1, 3, *SHAPE)
    _close(both(lambda: ff.jacobian_determinant(u)), 2e-5)
    stretched = ff.identity(SHAPE) * torch.tensor([0.5, -0.25, 1.0]).view(1, 3, 1, 1, 1)
    torch.testing.assert_close(kernels.determinant(stretched), torch.full((1, 20, 16, 13), 1.5 * 0.75 * 2.0))


def test_threads_change_nothing():
    image, u = ff.smooth(_random(1, 1, 40, 40, 30), 1.0), _random(1, 3, 40, 40, 30, scale=3.0)
    grid, known = ControlGrid((40, 40, 30), (1.1, 2.0, 3.0)), _random(1, 1, 40, 40, 30, seed=2) > 0
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            kernels._pool.cache_clear()
            control = grid.fit(u)
            made = grid.dense(control), roughness(control, (2.0, 3.0, 4.0), True).slope, continued(u, known)
            found.append((ff.warp(image, u), mind_ssc(image), box_mean(u, 3), control, *made))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_gradients_batches_and_other_types_are_left_to_torch():
    image = torch.ones(1, 1, 4, 4, 4)
    assert kernels.usable(image)
    assert not kernels.usable(image.clone().requires_grad_())
    assert not kernels.usable(image.double())
    assert not kernels.usable(image.expand(2, 1, 4, 4, 4))
    assert not kernels.usable(image[0])


def test_a_result_tells_which_were_used(both):
    one, other = both(kernels.variant)
    assert one.startswith("compiled")
    assert other == "torch"


def test_they_can_be_turned_off():
    asked = "from jssr.core import kernels; print(kernels.library())"
    done = subprocess.run(
        [sys.executable, "-c", asked], env={**os.environ, kernels.OFF: "0"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None"
