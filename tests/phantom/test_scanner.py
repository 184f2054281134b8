from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from jssr.core import field as ff
from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.transform import Affine
from jssr.core.volume import volume_of
from jssr.phantom.scanner import LabelReader, Scanner, scan_image

GRID = Grid.of((48, 40, 24), (2.0, 2.0, 2.0))
CLEAN = Scanner(GRID, blur=0.0, thickness=0.0, noise=0.0)
HERE = ff.identity(GRID.shape)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_perfect_scanner_shows_the_values() -> None:
    values = rng().uniform(-900, 900, GRID.shape).round().astype(np.float32)
    assert np.array_equal(scan_image(values, GRID, HERE, CLEAN, rng()).array, values)


def test_slice_thickness_is_a_box() -> None:
    values = np.zeros(GRID.shape, np.float32)
    values[:, :, 12] = 900.0
    image = scan_image(values, GRID, HERE, replace(CLEAN, thickness=6.0), rng()).array
    assert np.array_equal(image[20, 20, 9:16], [0, 0, 300, 300, 300, 0, 0])


def test_point_spread_has_the_stated_width() -> None:
    values = np.zeros(GRID.shape, np.float32)
    values[24, :, :] = 1000.0
    line = scan_image(values, GRID, HERE, replace(CLEAN, blur=6.0), rng()).array[:, 20, 12].astype(float)
    x = (np.arange(48) - 24) * 2.0
    sigma = np.sqrt((line * x**2).sum() / line.sum())
    # What linear reading adds (0.35 voxel = 0.7 mm) is taken off beforehand.
    assert abs(np.hypot(sigma, 0.7) * 2.355 - 6.0) < 0.4


def test_noise_has_the_stated_size_and_is_not_white() -> None:
    big = Grid.of((96, 96, 24), 3.0)
    scanner = Scanner(big, blur=0.0, thickness=0.0, noise=20.0, ramp=0.7, cutoff=0.7, streaks=0.0, modulation=0.0)
    zeros = np.zeros(big.shape, np.float32)
    image = scan_image(zeros, big, ff.identity(big.shape), scanner, rng()).array[24:-24, 24:-24]
    assert abs(image.std() - 20.0) < 1.5
    assert abs(image.mean()) < 1.0
    spectrum = (np.abs(np.fft.fft2(image.astype(float), axes=(0, 1))) ** 2).mean(axis=2)
    f = np.hypot(np.fft.fftfreq(48)[:, None], np.fft.fftfreq(48)[None])
    low, middle, high = (spectrum[(f > a) & (f <= b)].mean() for a, b in ((0.01, 0.08), (0.2, 0.35), (0.6, 0.71)))
    assert low < 0.7 * middle
    assert high < 0.7 * middle


def test_noise_streaks_lie_along_the_long_axis_of_the_body() -> None:
    big = Grid.of((96, 96, 8), 4.0)
    y = np.abs(np.arange(96) - 47.5)
    values = np.broadcast_to(np.where(y < 22, 0.0, -1000.0).astype(np.float32)[None, :, None], big.shape).copy()
    scanner = Scanner(big, blur=0.0, thickness=0.0, noise=15.0, streaks=1.0, ramp=0.3)
    image = scan_image(values, big, ff.identity(big.shape), scanner, rng()).array[:, 30:66].astype(float)
    image -= image.mean()
    along_x = (image[1:] * image[:-1]).mean() / image.var()
    along_y = (image[:, 1:] * image[:, :-1]).mean() / image.var()
    assert along_x > along_y + 0.15


def test_thick_interpolated_slices_repeat_between_their_places() -> None:
    values = rng().normal(0, 100, GRID.shape).astype(np.float32)
    image = scan_image(values, GRID, HERE, replace(CLEAN, slices=4.6), rng()).array
    # 46 mm in slices of 4.6 mm: 11 of them, so the last slices come from a straight line between two.
    assert image.shape == GRID.shape
    assert np.abs(image[..., 1] - (image[..., 0] + image[..., 2]) / 2).max() <= 1.5


def test_outside_the_circle_is_no_data_and_beyond_the_patient_is_air() -> None:
    values = np.zeros(GRID.shape, np.float32)
    round_view = replace(CLEAN, circle=(47.0, 39.0, 30.0))
    image = scan_image(values, GRID, HERE, round_view, rng()).array
    assert image[24, 20, 5] == 0
    assert image[0, 0, 5] == -1024
    shifted = HERE + torch.tensor([0.0, 0.0, 12.0]).view(1, 3, 1, 1, 1)
    assert scan_image(values, GRID, shifted, CLEAN, rng()).array[5, 5, -1] == -1000
    assert scan_image(values, GRID, shifted, CLEAN, rng(), cut=True).array[5, 5, -1] == -1024


def test_range_is_a_scanner_s() -> None:
    values = np.where(rng().random(GRID.shape) > 0.5, 9000, -5000).astype(np.float32)
    image = scan_image(values, GRID, HERE, CLEAN, rng()).array
    assert image.min() == -1024
    assert image.max() == 3071


def test_mr_noise_is_rician() -> None:
    scanner = replace(CLEAN, modality="mr", noise=20.0)
    dark = scan_image(np.zeros(GRID.shape, np.float32), GRID, HERE, scanner, rng()).array
    # Rayleigh: mean sigma sqrt(pi/2).
    assert abs(dark.mean() - 20.0 * np.sqrt(np.pi / 2)) < 0.5
    assert dark.min() >= 0


def test_labels_are_read_as_from_one_hot_channels() -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[8:30, 8:25, 4:18] = 3
    labels[20:40, 10:30, 8:20] = 200
    at = HERE + torch.from_numpy(rng().uniform(-0.9, 0.9, (1, 3, *GRID.shape)).astype(np.float32))
    got = LabelReader(labels)(at, GRID)
    one_hot = torch.stack([torch.from_numpy((labels == v).astype(np.float32)) for v in (0, 3, 200)])[None]
    weight = ff.sample(one_hot, at)[0]
    outside = ((at < -0.5) | (at > torch.tensor(GRID.shape).view(1, 3, 1, 1, 1) - 0.5)).any(1)[0]
    wanted = torch.tensor([0, 3, 200])[weight.argmax(0)]
    wanted[outside] = 0
    clear = weight.topk(2, dim=0).values
    sure = (clear[0] - clear[1]) > 1e-3
    assert torch.equal(got.data[0].long()[sure], wanted[sure])


def test_labels_agree_with_resampling() -> None:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[10:30, 10:25, 6:18] = 7
    target = Grid.of((30, 26, 15), 3.1, (1.0, 0.7, 0.4))
    got = LabelReader(labels)(Affine.identity(3).positions(target, GRID), target)
    wanted = resample(volume_of(labels, GRID, "labels"), target)
    assert (got.data == wanted.data).float().mean() > 0.999
