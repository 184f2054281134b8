import math

import numpy as np
import pytest
import torch

from jssr.core import field as ff
from jssr.recipes.augmentation import Deform
from jssr.training.deform import Deformation, deformed


def picture(size=96):
    i, j = torch.meshgrid(*[torch.arange(float(size))] * 2, indexing="ij")
    c = size / 2
    lungs = (((i - c * 0.6) / 14) ** 2 + ((j - c) / 24) ** 2 < 1) | (
        ((i - c * 1.4) / 12) ** 2 + ((j - c) / 22) ** 2 < 1
    )
    image = torch.sin(i / 9) + torch.cos(j / 7) + lungs
    return image[None, None], lungs.long()[None, None]


def test_a_shift_reads_from_further_on():
    image = torch.arange(25.0).view(1, 1, 5, 5)
    shifted = Deformation(torch.zeros(1, 2, 5, 5), 0.0, torch.tensor([1.0, 0.0])).apply(image)
    assert torch.equal(shifted[0, 0, :4], image[0, 0, 1:])
    assert not shifted[0, 0, 4].any()


def test_a_quarter_turn_is_numpys():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    turned = Deformation(torch.zeros(1, 2, 4, 4), math.pi / 2, torch.zeros(2)).apply(image)[0, 0].numpy()
    # (0, 0) is read at R (-1.5, -1.5) + c = (3, 0).
    np.testing.assert_allclose(turned, np.rot90(image[0, 0].numpy(), -1), atol=1e-4)


def test_a_zoom_magnifies_about_the_middle():
    """Five pixels, middle at 2: at a zoom of 2 they are read at 1, 1.5, 2, 2.5, 3."""
    image = torch.arange(5.0).view(1, 1, 5, 1).expand(1, 1, 5, 5)
    larger = Deformation(torch.zeros(1, 2, 5, 5), 0.0, torch.zeros(2), zoom=2.0).apply(image)
    torch.testing.assert_close(larger[0, 0, :, 2], torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0]))


@pytest.mark.parametrize("ranges", [{}, {"p_mild": 1.0, "mild_shift": (0, 20), "mild_zoom": 0.3}])
@pytest.mark.parametrize("seed", range(3))
def test_the_field_undoes_the_deformation(seed, ranges):
    """image(p) = deformed(p + u(p)), wherever p + u(p) is inside."""
    image, mask = picture()
    how = deformed(mask, Deform(**ranges), torch.Generator().manual_seed(seed))
    u = how.undone()
    back = ff.warp(how.apply(image), u)
    at = ff.identity(u.shape[2:]) + u
    inside = ((at > 2) & (at < 93)).all(dim=1)
    assert inside.float().mean() > 0.3
    assert float((back - image).abs()[:, 0][inside].mean()) < 0.04  # of a range of 5, interpolated twice


@pytest.mark.parametrize("seed", range(6))
def test_what_is_printed_is_kept_to(seed):
    """At 256 pixels: one axis is shifted by 25 to 40, turns are multiples of 5 from 20 to 180 degrees, masks overlap by
    less than 0.7."""
    mask = torch.nn.functional.interpolate(picture()[1].float(), size=(256, 256)).long()
    how = deformed(mask, Deform(), torch.Generator().manual_seed(seed))
    shift = how.shift.flatten().abs().tolist()
    assert min(shift) == 0 and 25 <= max(shift) <= 40
    angle = math.degrees(math.acos(float(how.linear[0, 0])))
    assert 20 - 0.1 <= angle <= 180.1 and angle / 5 == pytest.approx(round(angle / 5), abs=0.02)
    assert 1 <= how.bend.abs().max() <= 15
    moved = how.apply(mask.float(), "nearest") > 0
    assert 2 * (moved & (mask > 0)).sum() / (moved.sum() + (mask > 0).sum()) < 0.7
    assert (ff.jacobian_determinant(how.bend) > 0).all()


def test_lengths_scale_with_the_image():
    _, mask = picture(128)
    shifts = [deformed(mask, Deform(), torch.Generator().manual_seed(k)).shift.abs().max().item() for k in range(8)]
    assert min(shifts) >= 12.5 and max(shifts) <= 20


def test_mild_pairs_and_pairs_of_one_image():
    _, mask = picture(128)
    mild = [deformed(mask, Deform(p_mild=1.0), torch.Generator().manual_seed(k)) for k in range(8)]
    assert max(m.shift.abs().max().item() for m in mild) <= 6
    assert min(float(m.linear[0, 0]) for m in mild) >= math.cos(math.radians(10.1))
    zoomed = [deformed(mask, Deform(p_mild=1.0, mild_zoom=0.2), torch.Generator().manual_seed(k)) for k in range(8)]
    sizes = [float(m.inverse.det().sqrt()) for m in zoomed]
    assert math.exp(-0.2) <= min(sizes) < 0.95 and 1.05 < max(sizes) <= math.exp(0.2)
    same = deformed(mask, Deform(p_same=1.0), torch.Generator().manual_seed(0))
    assert not same.undone().any()
    torch.testing.assert_close(same.apply(mask.float()), mask.float(), atol=1e-4, rtol=0)


def test_what_cannot_overlap_less_is_taken_nevertheless():
    full = torch.ones(1, 1, 64, 64, dtype=torch.long)
    how = deformed(full, Deform(most_dice=0.01), torch.Generator().manual_seed(0))
    assert how.shift.abs().max() > 0


def test_the_generator_decides_everything():
    _, mask = picture()
    a, b, c = (deformed(mask, Deform(), torch.Generator().manual_seed(k)).undone() for k in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
