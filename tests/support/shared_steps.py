"""What one or several processes train, for the tests that compare them: `python shared_steps.py OUT SCENARIO...`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from tiny_jssr import ball, tiny_recipe
from torch import nn
from toy_system import Blobs, Toy, build, recipe

from jssr.errors import Interrupted
from jssr.recipes.config import Recipe, Stage
from jssr.recipes.load import build_system
from jssr.systems.base import Batch, System
from jssr.training.augment import part_of
from jssr.training.loop import RunOptions, train

RANK = int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK") or 0)


class Balls:
    """Balls that move by other distances and are seen by masks of other sizes, from the sample's number alone."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.asked: list[int] = []

    def batch(self, step: int, need: frozenset[str], part: tuple[int, int] = (0, 1)) -> Batch:
        samples = part_of(range(step * self.size, (step + 1) * self.size), part)
        self.asked += samples
        made = [self._sample(index) for index in samples]
        names = ("moving", "fixed", "moving_mask", "fixed_mask", "supervised", "supervised_labels")
        return Batch(**{name: torch.cat([sample[k] for sample in made]) for k, name in enumerate(names)})

    def _sample(self, index: int) -> list[torch.Tensor]:
        x = float(index % 5) * 4 - 8
        scans = [ball((x, 0, 0)), ball((0, x, 4)), ball((4, 0, x))]
        images = [((scan.data[None].float()) / 200).clamp(-1, 1)[..., ::2, ::2, ::2] for scan in scans]
        masks = [torch.ones_like(image) for image in images]
        masks[0][..., : 1 + index % 4] = 0  # others are seen in other shares
        labels = (images[2] > 0.4).long()
        labels[..., 6 + index % 3 :] *= 2
        return [images[0], images[1], masks[0], masks[1], images[2], labels]


class Normed(Toy):
    """A segmentor with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.S = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4, momentum=0.3), nn.Conv2d(4, 2, 1))


def joint(**changes: object) -> tuple[Recipe, System, Balls]:
    """JSSR's joint steps with a discriminator: all terms that see masks, and classes that only some samples have."""
    stage = Stage(
        name="joint",
        steps=4,
        train={"critic": ("D",), "main": ("G", "Phi", "S")},
        weights={"critic": 1.0, "gan": 0.1, "reg": 2.0, "ncc": 1.0, "smooth": 1.0, "cons": 0.5, "sup": 1.0},
        needs=("pair", "supervised"),
    )
    begun = tiny_recipe()
    settings = begun.changed(
        network={
            "networks": {**begun.network.networks, "D": {"width": 4, "layers": 1}},
            "options": {"least": 20.0},
        },
        training={
            "stages": (stage,), "learning_rates": dict.fromkeys(("G", "Phi", "S", "D"), 1e-2), "precision": "32-true",
            "optimiser": "sgd",  # Adam's first steps are of one size, whichever sign rounding gives a gradient of zero
            "log_every": 1, "picture_every": 0, "monitor_every": 0, "ema": 0.9, "clip": 1.0, **changes,
        },
    )  # fmt: skip
    torch.manual_seed(5 + RANK)  # only the first process's weights count
    return settings, build_system(settings), Balls(settings.training.batch)


def toy(source: Blobs | None = None, **changes: object) -> tuple[Recipe, System, Blobs]:
    """All stages of the toy, whose segmentor drops features at random."""
    settings = recipe(log_every=1, picture_every=0, **changes)
    return settings, build(settings.network.networks, {}, 2), source or Blobs()


def normed() -> tuple[Recipe, System, Blobs]:
    """The toy's first stage with batch normalisation."""
    settings, _, source = toy(accumulate=4)
    torch.manual_seed(1)
    return settings.changed(training={"stages": settings.training.stages[:1]}), Normed(), source


class Fails(Blobs):
    """The second process gets another batch than it hoped for at a step."""

    def __init__(self, at: int, how: Callable[[], None]) -> None:
        super().__init__()
        self.at, self.how = at, how

    def batch(self, step: int, need: frozenset[str]) -> Batch:
        if RANK == 1 and step == self.at:
            self.how()
        return super().batch(step, need)


def _broken() -> None:
    raise OSError("the disc of the second process is gone")


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _asked() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


SCENARIOS: dict[str, Callable[[], tuple[Recipe, System, object]]] = {
    "batches": lambda: toy(accumulate=4),
    "normed": normed,
    "samples": lambda: joint(batch=4),
    "both": lambda: joint(batch=2, accumulate=2),
    "bf16": lambda: joint(batch=4, precision="bf16-mixed"),
    "stopped": lambda: toy(Fails(14, _asked), accumulate=4),
    "broken": lambda: toy(Fails(14, _broken), accumulate=4),
    "killed": lambda: toy(Fails(14, _killed), accumulate=4),
}


def main(out: Path, names: Sequence[str]) -> None:
    """Train each scenario into a folder of its name; `NAME=FOLDER` resumes."""
    torch.set_num_threads(1)
    devices = int(os.environ.get("DEVICES", "1"))
    for name in names:
        scenario, _, folder = name.partition("=")
        settings, system, source = SCENARIOS[scenario]()
        options = RunOptions(devices=devices, accelerator="cpu", deterministic=True, resume=bool(folder))
        try:
            train(settings, system, source, out / (folder or name), options)  # type: ignore[arg-type]
        except Interrupted as error:
            tell(error)
        except Exception as error:
            tell(error)
            sys.exit(1)


def tell(error: Exception) -> None:
    """What ended this process, and whether another one tells it."""
    sys.stdout.write(f"{type(error).__name__}: {error}; told: {getattr(error, 'told', None)}\n")


if __name__ == "__main__":
    from jssr.systems import SYSTEMS

    SYSTEMS["toy"] = build
    main(Path(sys.argv[1]), sys.argv[2:])
