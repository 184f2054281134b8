"""Recipes of JSSR (Liu et al., ECCV 2020) and its two ablations. Costs and scores as measured: docs/notebook."""

from __future__ import annotations

from jssr.recipes.config import Recipe, Stage

__all__ = [
    "jsegr_compact",
    "jssr_commute_compact",
    "jssr_compact",
    "jssr_paper",
    "jssr_raw_compact",
    "jsynr_compact",
]

ORGANS = (
    "liver",
    "spleen",
    "kidney_right",
    "kidney_left",
    "stomach",
    "pancreas",
    "gallbladder",
    "aorta",
    "vertebrae",
)

SUPERVISED = {"sup": 1.0, "sup_ce": 0.5}
"""(9), and cross-entropy beside it: soft Dice alone is slow to find small organs among ten classes."""


def jssr_paper() -> Recipe:
    """The paper's sizes: P-HNN 64..512, V-Net 16..256 with 5^3 kernels, PatchGAN of 34 voxels, the binary liver.

    `jssr train jssr --data COHORT --supervised COHORT -o RUN`. For GPUs. The learning rate of S and D, 0.1 in print, is
    1e-3 and 1e-4 here: Adam moves every weight by about its rate in each step, and 0.1 is the weights' own size.
    """
    align = {"reg": 2.0, "smooth": 1.0, "gan": 0.02}
    main = ("G", "Phi")
    return Recipe(
        name="jssr",
        description="JSSR at the paper's size, binary liver",
        system="jssr",
        networks={
            "G": {"width": 16, "trunk_widths": [64, 128, 256, 512, 512], "trunk_convs": [2, 2, 3, 3, 3]},
            "Phi": {"widths": [64, 128, 256, 512, 512], "convs": [2, 2, 3, 3, 3]},
            "S": {"widths": [16, 32, 64, 128, 256], "convs": [1, 2, 3, 3, 3], "kernel": 5},
            "D": {"width": 64, "layers": 2},
        },
        structures=("liver",),
        one_piece=("liver",),
        reference_phase="venous",
        stages=(
            Stage(name="segment", steps=20_000, train={"main": ("S",)}, weights={"sup": 1.0}, needs=("supervised",)),
            Stage(name="align", steps=60_000, train={"critic": ("D",), "main": main}, weights={"critic": 1.0, **align}),
            Stage(
                name="joint",
                steps=60_000,
                train={"critic": ("D",), "main": (*main, "S")},
                weights={"critic": 1.0, **align, "cons": 1.0, "sup": 1.0},
                needs=("pair", "supervised"),
            ),
        ),
        learning_rates={"G": 1e-4, "Phi": 1e-3, "S": 1e-3, "D": 1e-4},
        clip=1.0,
        spacing=(1.5, 1.5, 5.0),
        patch=(256, 256, 48),
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
    main = ("G", "Phi")
    return Recipe(
        name="jssr-compact",
        description="JSSR of nine organs for two CPU cores",
        system="jssr",
        networks={
            "G": {
                "width": 8,
                "trunk_widths": [16, 24, 32, 32],
                "trunk_convs": [1, 1, 1, 1],
                "stem": 2,
                "fixed_pool": 8,
                "residual": True,
            },
            "Phi": {"widths": [32, 48, 64, 96], "convs": [1, 2, 2, 2], "stem": 2},
            "S": {"widths": [16, 32, 64, 96], "convs": [1, 2, 2, 2], "kernel": 3, "stem": 2},
            "D": {"width": 8, "layers": 2},
        },
        options={"passes": 2, "squarings": 4, "coarse": 2},
        structures=ORGANS,
        one_piece=ORGANS,
        reference_phase="venous",
        stages=(
            Stage(name="segment", steps=700, train={"main": ("S",)}, weights=SUPERVISED, needs=("supervised",)),
            Stage(name="align", steps=1500, train={"critic": ("D",), "main": main}, weights={"critic": 1.0, **align}),
            Stage(
                name="joint",
                steps=800,
                train={"critic": ("D",), "main": (*main, "S")},
                weights={"critic": 1.0, **align, "cons": 0.5, **SUPERVISED},
                needs=("pair", "supervised"),
                learning_rates={"S": 2e-3},
            ),
        ),
        learning_rates={"G": 1e-3, "Phi": 1e-3, "S": 3e-3, "D": 2e-4},
        schedule="cosine",
        warmup_steps=50,
        clip=1.0,
        ema=0.995,
        spacing=(3.0, 3.0, 4.0),
        patch=(96, 80, 64),
        checkpoint_every=100,
        picture_every=200,
        monitor_every=100,
    )


def jsynr_compact() -> Recipe:
    """JSynR: (7) alone, generator and register without a segmentor. `jssr train jsynr-compact --data COHORT -o RUN`."""
    full = jssr_compact()
    networks = {part: full.networks[part] for part in ("G", "Phi", "D")}
    align = full.stages[1].model_copy(update={"steps": full.stages[1].steps + full.stages[2].steps})
    rates = {part: full.learning_rates[part] for part in networks}
    return full.model_copy(
        update={
            "name": "jsynr-compact",
            "description": "JSynR (7), for two CPU cores",
            "networks": networks,
            "structures": (),
            "one_piece": (),
            "stages": (align,),
            "learning_rates": rates,
        }
    )


def jsegr_compact() -> Recipe:
    """JSegR: register and segmentor without a generator, (12) with (9).

    `jssr train jsegr-compact --data COHORT --supervised COHORT -o RUN`.
    """
    full = jssr_compact()
    networks = {part: full.networks[part] for part in ("Phi", "S")}
    joint = full.stages[2].model_copy(
        update={
            "steps": full.stages[1].steps + full.stages[2].steps,
            "train": {"main": ("Phi", "S")},
            "weights": {"smooth": 2.0, "cons": 0.5, **SUPERVISED},
        }
    )
    return full.model_copy(
        update={
            "name": "jsegr-compact",
            "description": "JSegR (12), for two CPU cores",
            "networks": networks,
            "stages": (full.stages[0], joint),
            "learning_rates": {part: full.learning_rates[part] for part in networks},
        }
    )


def jssr_commute_compact() -> Recipe:
    """JSSR with (13) beside (8): the paper reports that it ends at tau = I (section 5, "extra constraints")."""
    return _with_constraint("jssr-commute-compact", "JSSR with (13)", {"commute": 1.0})


def jssr_raw_compact() -> Recipe:
    """JSSR with (12) beside (8): the paper reports that it may end in blank segmentations (section 5)."""
    return _with_constraint("jssr-raw-compact", "JSSR with (12) beside (8)", {"cons_raw": 0.5})


def _with_constraint(name: str, description: str, weights: dict[str, float]) -> Recipe:
    """`jssr_compact` with one more term in its joint stage."""
    full = jssr_compact()
    *before, joint = full.stages
    more = joint.model_copy(update={"weights": {**joint.weights, **weights}})
    return full.model_copy(update={"name": name, "description": description, "stages": (*before, more)})
