import torch

from jssr.registration.full_size import largest_parts


def test_all_but_the_largest_piece_becomes_background():
    p = torch.zeros(1, 3, 8, 8, 8)
    p[:, 0] = 1.0
    for k, corner, size in ((1, 0, 4), (1, 6, 2), (2, 5, 1)):
        box = (0, slice(None), *[slice(corner, corner + size)] * 3)
        p[box] = 0.0
        p[(0, k, *box[2:])] = 0.75
        p[(0, 0, *box[2:])] = 0.25
    found = largest_parts(p, {1: 1, 2: 1})
    assert torch.allclose(found.sum(dim=1), torch.ones(1, 8, 8, 8))
    labels = found.argmax(dim=1)[0]
    assert (labels == 1).sum() == 64
    assert labels[6:, 6:, 6:].eq(0).all()
    assert labels[5, 5, 5] == 2
    assert p[0, 1, 7, 7, 7] == 0.75
    assert torch.equal(largest_parts(p, {2: 1}), p)
    assert torch.equal(largest_parts(p, {1: 2}), p)


def test_of_a_pair_of_organs_the_two_largest_pieces_are_kept():
    p = torch.zeros(1, 2, 12, 12)
    for corner, size in ((0, 3), (4, 2), (8, 4)):
        p[0, 1, corner : corner + size, :size] = 0.9
    p[0, 0] = 1 - p[0, 1]
    labels = largest_parts(p, {1: 2}).argmax(dim=1)[0]
    assert labels[:3].sum() == 9 and labels[8:].sum() == 16 and labels[4:6].sum() == 0


def test_one_piece_each_stays_as_it_is():
    p = torch.rand(1, 1, 4, 4, 4)
    both = torch.cat([p * 0, p + 0.1], dim=1)
    assert torch.equal(largest_parts(both, {1: 1}), both)
