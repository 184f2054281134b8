"""Recipes of the register that learns from each modality by itself (Cao et al., MLMI 2018).

The cohort is of pairs of two modalities with paired ground truth: `jssr phantom OUT --anatomy pelvis --paired`, or
`jssr prepare --pairs`. CT, named `ct`, is the fixed one, MR, named `t2`, the moving one, as the pelvic phantoms have
them; `--set preprocessing.reference_phase=... --set preprocessing.moving=...` for others.
"""

from __future__ import annotations

from typing import Any

from jssr.recipes.augmentation import Augment
from jssr.recipes.config import Network, Preprocessing, Recipe, Stage, Training

BOTH = {"fixed_like": 0.5, "moving_like": 0.5}
REGULAR = {"laplace": 0.5, "size": 0.01}
"""lambda_1 and lambda_2 of (4)."""
LOOSE = {"laplace": 0.01, "size": 0.001}
"""What the compact recipes begin with. Under the printed ones, with norms that are means, a network of this size
answers one shift for a whole patch: what is wrong in its first guesses is rough, and costs more than what is right in
them gains. Once it finds the motion, the printed ones make the field smooth."""
SOFT = {"laplace": 0.05, "size": 0.005}
"""What patches end with: they see too little of a bladder to hold its motion under the printed ones."""
EPOCH = 225_000 // 2
"""Steps of the paper's: 225 000 patches in batches of two."""
ALONE: dict[str, Any] = dict.fromkeys((name for name in Augment.model_fields if name.startswith("p_")), 0.0)
"""Looks and places as they are."""
BENT: dict[str, Any] = {
    **ALONE, "flip": True, "p_affine": 0.8, "rotation": 5.0, "scale": [0.9, 1.1], "shift": 4.0,
    "p_moving_elastic": 0.5, "elastic": 3.0, "elastic_spacing": 12.0,
}  # fmt: skip
"""Paired ground truth is bent with its scan, so that each pair is as many pairs as it is bent; without, a
whole-volume register learns its patients by heart and nothing beyond."""


def dual_paper() -> Recipe:
    """The paper's patches, rates and batches, at 1 mm. `jssr train dual --data COHORT -o RUN`. For GPUs.

    In print are neither the channels, 32, 64, 128 here, nor when training stopped: twelve epochs here. The paper's only
    augmentation is a flip.
    """
    return _recipe(
        "dual",
        "patch register, both modalities (Cao et al. 2018)",
        {"widths": [32, 64, 128]},
        (1.0, 1.0, 1.0),
        Training(
            stages=(_stage("align", 12 * EPOCH, {**BOTH, **REGULAR}),),
            batch=2,
            optimiser="sgd",
            betas=(0.0, 0.999),
            learning_rates={"M": 0.01},
            schedule="halving",
            halve_every=4 * EPOCH,
            patch=(68, 68, 68),
            in_body=True,
            monitor_every=0,
            picture_every=0,
            augment=Augment(**ALONE, flip=True),
        ),
    )


def dual_compact() -> Recipe:
    """The patch register for two CPU cores: a quarter of the channels, 3 mm, Adam. `jssr train dual-compact ...`."""
    return compact("dual-compact", "patch register, both modalities", BOTH)


def dual_volume_compact() -> Recipe:
    """The same losses on whole volumes, with VoxelMorph's U-Net: how people work now."""
    return compact(
        "dual-volume-compact",
        "whole-volume register, both modalities",
        BOTH,
        {"form": "unet", "encoder": [16, 24, 32, 32], "decoder": [32, 32, 24, 16], "head": [16], "normalise": True},
        (1300, 700),
        REGULAR,
        patch=(64, 64, 32),
        in_body=False,
        augment=Augment(**{**BENT, "p_moving_elastic": 1.0}),
        picture_every=200,
        monitor_every=100,
    )


def compact(
    name: str,
    description: str,
    alike: dict[str, float],
    network: dict[str, Any] | None = None,
    steps: tuple[int, int] = (2000, 600),
    last: dict[str, float] = SOFT,
    **changes: Any,
) -> Recipe:
    settings: dict[str, Any] = {
        "learning_rates": {"M": 1e-3},
        "schedule": "cosine",
        "warmup_steps": 50,
        "clip": 1.0,
        "ema": 0.995,
        "batch": 1,
        "patch": (76, 76, 60),
        "in_body": True,
        "augment": Augment(**BENT),
        "checkpoint_every": 100,
        "picture_every": 0,
        "monitor_every": 0,
    }
    stages = tuple(
        _stage(stage, count, {**alike, **regular})
        for stage, count, regular in zip(("begin", "align"), steps, (LOOSE, last), strict=True)
    )
    training = Training(stages=stages, **{**settings, **changes})
    return _recipe(name, description, network or {"widths": [8, 16, 32]}, (3.0, 3.0, 3.0), training)


def _stage(name: str, steps: int, weights: dict[str, float]) -> Stage:
    needs = ("pair",) if "direct" in weights else ("pair", "paired")
    return Stage(name=name, steps=steps, train={"main": ("M",)}, weights=weights, needs=needs)


def _recipe(
    name: str, description: str, network: dict[str, Any], spacing: tuple[float, ...], training: Training
) -> Recipe:
    return Recipe(
        name=name,
        description=description,
        network=Network(system="dual", networks={"M": network}),
        preprocessing=Preprocessing(spacing=spacing, reference_phase="ct", moving="t2"),
        training=training,
    )
