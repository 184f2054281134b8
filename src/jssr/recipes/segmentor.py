"""The recipe of the segmentor of bodies: V-Net alone, taught by painted phantoms (`jssr.training.painting`)."""

from __future__ import annotations

from jssr.recipes.config import Inference, Network, Preprocessing, Recipe, Stage, Training

STRUCTURES = (
    "liver", "spleen", "kidney_right", "kidney_left", "stomach", "pancreas", "gallbladder", "aorta", "vertebrae",
    "inferior_vena_cava", "bowel", "lung", "heart", "bladder", "ribs", "pelvis", "femurs",
)  # fmt: skip

SINGLE = (
    "liver", "spleen", "kidney_right", "kidney_left", "stomach", "pancreas", "gallbladder", "aorta",
    "inferior_vena_cava", "heart", "bladder",
)  # fmt: skip

LEAST_ML = {
    "liver": 300.0, "spleen": 30.0, "kidney_right": 50.0, "kidney_left": 50.0, "stomach": 30.0, "pancreas": 15.0,
    "gallbladder": 3.0, "aorta": 25.0, "vertebrae": 150.0, "inferior_vena_cava": 25.0, "bowel": 400.0, "lung": 500.0,
    "heart": 150.0, "bladder": 15.0, "ribs": 50.0, "pelvis": 100.0, "femurs": 100.0,
}  # fmt: skip
"""Smaller than in a grown patient. These and the least confidence were set on limbs of eight patients, one head, and
three studies of the liver, whose organs they keep."""


def body_compact() -> Recipe:
    """17 structures between neck and thighs in CT and MR: the recipe of the shipped weights.

    `python projects/body/train.py OUT --stop 7000` trains it, and `projects/body/real.py` goes on; `jssr train` does
    not paint. Against V-Net in print: five stages of 16 to 256 channels became four of 32 to 160, with kernels of 3 at
    half resolution (stem 2), and LeakyReLU.
    """
    return Recipe(
        name="body-compact",
        description="a segmentor of 17 structures between neck and thighs, CT and MR, taught by painted phantoms",
        network=Network(
            system="segmentor",
            networks={
                "S": {
                    "widths": [32, 64, 112, 160],
                    "convs": [1, 2, 2, 2],
                    "kernel": 3,
                    "stem": 2,
                    "head": 24,
                    "leaky": True,
                    "shuffle": True,
                }
            },  # fmt: skip
            options={"tile": [96, 80, 48]},
            structures=STRUCTURES,
        ),
        preprocessing=Preprocessing(spacing=(4.0, 4.0, 4.0)),
        training=Training(
            stages=(
                Stage(
                    name="paint",
                    steps=8000,
                    train={"main": ("S",)},
                    weights={"sup": 1.0, "sup_ce": 1.0},
                    needs=("supervised",),
                ),
            ),
            learning_rates={"S": 2e-3},
            schedule="cosine",
            warmup_steps=50,
            clip=1.0,
            ema=0.998,
            patch=(80, 64, 48),
        ),
        inference=Inference(one_piece=SINGLE, least_confidence=0.65, least_ml=LEAST_ML),
    )
