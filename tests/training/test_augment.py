from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from jssr.core import field as ff
from jssr.recipes.augmentation import Augment
from jssr.training import augment as aug
from jssr.training.augment import Dice, Scan, augment_pair, augment_single

NONE = {name: 0.0 for name in Augment.model_fields if name.startswith("p_")}
SHAPE = (20, 16, 12)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _scan(seed: int = 0) -> Scan:
    image = ff.smooth(torch.rand((1, 1, *SHAPE), generator=_generator(seed)) * 2 - 1, 1.0).clamp(-1, 1)
    return Scan(image, torch.ones(1, 1, *SHAPE), (image > 0).long())


def test_nothing_happens_at_probability_zero() -> None:
    a, b = _scan(0), _scan(1)
    x, y = augment_pair(a, b, Augment(**NONE), _generator())
    assert torch.equal(x.image, a.image) and torch.equal(y.image, b.image)
    assert torch.equal(x.mask, a.mask)


def test_the_same_generator_gives_the_same_and_inputs_stay() -> None:
    a, b = _scan(0), _scan(1)
    kept = a.image.clone()
    every = Augment(**dict.fromkeys(NONE, 1.0))
    first, second = (augment_pair(a, b, every, _generator(7)) for _ in range(2))
    assert torch.equal(first[0].image, second[0].image) and torch.equal(first[1].image, second[1].image)
    assert not torch.equal(first[0].image, augment_pair(a, b, every, _generator(8))[0].image)
    assert torch.equal(a.image, kept)


def test_both_scans_of_a_pair_move_alike() -> None:
    a = _scan()
    how = Augment(**{**NONE, "p_affine": 1.0, "p_elastic": 1.0})
    x, y = augment_pair(a, a, how, _generator(3))
    assert torch.equal(x.image, y.image) and torch.equal(x.mask, y.mask)
    assert (x.image - a.image).abs().mean() > 0.05


def test_the_moving_scan_can_move_alone() -> None:
    a = _scan()
    x, y = augment_pair(a, a, Augment(**{**NONE, "p_moving": 1.0}), _generator(3))
    assert torch.equal(y.image, a.image) and not torch.equal(x.image, a.image)


def test_labels_follow_the_image() -> None:
    image = ff.smooth(torch.randn((1, 1, *SHAPE), generator=_generator(5)), 2.5)
    image = (image / image.abs().max()).contiguous()
    scan = Scan(image, torch.ones_like(image), (image > 0).long())
    how = Augment(**{**NONE, "p_affine": 1.0, "p_elastic": 1.0, "elastic": 1.0})
    out = augment_single(scan, how, _generator(1))
    assert out.labels is not None and out.labels.dtype == torch.int64
    clear = (out.image.abs() > 0.15) & (out.mask > 0)  # near 0 nearest and linear may differ
    agree = ((out.image > 0) == (out.labels > 0))[clear].float().mean()
    assert agree > 0.97


def test_the_grid_is_the_motion_that_it_says() -> None:
    matrix = aug._matrix(3, [10.0, -20.0, 30.0], 1.1, mirror=False)
    motion = aug._Motion(torch.eye(3), torch.zeros(3)).then(matrix, [1.5, -2.0, 0.5])
    image = _scan().image
    centre = (torch.tensor(SHAPE) - 1.0).view(1, 3, 1, 1, 1) / 2
    p = ff.identity(SHAPE)
    at = (
        torch.einsum("ij,bj...->bi...", matrix, p - centre)
        + centre
        + torch.tensor([1.5, -2.0, 0.5]).view(1, 3, 1, 1, 1)
    )
    expected = ff.sample(image, at)
    inside = ((at > 0) & (at < torch.tensor(SHAPE).view(1, 3, 1, 1, 1) - 1)).all(dim=1, keepdim=True)
    got = torch.nn.functional.grid_sample(image, motion.grid(SHAPE), align_corners=True)
    torch.testing.assert_close(got[inside], expected[inside], atol=1e-4, rtol=0)


def test_a_quarter_turn_is_rot90() -> None:
    image = torch.rand((1, 1, 9, 9, 4), generator=_generator())
    motion = aug._Motion(aug._matrix(3, [0.0, 0.0, 90.0], 1.0, mirror=False), torch.zeros(3))
    out = aug._pull(Scan(image, torch.ones_like(image)), motion)
    # p -> R p with R e_x = e_y: what comes to (i, j) was at (8 - j, i).
    torch.testing.assert_close(out.image, torch.rot90(image, -1, (2, 3)), atol=1e-5, rtol=0)


def test_a_shift_reads_from_further_on_and_marks_what_is_missing() -> None:
    image = torch.rand((1, 1, *SHAPE), generator=_generator())
    motion = aug._Motion(torch.eye(3), torch.tensor([3.0, 0.0, 0.0]))
    out = aug._pull(Scan(image, torch.ones_like(image)), motion)
    torch.testing.assert_close(out.image[:, :, :-3], image[:, :, 3:], atol=1e-5, rtol=0)
    assert bool((out.mask[:, :, -3:] == 0).all()) and bool((out.image[:, :, -3:] == -1).all())


def test_mirror_turns_left_and_right() -> None:
    a = _scan()
    for seed in range(20):
        x, _ = augment_pair(a, a, Augment(**NONE, flip=True), _generator(seed))
        mirrored = torch.allclose(x.image, a.image.flip(2), atol=1e-5)
        assert mirrored or torch.equal(x.image, a.image)
        if mirrored:
            return
    pytest.fail("twenty draws and no mirror image")


def test_a_shortened_field_of_view_is_no_data() -> None:
    a = _scan()
    out = augment_single(a, Augment(**{**NONE, "p_cut": 1.0, "cut": 0.4}), _generator(2))
    gone = out.mask == 0
    assert 0 < gone.float().mean() < 0.8
    planes = out.mask[0, 0].flatten(0, 1)
    assert torch.equal(planes.amin(0), planes.amax(0))  # whole slices
    assert bool((out.image[gone] == -1).all()) and out.labels is not None and bool((out.labels[gone] == 0).all())
    assert torch.equal(out.image[~gone], a.image[~gone])


def test_the_grey_scale_is_bent_monotonously_and_keeps_its_ends() -> None:
    ramp = torch.linspace(-1, 1, 101).view(1, 1, 101, 1, 1)
    bent = False
    for seed in range(10):
        out = aug._remap(ramp, Augment(remap=1.0), Dice(_generator(seed))).flatten()
        assert float(out[0]) == pytest.approx(-1) and float(out[-1]) == pytest.approx(1, abs=1e-5)
        assert bool((out.diff() > 0).all())
        bent = bent or float((out - ramp.flatten()).abs().max()) > 0.2
    assert bent


def test_piecewise_linear_map_by_hand() -> None:
    curve = torch.tensor([-1.0, 0.5, 1.0])  # knots at -1, 0, 1
    out = aug._through(torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]), curve)
    torch.testing.assert_close(out, torch.tensor([-1.0, -0.25, 0.5, 0.75, 1.0]))


def test_thick_slices_do_not_move_the_anatomy() -> None:
    z = torch.arange(24).float()
    ramp = (z / 23 * 2 - 1).view(1, 1, 1, 1, 24).expand(1, 1, 4, 4, 24).contiguous()
    out = aug._slices(ramp, Augment(slices=2.0), Dice(_generator(1)))
    inner = out[0, 0, 0, 0, 4:-4] - ramp[0, 0, 0, 0, 4:-4]
    assert float(inner.abs().max()) < 0.06  # below 0.7 slices; a wrong alignment adds up over the ramp
    assert abs(float(inner.mean())) < 0.01


def test_noise_has_the_size_that_is_asked_for() -> None:
    image = torch.zeros(1, 1, 32, 32, 32)
    deviations = [float(aug._noise(image, Augment(noise=0.1), Dice(_generator(s))).std()) for s in range(12)]
    assert min(deviations) > 0 and 0.05 < max(deviations) <= 0.102


def test_air_below_the_window_stays_black() -> None:
    scan = _scan()
    scan.image[:, :, :5] = -1
    how = Augment(**{**NONE, "p_intensity": 1.0, "p_noise": 1.0, "p_correlated": 1.0, "brightness": 0.5})
    for seed in range(3):
        out = augment_single(scan, how, _generator(seed)).image
        assert bool((out[:, :, :5] == -1).all()) and float((out - scan.image)[:, :, 5:].abs().mean()) > 0.01


def test_everything_stays_in_range() -> None:
    every = Augment(**dict.fromkeys(NONE, 1.0))
    for seed in range(3):
        x, y = augment_pair(_scan(seed), _scan(seed + 9), every, _generator(seed))
        for out in (x, y):
            assert out.image.shape == (1, 1, *SHAPE)
            assert float(out.image.min()) >= -1 and float(out.image.max()) <= 1
            assert set(np.unique(out.mask.numpy())) <= {0.0, 1.0}


def test_two_dimensional_scans_work() -> None:
    image = torch.rand((1, 1, 32, 24), generator=_generator()) * 2 - 1
    every = Augment(**dict.fromkeys(NONE, 1.0))
    x, _ = augment_pair(Scan(image, torch.ones_like(image)), Scan(image, torch.ones_like(image)), every, _generator())
    assert x.image.shape == image.shape and bool(torch.isfinite(x.image).all())


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="rotatoin"):
        Augment.model_validate({"rotatoin": 3})
    with pytest.raises(ValidationError):
        Augment(p_noise=1.5)
