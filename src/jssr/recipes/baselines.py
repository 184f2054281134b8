"""Recipes of the systems that JSSR is compared with, at the step budget of `jssr-compact` and on its grid.

Costs and scores as measured: docs/notebook. Learning rates, schedule, averaging and augmentation are JSSR's too, so
that what differs between two rows of a table is the system; the authors' own rates (1e-4, 2e-4) are for runs that are
a hundred times longer.
"""

from __future__ import annotations

from typing import Any

from jssr.recipes.config import Recipe, Stage
from jssr.recipes.jssr import jssr_compact

__all__ = [
    "lapirn_compact",
    "lapirn_mind_compact",
    "pix2pix_compact",
    "vnet_compact",
    "voxelmorph_compact",
    "voxelmorph_mind_compact",
]


def voxelmorph_compact() -> Recipe:
    """VoxelMorph with local cross-correlation. `jssr train voxelmorph-compact --data COHORT -o RUN`."""
    return _register("voxelmorph-compact", "VoxelMorph, local cross-correlation", {"ncc": 1.0, "smooth": 1.0})


def voxelmorph_mind_compact() -> Recipe:
    """VoxelMorph with MIND-SSC. `jssr train voxelmorph-mind-compact --data COHORT -o RUN`.

    Similarity and smoothness stand in the relation that `--refine` has them in.
    """
    return _register("voxelmorph-mind-compact", "VoxelMorph, MIND-SSC", {"mind": 1.0, "smooth": 10.0})


def lapirn_compact() -> Recipe:
    """LapIRN with displacements, 12 channels (28 in print). `jssr train lapirn-compact --data COHORT -o RUN`.

    The first fifth of the steps trains the coarsest level, each other level alone for a tenth, then with those below.
    """
    return _lapirn("lapirn-compact", "LapIRN for two CPU cores", {"ncc": 1.0, "smooth": 1.0})


def lapirn_mind_compact() -> Recipe:
    """The same with MIND-SSC, for two modalities. `jssr train lapirn-mind-compact --data COHORT -o RUN`.

    Similarity and smoothness stand in the relation that `--refine` has them in.
    """
    return _lapirn("lapirn-mind-compact", "LapIRN, MIND-SSC, for two CPU cores", {"mind": 12.0, "smooth": 10.0})


def _lapirn(name: str, description: str, weights: dict[str, float]) -> Recipe:
    levels = ("Phi1", "Phi2", "Phi3")
    tenth = _steps() // 10
    plan = [(1, levels[:1], 2), (2, levels[1:2], 1), (2, levels[:2], 2), (3, levels[2:], 1), (3, levels, 4)]
    names = ("coarse", "middle-alone", "middle", "fine-alone", "fine")
    stages = [
        Stage(
            name=stage,
            steps=share * tenth,
            train={"main": parts},
            weights={f"{term}{level}": weight for term, weight in weights.items()},
        )
        for stage, (level, parts, share) in zip(names, plan, strict=True)
    ]
    return _of(
        name,
        description,
        {"system": "lapirn", "networks": {level: {"width": 12} for level in levels}},
        {"stages": tuple(stages), "learning_rates": dict.fromkeys(levels, 1e-3)},
    )


def pix2pix_compact() -> Recipe:
    """Pix2Pix with its L1 weight of 100. `jssr train pix2pix-compact --data COHORT -o RUN`."""
    stage = Stage(
        name="synthesise",
        steps=_steps(),
        train={"critic": ("D",), "main": ("G",)},
        weights={"critic": 1.0, "gan": 1.0, "l1": 100.0},
    )
    return _of(
        "pix2pix-compact",
        "Pix2Pix for two CPU cores",
        {
            "system": "pix2pix",
            "networks": {
                "G": {"encoder": [12, 24, 32, 32], "decoder": [32, 32, 24, 12], "head": [12], "normalise": True},
                "D": {"width": 8, "layers": 2},
            },
        },
        {"stages": (stage,), "learning_rates": {"G": 1e-3, "D": 2e-4}},
    )


def vnet_compact() -> Recipe:
    """V-Net on the supervised cohort alone, for as many steps as JSSR's segmentor is trained.

    `jssr train vnet-compact --data COHORT --supervised COHORT -o RUN`.
    """
    full = jssr_compact()
    steps = sum(stage.steps for stage in full.training.stages if "S" in stage.networks)
    structures, segment = full.network.structures, full.training.stages[0]
    return _of(
        "vnet-compact",
        "V-Net alone, nine organs, for two CPU cores",
        {"system": "vnet", "networks": {"S": full.network.networks["S"]}, "structures": structures},
        {
            "stages": (segment.model_copy(update={"steps": steps}),),
            "learning_rates": {"S": full.training.learning_rates["S"]},
        },
    ).changed(inference={"one_piece": full.inference.one_piece})


def _register(name: str, description: str, weights: dict[str, float]) -> Recipe:
    """VoxelMorph with a similarity."""
    return _of(
        name,
        f"{description}, for two CPU cores",
        {
            "system": "voxelmorph",
            "networks": {"Phi": {"encoder": [16, 32, 32, 32], "decoder": [32, 32, 32, 32], "head": [32, 16, 16]}},
        },
        {
            "stages": (Stage(name="align", steps=_steps(), train={"main": ("Phi",)}, weights=weights),),
            "learning_rates": {"Phi": 1e-3},
        },
    )


def _steps() -> int:
    """Steps that JSSR's register is trained."""
    return sum(stage.steps for stage in jssr_compact().training.stages if "Phi" in stage.networks)


def _of(name: str, description: str, network: dict[str, Any], training: dict[str, Any]) -> Recipe:
    """`jssr_compact` with another system."""
    none: dict[str, Any] = {"options": {}, "structures": ()}
    return jssr_compact().changed(
        name=name, description=description, network={**none, **network}, training=training, inference={"one_piece": ()}
    )
