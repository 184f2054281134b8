import pytest
import torch

from jssr.losses.bins import Bins


def test_the_papers_bins_in_the_plane():
    bins = Bins()
    assert bins.count == 48
    inner, outer = bins.plane[0], bins.plane[1]  # along the first axis
    assert sorted(inner) == [(2, 2), (3, 2)]
    assert outer == [(4, 2)]
    assert sorted(bins.plane[2]) == [(2, 2), (3, 3)]  # at 45 degrees
    assert sorted(bins.plane[3]) == [(3, 4), (4, 3), (4, 4)]
    assert bins.heights == [[0, 1], [2], [3, 4]]
    assert Bins(slabs=2).heights == [[0, 1, 2], [2, 3, 4]]  # the middle slice is on the border


def test_one_bin_is_the_mean_of_the_cube():
    image = torch.rand(2, 3, 6, 7, 5, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(image, [1] * 6, mode="replicate")
    torch.testing.assert_close(Bins(3, 1, 1, 1).means(image), torch.nn.functional.avg_pool3d(padded, 3, stride=1))


def test_a_bin_reads_where_it_lies():
    image = torch.zeros(1, 2, 9, 9, 9)
    image[0, 1, 6, 4, 5] = 1.0
    found = Bins().means(image)[0, 48:].view(8, 2, 3, 9, 9, 9)
    # The bright voxel is two along the first axis and one above: sector 0, outer ring, upper slab of two slices.
    assert found[:, :, :, 4, 4, 4].nonzero().tolist() == [[0, 1, 2]]
    assert found[0, 1, 2, 4, 4, 4] == 0.5


def test_energy_is_the_weighted_square_of_the_means_with_its_gradient():
    make = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, 9, 8, 7, generator=make, dtype=torch.float64).requires_grad_()
    weight = torch.rand(2, 1, 9, 8, 7, generator=make, dtype=torch.float64)
    bins = Bins()
    whole, energy = (bins.means(image).square() * weight).sum(), bins.energy(image, weight)
    torch.testing.assert_close(energy, whole)
    torch.testing.assert_close(*(torch.autograd.grad(3 * e, image)[0] for e in (energy, whole)))
    with torch.no_grad():
        torch.testing.assert_close(bins.energy(image, weight), whole)


@pytest.mark.parametrize("wrong", [{"support": 4}, {"support": 1}, {"slabs": 7}, {"rings": 9}, {"angles": 0}])
def test_bins_without_a_voxel_are_refused(wrong):
    with pytest.raises(ValueError, match="no voxel|at least 1"):
        Bins(**wrong)
