"""The register of two modalities that learns from each by itself: its terms, its tiles, and the paper's argument."""

import pytest
import torch

from jssr.core.field import identity, smooth, warp
from jssr.losses.similarity import l1, ncc
from jssr.losses.terms import laplacian
from jssr.systems import SYSTEMS
from jssr.systems.base import Batch

TINY = {"widths": [4, 4, 4]}


def make(M=None, **options):
    torch.manual_seed(0)
    return SYSTEMS["dual"]({"M": TINY if M is None else M}, options, 1)


class Says(torch.nn.Module):
    """A patch network that answers one displacement."""

    def __init__(self, *u):
        super().__init__()
        self.u = torch.nn.Parameter(torch.tensor(u).view(1, 3, 1, 1, 1))

    def forward(self, *images):
        return self.u.expand(images[0].shape[0], 3, *[s - 40 for s in images[0].shape[2:]])


def batch(size=48):
    x, y, xl, yl = torch.rand(4, 1, 1, size, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Batch(x, y, torch.ones_like(x), torch.ones_like(x), moving_like=xl, fixed_like=yl)


def middle(image):
    return image[..., 20:-20, 20:-20, 20:-20]


def test_the_terms_compare_each_modality_with_itself_in_the_middle():
    system, pair = make(), batch()
    system.M = Says(1.0, -2.0, 0.5)
    u = torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1, 1).expand(1, 3, 48, 48, 48)
    terms = system.losses(pair, "main")
    torch.testing.assert_close(terms["fixed_like"](), ncc(middle(pair.fixed), middle(warp(pair.moving_like, u))))
    torch.testing.assert_close(terms["moving_like"](), ncc(middle(pair.fixed_like), middle(warp(pair.moving, u))))
    torch.testing.assert_close(terms["direct"](), l1(middle(pair.fixed), middle(warp(pair.moving, u))))
    assert terms["size"]().item() == pytest.approx(1 + 4 + 0.25)
    assert terms["laplace"]() == 0


def test_the_laplacian_is_that_of_a_parabola():
    at = identity((6, 7, 8))
    u = torch.cat([at[:, :1] ** 2, at[:, 1:2] * at[:, 2:], 3 * at[:, 2:] ** 2 - at[:, :1] ** 2], dim=1)
    # Second derivatives by hand: 2; 0; 6 - 2.
    assert laplacian(u).item() == pytest.approx(2**2 + 0 + 4**2)


def test_ncc_is_that_of_numpy_and_ignores_gain():
    a, b = torch.rand(2, 1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    expected = 1 - torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
    torch.testing.assert_close(ncc(a[None], b[None]), expected, rtol=1e-4, atol=1e-5)
    assert ncc(a[None], 3 * a[None] + 1).item() == pytest.approx(0, abs=1e-4)
    mask = torch.zeros(1, 1, 6, 6, 6)
    mask[..., :3] = 1
    torch.testing.assert_close(ncc(a[None], b[None], mask), ncc(a[None][..., :3], b[None][..., :3]))


@pytest.mark.parametrize("tile", [12, 28, 60])
def test_tiles_leave_no_seam(tile):
    """Whatever the tiles, the field of a volume is that of one pass over it."""
    system = make(tile=tile).eval()
    torch.nn.init.normal_(system.M.last.weight, 0, 1)
    x, y = torch.rand(2, 1, 1, 30, 41, 35, generator=torch.Generator().manual_seed(2)) * 2 - 1
    tau = system.align(x, y, x, y).displacement
    assert tau.shape == (1, 3, 30, 41, 35)
    padded = [torch.nn.functional.pad(i, (20, 21, 20, 23, 20, 22), value=-1.0) for i in (y, x)]
    whole = system.M(*padded)[..., :30, :41, :35]
    torch.testing.assert_close(tau, whole, rtol=1e-3, atol=1e-4)


def test_a_network_of_whole_volumes_serves_as_well():
    system = make({"form": "unet", "encoder": [4, 4], "decoder": [4, 4], "head": [4]})
    pair = batch(16)
    assert system._field(pair).shape == (1, 3, 16, 16, 16)
    system.losses(pair, "main")["fixed_like"]().backward()
    assert any(p.grad is not None and p.grad.any() for p in system.M.parameters())
    assert system.align(pair.moving, pair.fixed, pair.moving, pair.fixed).displacement.shape == (1, 3, 16, 16, 16)
    with pytest.raises(ValueError, match="patch, unet or costs"):
        make({"form": "tree"})
    with pytest.raises(ValueError, match="multiple of 4"):
        make(tile=30)


def test_missing_paired_ground_truth_is_named():
    pair = batch()
    pair.moving_like = None
    with pytest.raises(ValueError, match="paired ground truth of the moving scan"):
        make().losses(pair, "main")["fixed_like"]()


def organ_pair(number, size=16):
    """One patient: an organ bright in CT and dark in MR, moved and grown between the scans. CT is fixed."""
    dice = torch.Generator().manual_seed(number)
    at = identity((size,) * 3) - (size - 1) / 2

    def state(centre, radius):
        inside = (((at - centre.view(1, 3, 1, 1, 1)) / radius) ** 2).sum(1, keepdim=True) < 1
        noise = 0.1 * torch.randn(2, 1, 1, size, size, size, generator=dice)
        ct, mr = torch.where(inside, 0.5, -0.5) + noise[0], torch.where(inside, -0.5, 0.5) + noise[1]
        return ct, mr, inside.float()

    centre = torch.rand(3, generator=dice) * 4 - 2
    radius = 3.5 + 2 * torch.rand((), generator=dice)
    y, y_like, p_y = state(centre, radius)
    x_like, x, p_x = state(centre + torch.rand(3, generator=dice) * 5 - 2.5, radius * 0.9)
    ones = torch.ones_like(x)
    return Batch(x, y, ones, ones, moving_like=x_like, fixed_like=y_like), p_x, p_y


def overlap(a, b):
    return float(2 * (a * b).sum() / (a.sum() + b.sum()))


def test_the_papers_argument():
    """Trained by each modality itself the overlap of unseen patients rises; by CT against MR it falls."""
    unseen = [organ_pair(1000 + k) for k in range(6)]
    before = sum(overlap(p_x, p_y) for _, p_x, p_y in unseen) / 6
    regular = {"laplace": 0.2, "size": 0.01}
    found = {}
    for name, weights in {"dual": {"fixed_like": 0.5, "moving_like": 0.5}, "direct": {"direct": 1.0}}.items():
        system = make({"form": "unet", "encoder": [8, 16, 16], "decoder": [16, 16, 8], "head": [8]})
        adam = torch.optim.Adam(system.M.parameters(), 4e-3)
        for step in range(80):
            pair, _, _ = organ_pair(step)
            terms = system.losses(pair, "main")
            loss = sum(weight * terms[term]() for term, weight in {**weights, **regular}.items())
            adam.zero_grad()
            loss.backward()
            adam.step()
        moved = [
            (warp(p_x, system.align(pair.moving, pair.fixed, p_x, p_y).displacement), p_y) for pair, p_x, p_y in unseen
        ]
        found[name] = sum(overlap(m, p_y) for m, p_y in moved) / 6
    assert found["dual"] > before + 0.08
    assert found["direct"] < before - 0.08


def test_a_register_that_sees_costs_finds_where_the_fixed_image_came_from():
    torch.manual_seed(0)
    system = SYSTEMS["dual"]({"M": {"form": "costs", "levels": [[2, 2, 1, 1], [1, 1, 2, 1]], "width": 4}}, {}, 0)
    moving = smooth(torch.randn(1, 1, 32, 28, 24), 2.0)
    shift = torch.zeros(1, 3, 32, 28, 24)
    shift[:, 2] = 2.0
    mask = torch.ones_like(moving)
    found = system.align(moving / moving.abs().max(), warp(moving, shift) / moving.abs().max(), mask, mask)
    assert float(found.displacement[:, 2, 6:-6, 6:-6, 6:-6].mean()) == pytest.approx(2.0, abs=0.5)
