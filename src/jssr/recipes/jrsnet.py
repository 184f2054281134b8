"""Recipes of JRS-Net (Mahapatra et al. 2018), in 2D.

Costs and scores as measured: docs/notebook.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jssr.recipes.augmentation import Augment, Deform
from jssr.recipes.config import Inference, Network, Preprocessing, Recipe, Stage, Training

CONTENT = {"nmi": 1.0, "ssim": 1.0, "features": 1.0}
"""Equation (2)."""
CRITICS = {"critic_y": 1.0, "critic_x": 1.0}
JOINTLY = {**CONTENT, "gan": 1.0, "gan_back": 1.0, "seg": 1.0, "field": 1.0, "cycle": 10.0, **CRITICS}
"""Equation (6), and what the discriminators minimise."""
MAIN = ("G", "F")
TOGETHER = {"critic": ("DY", "DX"), "main": MAIN}
NEEDS = ("pair", "labels", "truth")
BEGIN, JOINT = 4000, 1200
"""Steps of the two stages."""
FIELD = 25.0
"""Of equation (4)'s field, that (6) counts once: G's layers learn it slowest (docs/notebook, "JRS-Net")."""

STILL: dict[str, Any] = {
    "p_affine": 0.0, "p_elastic": 0.0, "p_slices": 0.0, "p_cut": 0.0, "p_remap": 0.0, "p_remap_supervised": 0.2,
    "p_blur": 0.1,
}  # fmt: skip
"""Images vary in brightness and noise alone: slices and fields of view are those of scanners."""

VARIED: dict[str, Any] = {
    "p_affine": 0.8, "rotation": 6.0, "shift": 4.0, "scale": [0.9, 1.6], "p_elastic": 0.3, "elastic": 2.0,
    "p_intensity": 0.9, "contrast": 0.3, "brightness": 0.2, "gamma": 0.5, "p_remap_supervised": 0.5, "p_blur": 0.3,
    "noise": 0.05, "p_correlated": 0.7, "correlated": 0.25, "grain": [4.0, 30.0],
}  # fmt: skip
"""How the compact recipes vary images: real films differ from phantoms in field of view and exposure, and two films of
a patient in opacities, which noise of a coarse grain stands for."""


def jrsnet_paper() -> Recipe:
    """As published: 64 maps, batch normalisation, pairs as printed, Adam 0.93, 10^5 steps at 1e-3. Not trained here.

    What the paper leaves open: 16 blocks, as in SRGAN; images of 256 pixels; 2000 steps of its first part; one pair a
    step; a tenth of the pairs without their mask. `--set network.options.vgg16=FILE` names VGG16's weights.
    `jssr train jrsnet --data COHORT -o RUN`.
    """
    generator: dict[str, Any] = {"width": 64, "blocks": 16}
    return Recipe(
        name="jrsnet",
        description="JRS-Net as published",
        network=Network(
            system="jrsnet",
            networks={"G": generator, "F": generator, "DY": {"width": 64}, "DX": {"width": 64}},
            options={"unmasked": 0.1, "vgg16": None},
            structures=("lungs",),
        ),
        preprocessing=Preprocessing(dims=(2,), pixels=256),
        training=Training(
            stages=(
                _stage("begin", 2000, {"main": MAIN}, {"mse": 1.0, "cycle": 1.0}),
                _stage("joint", 100_000, TOGETHER, JOINTLY),
            ),
            learning_rates=dict.fromkeys(("G", "F", "DY", "DX"), 1e-3),
            betas=(0.93, 0.999),
            deform=Deform(),
            augment=Augment(**STILL),
        ),
        inference=Inference(two_pieces=("lungs",)),
    )


def jrsnet_compact() -> Recipe:
    """JRS-Net at 128 pixels for two CPU cores. `jssr train jrsnet-compact --data COHORT -o RUN`.

    Blocks of 32 maps on half the size whose dilations see the whole image, without which no turn by 180 degrees can be
    seen; a field of B-splines; each image normalised by itself; most pairs moved as between two visits, where the print
    has only turns of 20 degrees and more; G's image tied to the moving one through its field (`tied`), as every other
    term is also met by a copy of the reference; G applied twice in use.
    """
    generator: dict[str, Any] = {
        "width": 32, "blocks": 8, "dilations": [1, 2, 4, 8, 16, 8, 4, 2], "stem": 2, "batch_norm": False,
        "control_points": 16,
    }  # fmt: skip
    alone = {"mse": 1.0, "field": FIELD, "seg": 1.0, "tied": 1.0}
    jointly = {**JOINTLY, "gan": 0.1, "gan_back": 0.1, "cycle": 1.0, "field": FIELD, "tied": 1.0}
    return compact(
        "jrsnet-compact",
        "JRS-Net at 128 pixels for two CPU cores",
        Network(
            system="jrsnet",
            networks={"G": generator, "F": generator, "DY": {"width": 8}, "DX": {"width": 8}},
            options={"unmasked": 0.5, "vgg16": None, "passes": 2},
            structures=("lungs",),
        ),
        (_stage("begin", BEGIN, {"main": ("G",)}, alone), _stage("joint", JOINT, TOGETHER, jointly)),
        {"G": 1e-3, "F": 1e-3, "DY": 2e-4, "DX": 2e-4},
    ).changed(inference={"two_pieces": ("lungs",)})


def _stage(name: str, steps: int, train: Mapping[str, tuple[str, ...]], weights: dict[str, float]) -> Stage:
    return Stage(name=name, steps=steps, train=dict(train), weights=weights, needs=NEEDS)


def compact(
    name: str, description: str, network: Network, stages: tuple[Stage, ...], learning_rates: dict[str, float]
) -> Recipe:
    """A register of 128 pixels with the pairs and the schedule of `jrsnet-compact`."""
    return Recipe(
        name=name,
        description=description,
        network=network,
        preprocessing=Preprocessing(dims=(2,), pixels=128),
        training=Training(
            stages=stages,
            learning_rates=learning_rates,
            deform=Deform(p_mild=0.6, p_same=0.1, mild_bend=(0.0, 8.0), mild_shift=(0.0, 30.0), mild_zoom=0.2),
            betas=(0.93, 0.999),
            schedule="cosine",
            schedule_by="network",
            clip=1.0,
            batch=4,
            ema=0.99,
            augment=Augment(**STILL | VARIED),
        ),
    )
