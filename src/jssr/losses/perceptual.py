"""How far apart two 2D images are to a network that knows pictures: JRS-Net's VGG term (Mahapatra et al. 2018)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jssr.core.precision import full_precision
from jssr.errors import TrainingError
from jssr.losses.mind import mind

log = logging.getLogger(__name__)

Distance = Callable[[Tensor, Tensor], Tensor]
_MAPS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
"""Of VGG16's convolutions; 0 is a pooling."""
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, which the weights were trained on with values in 0..1."""
_SCALES = 3


class VGG16(nn.Module):
    """The convolutions of VGG16 (Simonyan & Zisserman 2014), all 4224 of whose feature maps are taken (the paper counts
    3968: two for the third block, which has three).

    Args:
        weights: a file in torchvision's layout ("features.0.weight", ...), `.pth` or `.safetensors`.

    Raises:
        TrainingError: no such file, or another network's.
    """

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for maps in _MAPS:
            layers += [nn.Conv2d(before, maps, 3, padding=1), nn.ReLU()] if maps else [nn.MaxPool2d(2)]
            before = maps or before
        self.features = nn.Sequential(*layers)
        try:
            self.load_state_dict({k: v for k, v in _read(Path(weights)).items() if k.startswith("features.")})
        except Exception as error:
            raise TrainingError(f"{weights}: are not VGG16's weights in torchvision's layout ({error})") from error
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 1, H, W) in -1..1 to the maps of each convolution after its ReLU."""
        mean, sd = (torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in (_MEAN, _SD))
        x = ((image + 1) / 2 - mean) / sd
        found = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x)
        return found


def perceptual_distance(weights: str | Path | None) -> Distance:
    """A distance of two images (B, 1, H, W) in -1..1, 0 where they are the same.

    With VGG16's weights: mean squared difference of its feature maps, each scaled to 0..1 over its image, mean over
    all maps. Without: the same of MIND at three scales, which is this project's own and no ImageNet feature.

    Raises:
        TrainingError: the file is not what it should be.
    """
    if weights is None:
        log.warning("no VGG16 weights were named (options.vgg16): the term 'features' compares MIND at 3 scales")
        return _mind_distance
    network = VGG16(weights)

    @full_precision
    def distance(a: Tensor, b: Tensor) -> Tensor:
        network.to(a.device)
        maps = [(p, q) for p, q in zip(network(a.float()), network(b.float()), strict=True)]
        total = torch.stack([(_scaled(p) - _scaled(q)).square().mean(dim=(2, 3)).sum(dim=1) for p, q in maps])
        return (total.sum(dim=0) / sum(p.shape[1] for p, _ in maps)).mean()

    return distance


@full_precision
def _mind_distance(a: Tensor, b: Tensor) -> Tensor:
    found = []
    for _ in range(_SCALES):
        found.append((mind(a) - mind(b)).square().mean())
        a, b = (F.avg_pool2d(image, 2) for image in (a, b))
    return torch.stack(found).mean()


def _scaled(maps: Tensor) -> Tensor:
    """Each map of each image in 0..1."""
    low, high = (end.view(*maps.shape[:2], 1, 1) for end in maps.flatten(2).aminmax(dim=2))
    return (maps - low) / (high - low).clamp(min=1e-6)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return found
