import logging

import pytest
import torch

from jssr.errors import TrainingError
from jssr.losses.perceptual import VGG16, perceptual_distance


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file in torchvision's layout, of random numbers."""
    torch.manual_seed(0)
    sizes = [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (256, 256), (512, 256), (512, 512),
             (512, 512), (512, 512), (512, 512), (512, 512)]  # fmt: skip
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    state = {"classifier.0.weight": torch.zeros(2, 2)}
    for place, (out, before) in zip(places, sizes, strict=True):
        state[f"features.{place}.weight"] = torch.randn(out, before, 3, 3) * (2 / (9 * before)) ** 0.5
        state[f"features.{place}.bias"] = torch.zeros(out)
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(state, path)
    return path


def images():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 2, 1, 32, 32, generator=generator) * 2 - 1


def test_vgg16_has_thirteen_convolutions(weights):
    maps = VGG16(weights)(images()[0])
    assert [m.shape[1] for m in maps] == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    assert [m.shape[-1] for m in maps] == [32, 32, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2]


@pytest.mark.parametrize("known", [True, False])
def test_the_distance_is_nought_between_equals_and_teaches(known, weights):
    a, b = images()
    distance = perceptual_distance(weights if known else None)
    assert distance(a, a).item() == pytest.approx(0, abs=1e-7)
    moved = b.clone().requires_grad_()
    apart = distance(a, moved)
    assert 0 < apart.item() < 1  # maps are scaled to 0..1
    apart.backward()
    assert moved.grad.abs().sum() > 0


def test_without_weights_it_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        perceptual_distance(None)
    assert "no VGG16 weights" in caplog.text


def test_other_files_are_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "wrong.pth")
    for path in (tmp_path / "wrong.pth", tmp_path / "none.pth"):
        with pytest.raises(TrainingError, match="VGG16"):
            perceptual_distance(path)
