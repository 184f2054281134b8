"""Recipes of JSSR (Liu et al., ECCV 2020), the shipped weights' and the paper's. Costs and scores: docs/notebook."""

from __future__ import annotations

from typing import Any

from jssr.recipes.config import Inference, Network, Preprocessing, Recipe, Stage, Training
from jssr.recipes.segmentor import body_compact

ORGANS = ("liver", "spleen", "kidney_right", "kidney_left", "stomach", "pancreas", "gallbladder", "aorta", "vertebrae")

SUPERVISED = {"sup": 1.0, "sup_ce": 0.5}
"""(9), and cross-entropy beside it: soft Dice alone is slow to find small organs among ten classes."""


def jssr_paper() -> Recipe:
    """The paper's sizes: P-HNN 64..512, V-Net 16..256 with 5^3 kernels, PatchGAN of 34 voxels, the binary liver.

    `jssr train jssr --data COHORT --supervised COHORT -o RUN`. For GPUs. The learning rate of S and D, 0.1 in print, is
    1e-3 and 1e-4 here: Adam moves every weight by about its rate in each step, and 0.1 is the weights' own size.
    """
    align = {"reg": 2.0, "smooth": 1.0, "gan": 0.02}
    return Recipe(
        name="jssr",
        description="JSSR at the paper's size, binary liver",
        network=Network(
            system="jssr",
            networks={
                "G": {"width": 16, "trunk_widths": [64, 128, 256, 512, 512], "trunk_convs": [2, 2, 3, 3, 3]},
                "Phi": {"widths": [64, 128, 256, 512, 512], "convs": [2, 2, 3, 3, 3]},
                "S": {"widths": [16, 32, 64, 128, 256], "convs": [1, 2, 3, 3, 3], "kernel": 5},
                "D": {"width": 64, "layers": 2},
            },
            structures=("liver",),
        ),
        preprocessing=Preprocessing(spacing=(1.5, 1.5, 5.0), reference_phase="venous"),
        training=Training(
            stages=_stages((20_000, 60_000, 60_000), align, {"sup": 1.0}, 1.0),
            learning_rates={"G": 1e-4, "Phi": 1e-3, "S": 1e-3, "D": 1e-4},
            clip=1.0,
            patch=(256, 256, 48),
        ),
        inference=Inference(one_piece=("liver",)),
    )


def _stages(
    steps: tuple[int, int, int],
    align: dict[str, float],
    supervised: dict[str, float],
    consistent: float,
    joint_rates: dict[str, float] | None = None,
) -> tuple[Stage, ...]:
    """The segmentor alone, generator and register against the discriminator, then all together."""
    main = ("G", "Phi")
    segment, apart, joint = steps
    return (
        Stage(name="segment", steps=segment, train={"main": ("S",)}, weights=supervised, needs=("supervised",)),
        Stage(name="align", steps=apart, train={"critic": ("D",), "main": main}, weights={"critic": 1.0, **align}),
        Stage(
            name="joint",
            steps=joint,
            train={"critic": ("D",), "main": (*main, "S")},
            weights={"critic": 1.0, **align, "cons": consistent, **supervised},
            needs=("pair", "supervised"),
            learning_rates=joint_rates or {},
        ),
    )


def jssr_compact() -> Recipe:
    """JSSR of nine organs that trains on two CPU cores: the recipe of the shipped weights.

    `jssr train jssr-compact --data COHORT --supervised COHORT -o RUN`. Against the paper: narrow networks that work at
    half resolution (stem 2), diffeomorphic register applied twice, y reaches the generator only as averages over 8
    trunk voxels (so that it cannot copy y), the generator gives the change to x, several organs, and beside (4) a local
    cross-correlation of the same two images: a generator that is young and small leaves contrast that an L1 distance
    would have the register explain by motion.
    """
    align = {"reg": 2.0, "ncc": 1.0, "smooth": 2.0, "gan": 0.02}
    trunk: dict[str, Any] = {"trunk_widths": [16, 24, 32, 32], "trunk_convs": [1, 1, 1, 1]}
    return Recipe(
        name="jssr-compact",
        description="JSSR of nine organs for two CPU cores",
        network=Network(
            system="jssr",
            networks={
                "G": {"width": 8, **trunk, "stem": 2, "fixed_pool": 8, "residual": True},
                "Phi": {"widths": [32, 48, 64, 96], "convs": [1, 2, 2, 2], "stem": 2},
                "S": {"widths": [16, 32, 64, 96], "convs": [1, 2, 2, 2], "kernel": 3, "stem": 2},
                "D": {"width": 8, "layers": 2},
            },
            options={"passes": 2, "squarings": 4, "coarse": 2},
            structures=ORGANS,
        ),
        preprocessing=Preprocessing(spacing=(3.0, 3.0, 4.0), reference_phase="venous"),
        training=Training(
            stages=_stages((700, 1500, 800), align, SUPERVISED, 0.5, {"S": 2e-3}),
            learning_rates={"G": 1e-3, "Phi": 1e-3, "S": 3e-3, "D": 2e-4},
            schedule="cosine",
            warmup_steps=50,
            clip=1.0,
            ema=0.995,
            patch=(96, 80, 64),
            checkpoint_every=100,
            picture_every=200,
            monitor_every=100,
        ),
        inference=Inference(one_piece=ORGANS),
    )


def register_compact() -> Recipe:
    """The register of JSSR that sees costs (`jssr.nets.cost_register`), alone: no generator, no segmentor.

    `python projects/register/train.py OUT` trains it on painted pairs; its loss is the distance from their known
    displacements. `jssr train` takes the recipe too, with the losses of the stage below.
    """
    return Recipe(
        name="register-compact",
        description="a register that sees costs, taught by painted pairs of bodies, CT and MR",
        network=Network(system="jssr", networks={"Phi": {"form": "costs", "width": 16}}),
        preprocessing=Preprocessing(spacing=(3.0, 3.0, 3.0)),
        training=Training(
            stages=(Stage(name="align", steps=1800, train={"main": ("Phi",)}, weights={"ncc": 1.0, "smooth": 1.0}),),
            learning_rates={"Phi": 1e-3},
            schedule="cosine",
            warmup_steps=50,
            clip=1.0,
            ema=0.995,
            patch=(80, 64, 64),
        ),
    )


def jssr_body() -> Recipe:
    """JSSR between neck and thighs: the register that sees costs and the segmentor of 17 structures, taught further
    together with a generator.

    `jssr train jssr-body --data COHORT --supervised PAINTED --start-from register-compact --start-from body-compact -o
    RUN`, where PAINTED is what `projects/joint/pictures.py` writes. Against `jssr-compact`: register and segmentor
    begin as they were taught on painted bodies and learn slowly, each network's gradient is clipped by itself, and the
    generator is taught alone before the three learn together. No weights of it ship.
    """
    body, register, compact = body_compact(), register_compact(), jssr_compact()
    align = {"reg": 2.0, "ncc": 1.0, "smooth": 2.0, "gan": 0.02}
    return Recipe(
        name="jssr-body",
        description="JSSR of 17 structures between neck and thighs, for two CPU cores",
        network=Network(
            system="jssr",
            networks={
                "G": compact.network.networks["G"],
                "Phi": register.network.networks["Phi"],
                "S": body.network.networks["S"],
                "D": compact.network.networks["D"],
            },
            options={"coarse": 2, "least": 40.0, "tile": [112, 96, 80]},
            structures=body.network.structures,
        ),
        preprocessing=Preprocessing(spacing=register.preprocessing.spacing),
        training=Training(
            stages=(
                Stage(
                    name="synthesise",
                    steps=150,
                    train={"critic": ("D",), "main": ("G",)},
                    weights={"critic": 1.0, **align},
                ),
                Stage(
                    name="joint",
                    steps=350,
                    train={"critic": ("D",), "main": ("G", "Phi", "S")},
                    weights={"critic": 1.0, **align, "cons": 0.5, **SUPERVISED},
                    needs=("pair", "supervised"),
                ),
            ),
            learning_rates={"G": 1e-3, "Phi": 1e-4, "S": 2e-4, "D": 2e-4},
            schedule="cosine",
            warmup_steps=20,
            clip=1.0,
            clip_by="network",
            ema=0.99,
            patch=(80, 64, 64),
            checkpoint_every=50,
            picture_every=100,
            monitor_every=0,
        ),
        inference=body.inference,
    )
