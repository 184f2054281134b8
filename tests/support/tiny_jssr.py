"""A JSSR small enough for tests, its weights file, and scans of a ball that it can work on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from jssr.core.grid import Grid
from jssr.core.volume import Volume, volume_of
from jssr.recipes.config import Recipe, Stage
from jssr.recipes.load import build_system, recipe_from
from jssr.recipes.weights import save_weights

SHAPE = (32, 30, 24)


def tiny_recipe(**changes: object) -> Recipe:
    networks = {
        "G": {"width": 4, "trunk_widths": [4, 4], "trunk_convs": [1, 1]},
        "Phi": {"widths": [4, 4], "convs": [1, 1], "small": 0.05},
        "S": {"widths": [4, 4], "convs": [1, 1], "kernel": 3},
    }
    given = {
        "name": "tiny",
        "system": "jssr",
        "networks": networks,
        "structures": ("liver", "spleen"),
        "reference_phase": "venous",
        "stages": (Stage(name="align", steps=1, train={"main": ("G", "Phi")}, weights={"reg": 1.0}),),
        "learning_rates": {"G": 1e-3, "Phi": 1e-3, "S": 1e-3},
        "spacing": (4.0, 4.0, 4.0),
    }
    return recipe_from({**given, **changes}, "tiny")


def tiny_weights(folder: Path, **changes: object) -> Path:
    torch.manual_seed(3)
    recipe = tiny_recipe(**changes)
    path = folder / "tiny.safetensors"
    save_weights(path, build_system(recipe), recipe)
    return path


def ball(centre: tuple[float, float, float] = (0, 0, 0), grid: Grid | None = None, name: str = "ball") -> Volume:
    """A CT of a body (40 HU) with an organ (120 HU) in it, in air, as int16-like numbers."""
    grid = grid or Grid.of(SHAPE, 4.0, (-62.0, -58.0, -46.0))
    index = np.stack(np.meshgrid(*[np.arange(s) for s in grid.shape], indexing="ij"), axis=-1)
    at = grid.world(index)
    data = np.full(grid.shape, -1000.0)
    data[np.linalg.norm(at / (50, 44, 60), axis=-1) < 1] = 40
    data[np.linalg.norm(at - np.array(centre), axis=-1) < 18] = 120
    data += 8 * np.sin(at.sum(axis=-1) / 5)
    return volume_of(np.round(data).astype(np.float32), grid, name=name)


def ball_labels(centre: tuple[float, float, float] = (0, 0, 0), grid: Grid | None = None) -> Volume:
    grid = grid or Grid.of(SHAPE, 4.0, (-62.0, -58.0, -46.0))
    at = grid.world(np.stack(np.meshgrid(*[np.arange(s) for s in grid.shape], indexing="ij"), axis=-1))
    inside = np.linalg.norm(at - np.array(centre), axis=-1) < 18
    return volume_of(inside.astype(np.uint8), grid, "labels", "labels")
