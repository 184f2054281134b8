import itertools

import numpy as np
import torch

from jssr.losses.descriptors import described, mind, mind_distance, mind_ssc


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
