"""Train the register that sees costs, from painted pairs alone: `python projects/register/train.py OUT [--steps 1800]`.

Every step shows a part of one of 120 phantom bodies before and after it has moved, each picture in a contrast that is
drawn anew (`jssr.training.painted_pairs`), and the loss is the distance from the true displacement after every round of
`jssr.nets.cost_register`, the last the most. No real scan is seen. OUT is a folder (`painted.py` says what is in it);
the weights go to OUT/weights.safetensors. `--start WEIGHTS` begins with those of another register. With `--finer` there
is one more level, whose field is as fine as the images; it is left out of the weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from jssr.core import field as ff
from jssr.nets.cost_register import LEVELS, CostRegister, SearchLevel
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
FINER = SearchLevel(1, 1, 1, 1)
"""The level that may be added: its field is as fine as the images."""
FOLDS, LEAST = 5.0, 0.1
"""The last field's Jacobian determinants below `LEAST` cost so much for each unit."""


def network(finer: bool = False) -> CostRegister:
    """As the recipe says, with `FINER` after its levels if asked for."""
    numbers = cast(dict[str, Any], dict(RECIPE.network.networks["Phi"]))
    numbers.pop("form")
    return CostRegister(**numbers, **({"levels": (*LEVELS, FINER)} if finer else {}))


def give(net: CostRegister, other: Mapping[str, Tensor]) -> None:
    """Give a register the weights of another one's levels, as far as it has them."""
    mine = net.state_dict()
    net.load_state_dict({k: v for k, v in other.items() if k in mine and k != "sharpness"}, strict=False)
    common = min(len(mine["sharpness"]), len(other["sharpness"]))
    with torch.no_grad():
        net.sharpness[:common] = other["sharpness"][:common]


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


def export(out: Path, finer: bool = False) -> None:
    """Write the averaged weights of the last checkpoint, float16, without the finer level."""
    net, taught = network(), network(finer)
    info = {
        "step": painted.averaged(out, taught),
        "data": {"pairs": {"modalities": {"painted": "ct", "painted too": "mr"}}},
    }
    give(net, taught.state_dict())
    save_weights(out / "weights.safetensors", JSSR(net, None), RECIPE, info, torch.float16)


def main() -> None:
    """Make the bodies, then train on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--bodies", type=int, default=120)
    parser.add_argument("--steps", type=int, default=RECIPE.training.steps)
    parser.add_argument("--start", metavar="WEIGHTS", help="of another such register, or register-compact")
    parser.add_argument("--finer", action="store_true", help="a last level at 3 mm, in training alone")
    chosen = parser.parse_args()
    files = painted.bodies(chosen.out, chosen.bodies)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    training = RECIPE.training
    plan = painted.Plan(chosen.steps, training.learning_rates["Phi"], training.warmup_steps, training.ema or 0.0)
    net = network(chosen.finer)
    if chosen.start is not None:
        other = getattr(load_model(checkpoint=chosen.start).system, "Phi", None)
        if not isinstance(other, CostRegister):
            parser.error(f"--start: expected a register that sees costs, {chosen.start} has none")
        give(net, other.state_dict())
    painted.train(chosen.out, net, partial(painted.Examples, files, pair), loss_of, plan)
    export(chosen.out, chosen.finer)


if __name__ == "__main__":
    main()
