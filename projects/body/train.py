"""Train the segmentor of bodies, from painted phantoms alone: `python projects/body/train.py OUT [--steps 8000]`.

Every step shows a part of one of 120 phantom bodies (neck to thighs) in a contrast that is drawn anew
(`jssr.training.painting`). A tenth of the pictures shows no body, and nothing is to be found there. No real scan is
seen. OUT is a folder (`painted.py` says what is in it); the weights go to OUT/weights.safetensors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from jssr.nets.vnet import VNet
from jssr.recipes.segmentor import STRUCTURES, body_compact
from jssr.recipes.weights import save_weights
from jssr.systems.segmentor import Segmentor
from jssr.training.painting import Painter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import painted  # noqa: E402

RECIPE = body_compact()


def network() -> VNet:
    """As the recipe says."""
    return VNet(classes=len(STRUCTURES) + 1, **cast(dict[str, Any], RECIPE.network.networks["S"]))


def picture(bodies: Sequence[Tensor], step: int) -> painted.Example:
    """An image (1, 1, *size) and its classes (1, *size)."""
    size, voxel = RECIPE.training.patch or (), RECIPE.preprocessing.spacing
    drawn = Painter(bodies, painted.SPACING, size, voxel, step, painted.ABDOMEN).draw()
    return drawn.image, painted.classes_of(drawn, STRUCTURES)[None]


def loss_of(net: nn.Module, image: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy, half of it with classes weighed by one over the root of their size, and the mean soft Dice loss of
    the classes that are there.

    Were absent classes to count, a thousandth of their probability in every voxel would cost as much as missing an
    organ: the rare ones were then never found. Dice is read at each voxel's own class: no one-hot map of 18 full-size
    channels is made.
    """
    log = net(image).float().log_softmax(dim=1)
    own = log.gather(1, classes[:, None])[:, 0]
    count = log.shape[1]
    there = classes.flatten().bincount(minlength=count).float()
    weight = there.clamp(min=1).rsqrt()[classes]
    entropy = -0.5 * own.mean() - 0.5 * (own * weight).sum() / weight.sum()
    overlap = torch.zeros(count).index_add(0, classes.flatten(), own.exp().flatten())
    dice = (2 * overlap + 1) / (log.exp().sum(dim=(0, 2, 3, 4)) + there + 1)
    found = there[1:] > 0
    return entropy + (1 - dice[1:][found]).sum() / found.sum().clamp(min=1)


def export(out: Path, before: int = 0) -> None:
    """Write the averaged weights of the last checkpoint, float16; `before`: steps of the run that it went on from."""
    net = network()
    step = before + painted.averaged(out, net)
    info = {"step": step, "data": {"pairs": {"modalities": {"painted": "ct", "painted too": "mr"}}}}
    save_weights(out / "weights.safetensors", Segmentor(net), RECIPE, info, torch.float16)


def main() -> None:
    """Make the bodies, then train on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--bodies", type=int, default=120)
    parser.add_argument("--steps", type=int, default=RECIPE.training.steps)
    parser.add_argument("--stop", type=int, help="end before the schedule does")
    chosen = parser.parse_args()
    files = painted.bodies(chosen.out, chosen.bodies)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    training = RECIPE.training
    fast = training.learning_rates["S"], training.warmup_steps, training.ema or 0.0
    plan = painted.Plan(chosen.steps, *fast, stop=chosen.stop)
    painted.train(chosen.out, network(), partial(painted.Examples, files, picture), loss_of, plan)
    export(chosen.out)


if __name__ == "__main__":
    main()
