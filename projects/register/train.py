"""Train the register that sees costs, from painted pairs alone: `python projects/register/train.py OUT [--steps 1800]`.

Every step shows a part of one of 120 phantom bodies before and after it has moved, each picture in a contrast that is
drawn anew (`jssr.training.painted_pairs`), and the loss is the distance from the true displacement after every round of
`jssr.nets.cost_register`, the last the most. No real scan is seen. OUT is a folder (`painted.py` says what is in it);
the weights go to OUT/weights.safetensors. `--start WEIGHTS` begins with those of another register: the levels that both
have.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from jssr.core import field as ff
from jssr.nets.cost_register import CostRegister
from jssr.recipes.jssr import register_compact
from jssr.recipes.weights import save_weights
from jssr.registration.model import load_model
from jssr.systems.jssr import JSSR
from jssr.training.painted_pairs import PairPainter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import painted  # noqa: E402

RECIPE = register_compact()
LATER = 1.4
"""Each round counts so much more than the one before."""
HARD_FROM = 1800
"""The step from which on pairs are hard (`PairPainter`)."""
FOLDS, LEAST = 5.0, 0.1
"""The last field's Jacobian determinants below `LEAST` cost so much for each unit."""


def network() -> CostRegister:
    """As the recipe says."""
    numbers = cast(dict[str, Any], dict(RECIPE.network.networks["Phi"]))
    numbers.pop("form")
    return CostRegister(**numbers)


def begin(net: CostRegister, weights: str) -> None:
    """Give a register the weights of the levels that another has too."""
    other = load_model(checkpoint=weights).system.get_submodule("Phi").state_dict()
    levels = other.pop("sharpness")
    net.load_state_dict({k: v for k, v in other.items() if k in net.state_dict()}, strict=False)
    with torch.no_grad():
        net.sharpness[: len(levels)] = levels


def pair(bodies: Sequence[Tensor], step: int) -> painted.Example:
    """Moving and fixed image (1, 2, *size), the truth in voxels (1, 3, *size) and where it counts (1, 1, *size)."""
    size, voxel = RECIPE.training.patch or (), RECIPE.preprocessing.spacing
    painter = PairPainter(bodies, painted.SPACING, size, voxel, step, painted.ABDOMEN, hard=step >= HARD_FROM)
    drawn = painter.draw_pair()
    return torch.cat([drawn.moving, drawn.fixed], dim=1), drawn.truth, drawn.mask


def errors_of(rounds: Sequence[Tensor], images: Tensor, truth: Tensor, mask: Tensor) -> list[Tensor]:
    """The mean distance from the truth after each round, in voxels of the images."""
    found = []
    for u in rounds:
        grid = u.shape[2:]
        factor = images.shape[2] / grid[0]
        weight = ff.pooled(mask, round(factor))
        far = (u - ff.pooled(truth, round(factor)) / factor).square().sum(dim=1, keepdim=True).add(1e-6).sqrt() * factor
        found.append((far * weight).sum() / weight.sum().clamp(min=1))
    return found


def loss_of(net: CostRegister, images: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """The errors, weighted, and what folds."""
    rounds = net.rounds(images)
    errors = errors_of(rounds, images, truth, mask)
    weights = [LATER**k for k in range(len(errors))]
    wrong = sum((w * e for w, e in zip(weights, errors, strict=True)), torch.zeros(())) / sum(weights)
    return wrong + FOLDS * (LEAST - ff.jacobian_determinant(rounds[-1])).relu().mean()


def export(out: Path) -> None:
    """Write the averaged weights of the last checkpoint, float16."""
    net = network()
    info = {
        "step": painted.averaged(out, net),
        "data": {"pairs": {"modalities": {"painted": "ct", "painted too": "mr"}}},
    }
    save_weights(out / "weights.safetensors", JSSR(net, None), RECIPE, info, torch.float16)


def main() -> None:
    """Make the bodies, then train on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--bodies", type=int, default=120)
    parser.add_argument("--steps", type=int, default=RECIPE.training.steps)
    parser.add_argument("--start", metavar="WEIGHTS", help="a weights file, or the name of weights that ship")
    chosen = parser.parse_args()
    files = painted.bodies(chosen.out, chosen.bodies)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    training = RECIPE.training
    plan = painted.Plan(chosen.steps, training.learning_rates["Phi"], training.warmup_steps, training.ema or 0.0)
    net = network()
    if chosen.start is not None:
        begin(net, chosen.start)
    painted.train(chosen.out, net, partial(painted.Examples, files, pair), loss_of, plan)
    export(chosen.out)


if __name__ == "__main__":
    main()
