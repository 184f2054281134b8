"""A 2D system of four tiny networks with a critic, a segmentor with dropout and shared forward results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from jssr.core.field import warp
from jssr.recipes.config import Recipe, Stage
from jssr.recipes.load import recipe_from
from jssr.systems.base import Alignment, Batch, System, Terms

SIZE = 12


class Toy(System):
    networks = ("G", "Phi", "S", "D")
    critics = ("D",)
    outputs = {"displacement": "Phi", "synthesised": "G", "segmentation": "S"}

    def __init__(self, width: int = 4, classes: int = 2) -> None:
        super().__init__()
        self.G = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), nn.Tanh(), nn.Conv2d(width, 1, 3, padding=1))
        self.Phi = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), nn.Tanh(), nn.Conv2d(width, 2, 3, padding=1))
        self.S = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.Dropout(0.5), nn.Conv2d(width, classes, 1))
        self.D = nn.Conv2d(1, 1, 3)
        self.generated = 0
        self.poisoned_at: int | None = None

    def shared_g(self, batch: Batch) -> Tensor:
        if "g" not in batch.memo:
            self.generated += 1
            batch.memo["g"] = self.synthesise(batch.moving, batch.fixed)
        g: Tensor = batch.memo["g"]
        return g

    def losses(self, batch: Batch, group: str) -> Terms:
        if group == "critic":
            return {"critic": lambda: self.D(self.shared_g(batch).detach()).square().mean() + self.real(batch)}
        return {
            "gan": lambda: (self.D(self.shared_g(batch)) - 1).square().mean(),
            "reg": lambda: self.reg(batch),
            "sup": lambda: nn.functional.cross_entropy(self.S(batch.supervised), batch.supervised_labels[:, 0]),
            "nothing": lambda: torch.ones(()),
        }

    def real(self, batch: Batch) -> Tensor:
        loss: Tensor = (self.D(batch.fixed) - 1).square().mean()
        return loss

    def reg(self, batch: Batch) -> Tensor:
        if self.poisoned_at is not None and self.generated > self.poisoned_at:
            return self.shared_g(batch).sum() * float("nan")
        g = self.shared_g(batch)
        tau = self.Phi(torch.cat([g, batch.fixed], 1)).float()
        return (warp(g.float(), tau) - batch.fixed).abs().mean()

    def synthesise(self, moving: Tensor, fixed: Tensor) -> Tensor:
        image: Tensor = self.G(torch.cat([moving, fixed], 1))
        return image

    def segment(self, image: Tensor) -> Tensor:
        probabilities: Tensor = self.S(image).softmax(1)
        return probabilities

    def align(self, moving: Tensor, fixed: Tensor, moving_mask: Tensor, fixed_mask: Tensor) -> Alignment:
        g = self.synthesise(moving, fixed)
        return Alignment(self.Phi(torch.cat([g, fixed], 1)).float(), g, self.segment(g), self.segment(fixed))


def build(networks: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], classes: int) -> Toy:
    width = {key: dict(value) for key, value in networks.items()}["G"]
    torch.manual_seed(0)
    return Toy(classes=classes, **width, **options)


class Blobs:
    """A bright disc that moves, from (seed, step) alone; the supervised scan is a disc with its label."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.asked: list[int] = []

    def batch(self, step: int, need: frozenset[str]) -> Batch:
        self.asked.append(step)
        draw = torch.Generator().manual_seed(self.seed * 100_003 + step)
        at = torch.arange(SIZE, dtype=torch.float32)
        i, j = torch.meshgrid(at, at, indexing="ij")

        def disc() -> Tensor:
            centre = 4 + 4 * torch.rand(2, generator=draw)
            inside = ((i - centre[0]) ** 2 + (j - centre[1]) ** 2 < 9).float()
            return inside[None, None]

        batch = Batch()
        if "pair" in need:
            batch.moving, batch.fixed = 1 - 2 * disc(), disc() - 0.5
        if "supervised" in need:
            label = disc()
            noise = 0.1 * torch.randn(label.shape, generator=draw)
            batch.supervised, batch.supervised_labels = label - 0.5 + noise, label.long()
        return batch


def recipe(**changes: Any) -> Recipe:
    """Three stages, Adam with warm-up and cosine, averaged weights. Changes are named by key alone."""
    data: dict[str, Any] = {
        "name": "toy",
        "system": "toy",
        "networks": {"G": {"width": 4}, "Phi": {}, "S": {}, "D": {}},
        "structures": ("disc",),
        "stages": (
            Stage(name="segment", steps=4, train={"main": ("S",)}, weights={"sup": 1.0}, needs=("supervised",)),
            Stage(
                name="align",
                steps=5,
                train={"critic": ("D",), "main": ("G", "Phi")},
                weights={"critic": 1.0, "gan": 0.1, "reg": 1.0},
            ),
            Stage(
                name="joint",
                steps=5,
                train={"critic": ("D",), "main": ("G", "Phi", "S")},
                weights={"critic": 1.0, "gan": 0.1, "reg": 1.0, "sup": 0.5},
                needs=("pair", "supervised"),
                learning_rates={"S": 1e-3},
            ),
        ),
        "learning_rates": {"G": 1e-2, "Phi": 1e-2, "S": 1e-2, "D": 1e-3},
        "schedule": "cosine",
        "warmup_steps": 3,
        "clip": 1.0,
        "ema": 0.9,
        "precision": "32-true",
        "log_every": 2,
        "monitor_every": 3,
        "picture_every": 6,
        "checkpoint_every": 3,
        "spacing": (1.0, 1.0),
    }
    return recipe_from({**data, **changes}, "toy")
