"""Pictures painted from tissue maps."""

import numpy as np
import pytest
import torch

from jssr.phantom.regions import Tissue
from jssr.training import painting
from jssr.training.painting import Painter, class_table

SIZE = (32, 32, 16)


def block() -> torch.Tensor:
    """Muscle in air, with a liver on the right (low x) and a spleen on the left."""
    body = torch.zeros(60, 60, 60, dtype=torch.uint8)
    body[10:50, 10:50] = int(Tissue.MUSCLE)
    body[14:28, 20:40, 20:40] = int(Tissue.LIVER)
    body[34:46, 20:40, 20:40] = int(Tissue.SPLEEN)
    return body


def painter(seed: int = 0, **more) -> Painter:
    return Painter([block()], 3.0, SIZE, (4.0, 4.0, 6.0), seed, **more)


def test_a_seed_gives_one_picture():
    first, again, other = painter(5).draw(), painter(5).draw(), painter(6).draw()
    assert torch.equal(first.image, again.image) and torch.equal(first.codes, again.codes)
    assert first.image.shape != other.image.shape or not torch.equal(first.image, other.image)


def test_pictures_are_finite_within_one_and_as_large_as_their_codes():
    for seed in range(25):
        drawn = painter(seed).draw()
        assert torch.isfinite(drawn.image).all() and drawn.image.abs().max() <= 1
        assert drawn.image.shape == (1, 1, *drawn.codes.shape)
        assert drawn.codes.max() < 72


def test_right_stays_right_and_codes_are_those_of_the_body():
    drawn = painter(1)
    for _ in range(8):
        drawn._rotation = lambda: torch.eye(3)  # a patient on the belly is rare, and would be on the other side
        codes = drawn.place(SIZE)
        assert set(codes.unique().tolist()) <= {
            int(t) for t in (Tissue.AIR, Tissue.MUSCLE, Tissue.LIVER, Tissue.SPLEEN)
        }
        liver, spleen = ((codes == int(t)).nonzero() for t in (Tissue.LIVER, Tissue.SPLEEN))
        if len(liver) and len(spleen):
            assert liver[:, 0].float().mean() < spleen[:, 0].float().mean()


def test_a_ct_shows_the_tissues_at_their_hounsfield_units():
    one = painter(3)
    codes = torch.full(SIZE, int(Tissue.FAT_VISCERAL))
    codes[:16] = int(Tissue.MUSCLE)
    muscle, fat = (200 * float(one.ct(codes)[half].mean()) for half in (slice(0, 14), slice(18, 32)))
    assert 20 < muscle < 110 and -140 < fat < -60


def test_contrast_is_drawn_anew():
    """Muscle is brighter than the liver in some pictures, and darker in others."""
    one = painter(7)
    codes = torch.full(SIZE, int(Tissue.MUSCLE))
    codes[:16] = int(Tissue.LIVER)
    brighter = [bool(one.paint(codes)[0][:14].mean() > one.paint(codes)[0][18:].mean()) for _ in range(30)]
    assert 4 < sum(brighter) < 27


def test_the_share_of_pictures_without_a_body(monkeypatch):
    drawn = [painter(seed).draw() for seed in range(60)]
    assert 1 <= sum(d.foreign for d in drawn) <= 15
    monkeypatch.setattr(painting, "FOREIGN_SHARE", 0.0)
    assert not any(painter(seed).draw().foreign for seed in range(20))


def test_a_focus_brings_two_thirds_of_the_pictures_to_a_height():
    tall = torch.zeros(40, 40, 400, dtype=torch.uint8)
    tall[:, :, :] = torch.arange(400).div(8, rounding_mode="floor").to(torch.uint8)  # the code tells the height
    one = Painter([tall], 3.0, (16, 16, 8), (3.0, 3.0, 3.0), 0, focus=(900.0, 910.0))
    one._rotation = lambda: torch.eye(3)
    heights = np.array([float(one.place((16, 16, 8)).median()) * 24 for _ in range(60)])
    assert 0.5 < np.mean(np.abs(heights - 905) < 60) < 0.9


def test_class_table_numbers_structures_and_merges_what_counts_to_another():
    table = class_table(("liver", "bowel"), {"liver": 1, "bowel": 11, "rectum": 21, "spleen": 2}, {"rectum": "bowel"})
    assert [int(table[v]) for v in (1, 11, 21, 2, 0)] == [1, 2, 2, 0, 0]
    with pytest.raises(ValueError, match="is not in"):
        class_table(("liver",), {"bowel": 11, "rectum": 21}, {"rectum": "bowell"})
