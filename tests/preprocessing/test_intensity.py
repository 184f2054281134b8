from __future__ import annotations

import numpy as np
import pytest
import torch

from jssr.core.grid import Grid
from jssr.core.volume import Volume, volume_of
from jssr.errors import ImageError
from jssr.preprocessing.intensity import all_data, data_mask, denormalise, limits, limits_of, normalise
from jssr.preprocessing.modality import modality_of, window_for


def _volume(values: np.ndarray) -> Volume:
    return volume_of(values.astype(np.float32), Grid.of(values.shape))


def test_a_window_maps_linearly_and_clips() -> None:
    hu = torch.tensor([-1000.0, -200.0, -100.0, 0.0, 150.0, 200.0, 3000.0, float("nan")])
    assert normalise(hu, (-200, 200)).tolist() == [-1, -1, -0.5, 0, 0.75, 1, 1, -1]


def test_denormalise_undoes_it_inside_the_window() -> None:
    hu = torch.tensor([-200.0, -37.0, 12.5, 199.0])
    torch.testing.assert_close(denormalise(normalise(hu, (-200, 200)), (-200, 200)), hu)


def test_limits_of_mr_are_percentiles_of_the_foreground() -> None:
    # 10 % air at 0, then 1..1000 evenly: the threshold at 5 % of the range leaves about 50..1000.
    data = torch.cat([torch.zeros(2000), torch.arange(1, 1001).repeat(18).float()])
    low, high = limits(data, None)
    assert low == pytest.approx(50 + 0.01 * 950, abs=2)
    assert high == pytest.approx(50 + 0.995 * 950, abs=2)


def test_limits_ignore_what_is_no_data() -> None:
    data = torch.arange(0, 1001).float()
    holed = torch.cat([data, torch.full((500,), float("nan")), torch.full((500,), -32768.0)])
    assert limits(holed, None) == limits(data, None)


def test_a_constant_image_and_an_empty_window_are_refused() -> None:
    with pytest.raises(ValueError, match="constant"):
        limits(torch.full((5, 5), 3.0), None)
    with pytest.raises(ValueError, match="low to high"):
        normalise(torch.zeros(3), (200, -200))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-1024, 1500, "ct"), (-160, 240, "ct"), (0, 900, "mr"), (0, 4095, "mr"), (-3, 5, "mr")],
)
def test_modality_is_told_from_the_numbers(low: float, high: float, expected: str) -> None:
    volume = _volume(np.linspace(low, high, 1000).reshape(10, 10, 10))
    assert modality_of(volume) == expected
    assert window_for(modality_of(volume), (-200.0, 200.0)) == ((-200.0, 200.0) if expected == "ct" else None)


def test_fill_outside_the_circle_of_reconstruction_is_no_data() -> None:
    data = torch.tensor([-3024.0, -2000.0, -1024.0, -1000.0, 40.0, float("nan"), -32768.0])
    assert data_mask(data, "ct").tolist() == [False, False, True, True, True, False, False]
    assert data_mask(data, "mr").tolist() == [True, True, True, True, True, False, False]


def test_a_scan_of_one_intensity_is_refused_by_its_name() -> None:
    with pytest.raises(ImageError, match="a.nii: the image is constant"):
        limits_of("a.nii", torch.tensor([float("nan"), 3.0, 3.0]), None)
    assert limits_of("a.nii", torch.zeros(3), (-200.0, 200.0)) == (-200.0, 200.0)


@pytest.mark.parametrize(
    ("values", "modality", "whole"),
    [
        ((-1024.0, 40.0), "ct", True),
        ((-3024.0, 40.0), "ct", False),
        ((-3024.0, 40.0), "mr", True),
        ((float("nan"), 40.0), "mr", False),
        ((float("inf"), 40.0), "mr", False),
        ((-32768.0, 40.0), "mr", False),
    ],
)
def test_whether_there_is_data_everywhere_is_as_the_mask_has_it(values, modality, whole) -> None:
    data = torch.tensor(values)
    assert all_data(data, modality) is whole
    assert bool(data_mask(data, modality).all()) is whole
