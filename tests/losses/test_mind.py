import itertools

import numpy as np
import pytest
import torch

from jssr.losses.bins import Bins
from jssr.losses.mind import MacMIND, described, mind, mind_distance, mind_ssc


def _image(seed=0, shape=(14, 13, 12)):
    return torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(seed))


def _direct_ssc(image, at, dilation):
    """Patch distances of MIND-SSC at one interior voxel, straight from the definition."""
    steps = [np.array(s) * dilation for s in [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]]
    out = []
    for a, b in itertools.combinations(range(6), 2):
        if a // 2 == b // 2:
            continue
        squares = []
        for offset in itertools.product((-1, 0, 1), repeat=3):
            p, q = np.array(at) + steps[a] + offset, np.array(at) + steps[b] + offset
            squares.append((image[tuple(p)] - image[tuple(q)]) ** 2)
        out.append(np.mean(squares))
    return np.array(out)


def test_mind_ssc_is_its_definition_at_an_interior_voxel():
    image = _image()
    ours = mind_ssc(image, dilation=2)
    assert ours.shape == (1, 12, 14, 13, 12)
    distances = _direct_ssc(image[0, 0].double().numpy(), (7, 6, 6), 2)
    distances -= distances.min()
    np.testing.assert_allclose(ours[0, :, 7, 6, 6].numpy(), np.exp(-distances / distances.mean()), rtol=1e-4)


def test_descriptors_do_not_see_gain_offset_or_inversion():
    image = _image(1)
    for describe in (mind, mind_ssc):
        torch.testing.assert_close(describe(image), describe(5 - 3 * image), rtol=1e-3, atol=1e-4)


def test_descriptors_are_finite_on_a_flat_image():
    assert torch.isfinite(mind_ssc(torch.zeros(1, 1, 8, 8, 8))).all()


def test_mind_distance_sums_the_channels_and_counts_the_mask():
    a, b = _image(), _image(seed=3)
    apart = (mind_ssc(a) - mind_ssc(b)).square().sum(dim=1, keepdim=True)
    assert torch.allclose(mind_distance(a, b), apart.mean())
    mask = torch.zeros_like(apart)
    mask[..., :4] = 1
    assert torch.allclose(mind_distance(a, b, mask), apart[..., :4].mean())
    assert mind_distance(a, a) == 0


def test_described_is_within_two_voxels_of_what_is_brighter_than_air():
    image = torch.full((1, 1, 12, 11, 10), -1.0)
    image[0, 0, 5, 5, 5] = 0.2
    expected = torch.zeros_like(image)
    expected[0, 0, 3:8, 3:8, 3:8] = 1
    assert torch.equal(described(image), expected)


SMALL = MacMIND(distance=1, patch=3, weights=(0.7, 0.3), bins=Bins(support=3, angles=4, rings=2, slabs=3))


def _direct_similarity(image, at, distance, patch, weights):
    """Equations (8) to (10) at one voxel, patch by patch."""
    half = range(-(patch // 2), patch // 2 + 1)

    def cube(centre):
        return np.array([image[tuple(np.add(centre, o))] for o in itertools.product(half, repeat=3)])

    total = np.zeros(18)
    for k, weight in enumerate(weights, start=1):
        six = [np.add(at, np.array(s) * k * distance) for s in itertools.chain.from_iterable(
            [np.eye(3, dtype=int)[axis] * sign for sign in (-1, 1)] for axis in range(3))]  # fmt: skip
        pairs = [(at, neighbour) for neighbour in six]
        pairs += [(p, q) for p, q in itertools.combinations(six, 2) if np.count_nonzero(np.subtract(p, q)) == 2]
        ssd = np.array([np.mean((cube(p) - cube(q)) ** 2) for p, q in pairs])
        total += weight * np.exp(-len(pairs) * ssd / ssd.sum())
    return total


def test_macmind_is_equations_8_to_11_at_an_interior_voxel():
    image, at = _image(5, (13, 12, 11)), (6, 6, 5)
    exact = image[0, 0].double().numpy()
    # By hand: rings of radius 1 (with the centre) and sqrt(2) in the plane, each slab a slice.
    ring = {0: [(0, 0), (1, 0)], 1: [(0, 0), (0, 1)], 2: [(0, 0), (-1, 0)], 3: [(0, 0), (0, -1)]}
    corner = {0: [(1, -1)], 1: [(1, 1)], 2: [(-1, 1)], 3: [(-1, -1)]}
    expected = []
    for plane in [b for a in range(4) for b in (ring[a], corner[a])]:
        for height in (-1, 0, 1):
            places = [np.add(at, (*xy, height)) for xy in plane]
            expected.append(np.mean([_direct_similarity(exact, p, 1, 3, (0.7, 0.3)) for p in places], axis=0))
    expected = np.array(expected)  # (plane bins x slabs, 18)
    found = SMALL(image)[0, :, 6, 6, 5].view(18, 24).T  # sector, then ring, then slab
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-4, atol=1e-6)


def test_macmind_without_aggregation_is_its_similarity_with_the_papers_numbers():
    image = _image(2, (20, 20, 20))
    paper = MacMIND(bins=Bins(1, 1, 1, 1))
    assert (paper.distance, paper.patch, paper.weights, MacMIND().bins.count) == (2, 5, (0.7, 0.3), 48)
    torch.testing.assert_close(paper(image), paper.similarity(image))
    expected = _direct_similarity(image[0, 0].double().numpy(), (10, 10, 9), 2, 5, (0.7, 0.3))
    np.testing.assert_allclose(paper(image)[0, :, 10, 10, 9].numpy(), expected, rtol=1e-4)


def test_macmind_does_not_see_gain_offset_or_inversion_and_little_of_a_monotone_curve():
    image = torch.nn.functional.avg_pool3d(_image(1, (36, 36, 36)), 3)
    apart = MacMIND()
    torch.testing.assert_close(apart(image), apart(5 - 3 * image), rtol=1e-3, atol=1e-4)
    curved, moved = image**2, torch.roll(image, 2, dims=2)
    assert apart.distance_of(image, curved) < 0.1 * apart.distance_of(image, moved)


def test_macmind_distance_is_that_of_its_channels_with_its_gradient():
    a, b = (_image(seed, (9, 8, 7)).requires_grad_() for seed in (0, 3))
    mask = torch.rand(1, 1, 9, 8, 7, generator=torch.Generator().manual_seed(4)).round()
    far = SMALL.distance_of(a, b, mask)
    whole = ((SMALL(a) - SMALL(b)).square().sum(dim=1, keepdim=True) * mask).sum() / mask.sum()
    torch.testing.assert_close(far, whole)
    torch.testing.assert_close(torch.autograd.grad(far, [a, b]), torch.autograd.grad(whole, [a, b]))
    assert SMALL.distance_of(a, a) == 0


def test_macmind_of_a_batch_is_that_of_each():
    images = torch.cat([_image(0), _image(1)])
    torch.testing.assert_close(SMALL(images), torch.cat([SMALL(images[:1]), SMALL(images[1:])]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"patch": 4}, {"distance": 0}, {"weights": ()}])
def test_macmind_refuses_numbers_without_meaning(wrong):
    with pytest.raises(ValueError, match="macMIND needs"):
        MacMIND(**wrong)
