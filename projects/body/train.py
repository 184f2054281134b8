"""Train the segmentor of bodies, from painted phantoms alone: `python projects/body/train.py OUT [--steps 3200]`.

Every step shows a part of one of 120 phantom bodies (neck to thighs) in a contrast that is drawn anew
(`jssr.phantom.painting`). A seventh of the pictures show no body, and nothing is to be found there. No real scan is
seen. OUT is a folder (`painted.py` says what is in it); the weights go to OUT/weights.safetensors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from jssr.nets.vnet import VNet
from jssr.phantom.painting import Painter, class_table
from jssr.phantom.regions import BODY_LABELS, body_labels_of
from jssr.recipes.segmentor import STRUCTURES, body_compact
from jssr.recipes.weights import save_weights
from jssr.systems.segmentor import Segmentor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import painted  # noqa: E402

RECIPE = body_compact()
ALSO = {"liver_tumour": "liver", "rectum": "bowel"}


def network() -> VNet:
    """As the recipe says."""
    return VNet(classes=len(STRUCTURES) + 1, **cast(dict[str, Any], RECIPE.network.networks["S"]))


def picture(bodies: Sequence[Tensor], step: int) -> painted.Example:
    """An image (1, 1, *size) and its classes (1, *size)."""
    size, voxel = RECIPE.training.patch or (), RECIPE.preprocessing.spacing
    drawn = Painter(bodies, painted.SPACING, size, voxel, step, painted.ABDOMEN).draw()
    table = class_table(STRUCTURES, BODY_LABELS, ALSO)[torch.from_numpy(body_labels_of(np.arange(256, dtype=np.uint8))).long()]
    classes = torch.zeros_like(drawn.codes) if drawn.foreign else table[drawn.codes]
    return drawn.image, classes[None]


def loss_of(net: nn.Module, image: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy, and twice the mean soft Dice loss of the classes, with 20 voxels that keep absent ones at 1.

    The overlap is read at each voxel's own class: no one-hot map of 18 full-size channels is made.
    """
    log = net(image).float().log_softmax(dim=1)
    own = log.gather(1, classes[:, None])[:, 0]
    p = log.exp()
    count = log.shape[1]
    overlap = torch.zeros(count).index_add(0, classes.flatten(), own.exp().flatten())
    size = p.sum(dim=(0, 2, 3, 4)) + classes.flatten().bincount(minlength=count)
    return -own.mean() + 2 * (1 - (2 * overlap[1:] + 20) / (size[1:] + 20)).mean()


def export(out: Path) -> None:
    """Write the averaged weights of the last checkpoint, float16."""
    net = network()
    step = painted.averaged(out, net)
    info = {"step": step, "data": {"pairs": {"modalities": {"painted": "ct", "painted too": "mr"}}}}
    save_weights(out / "weights.safetensors", Segmentor(net), RECIPE, info, torch.float16)


def main() -> None:
    """Make the bodies, then train on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--bodies", type=int, default=120)
    parser.add_argument("--steps", type=int, default=RECIPE.training.steps)
    chosen = parser.parse_args()
    files = painted.bodies(chosen.out, chosen.bodies)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    training = RECIPE.training
    plan = painted.Plan(chosen.steps, training.learning_rates["S"], training.warmup_steps, training.ema or 0.0)
    painted.train(chosen.out, network(), partial(painted.Examples, files, picture), loss_of, plan)
    export(chosen.out)


if __name__ == "__main__":
    main()
