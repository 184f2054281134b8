"""Painted pairs and their truth."""

import numpy as np
import torch

from jssr.core import field as ff
from jssr.phantom.anatomy import mobility_table
from jssr.phantom.regions import Tissue
from jssr.training import painted_pairs
from jssr.training.painted_pairs import BREATH_MM, PairPainter

SIZE = (32, 32, 24)


def body() -> torch.Tensor:
    """Balls of liver in muscle."""
    axes = torch.meshgrid(*[torch.arange(80)] * 3, indexing="ij")
    where = torch.full((80, 80, 80), int(Tissue.MUSCLE), dtype=torch.uint8)
    balls = sum(((a % 16) - 8) ** 2 for a in axes) < 30
    where[balls] = int(Tissue.LIVER)
    return where


def painter(seed: int) -> PairPainter:
    return PairPainter([body()], 3.0, SIZE, (3.0, 3.0, 3.0), seed)


def test_a_seed_gives_one_pair():
    first, again = painter(4).draw_pair(), painter(4).draw_pair()
    assert torch.equal(first.moving, again.moving) and torch.equal(first.truth, again.truth)
    assert first.truth.shape == (1, 3, *SIZE) and first.mask.shape == first.fixed.shape == (1, 1, *SIZE)


def test_the_truth_takes_fixed_places_to_moving_ones():
    """Warped by the truth, the moving picture resembles the fixed one more than as it is, whatever their contrast."""
    better = 0
    for seed in range(6):
        made = painter(seed)
        made._cut = lambda image: image
        made.ct = lambda codes, *_: (codes == int(Tissue.LIVER)).float()
        made.paint = lambda codes, *_: ((codes == int(Tissue.LIVER)).float(), "ct")
        drawn = made.draw_pair()
        inside = drawn.mask > 0
        before, after = (
            (i - drawn.fixed)[inside].abs().mean() for i in (drawn.moving, ff.warp(drawn.moving, drawn.truth))
        )
        assert after < 0.2
        better += bool(after < before)
    assert better >= 5


def test_breath_moves_organs_and_not_bones_and_at_most_so_far(monkeypatch):
    table = mobility_table()
    assert table[Tissue.LIVER] == 1 and table[Tissue.VERTEBRA_MARROW] < 0.1
    made = painter(0)
    monkeypatch.setattr(painted_pairs, "SMOOTH_MM", (0.0, 0.0))
    codes = torch.full(SIZE, int(Tissue.VERTEBRA_MARROW))
    codes[:16] = int(Tissue.LIVER)
    moved = [3.0 * made._motion(codes)[0, 2] for _ in range(40)]
    apart = np.array([float((m[:10].mean() - m[22:].mean()).abs()) for m in moved])
    assert apart.max() <= BREATH_MM and apart.max() > 8
    assert all(float(m[22:].abs().max()) < 9 for m in moved)


def test_contrasts_differ_between_the_two():
    drawn = [painter(seed).draw_pair() for seed in range(8)]
    assert all(torch.isfinite(d.moving).all() and d.moving.abs().max() <= 1 for d in drawn)
    assert any(not torch.allclose(d.moving, d.fixed, atol=0.5) for d in drawn)


def test_hard_pairs_breathe_more_and_are_of_every_kind(monkeypatch):
    codes = torch.full(SIZE, int(Tissue.LIVER))
    easy, hard = ([_shift(seed, codes, harder) for seed in range(12)] for harder in (False, True))
    assert np.mean(hard) > 1.1 * np.mean(easy)
    asked = []

    def paint(self, tissue, structure=None, kind=None):
        asked.append(kind)
        return torch.zeros(tissue.shape), "mr"

    monkeypatch.setattr(PairPainter, "paint", paint)
    monkeypatch.setattr(painted_pairs, "CT_PAIRS", 0.0)
    for seed in range(12):
        PairPainter([body()], 3.0, SIZE, (3.0, 3.0, 3.0), seed, hard=True).draw_pair()
    assert len(asked) == 24 and {asked.count(kind) > 3 for kind in ("ct", "echo", "any")} == {True}
    asked.clear()
    painter(0).draw_pair()
    assert asked == [None, None]  # drawn by the shares of single pictures


def _shift(seed: int, codes: torch.Tensor, hard: bool) -> float:
    """The largest motion along the body, voxels."""
    return float(PairPainter([body()], 3.0, SIZE, (3.0, 3.0, 3.0), seed, hard=hard)._motion(codes)[0, 2].abs().max())
