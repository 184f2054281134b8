"""Recipes of macJNet (Zhou et al. 2023).

CT is the fixed phase, named `venous`, MR the moving one, named `t1`, as the phantoms have them; `--set
preprocessing.reference_phase=ct --set preprocessing.moving=mr` for cohorts that name them otherwise. All label maps of
the training cases are seen; `--set training.labelled=0.3` sees those of 30 %, as the paper's main experiment.
"""

from __future__ import annotations

from typing import Any

from jssr.recipes.config import Inference, Network, Preprocessing, Recipe, Stage, Training

LEVELS = ("Phi1", "Phi2", "Phi3")
SEGMENTORS = ("M", "F")
ALIKE, LABEL, SMOOTH = 20.0, 2.0, 0.5
"""lambda_sim, lambda_label, lambda_smo."""
LABEL_COMPACT, SMOOTH_COMPACT = 5.0, (20.0, 20.0, 60.0)
"""Labels weigh about a tenth of macMIND, as printed: with 20 they drew landmarks away. Fields are in voxels of the
patch, where the authors' smoothness counts fractions of the image. The levels below may first bring too much: 80 on all
of them learned slower."""
ALIKE_COMPACT = {"macmind": 45.0, "mind": 20.0, "mi": 3.0}
"""Between CT and MR, shifted by one voxel or two, macMIND's distance rises by 0.45 of what MIND-SSC's does."""
STEPS = (1000, 1200, 300)
"""Of the compact recipes: the register alone, the segmentors alone, both in turns."""
PRINTED: dict[str, Any] = {"distance": 2, "patch": 5, "weights": [0.7, 0.3]}
FINE = {**PRINTED, "bins": {"support": 5, "angles": 8, "rings": 2, "slabs": 3}}
BINS = {"support": 3, "angles": 4, "rings": 1, "slabs": 3}
COARSE: dict[str, Any] = {**PRINTED, "distance": 1, "patch": 3, "bins": BINS}
"""At 4 mm what the printed numbers are at about 2: the same millimetres."""


def macjnet_paper() -> Recipe:
    """The paper's sizes and rates: LapIRN of 28 channels, nnU-Net's network, the liver, 128 x 128 x 96.

    `jssr train macjnet --data COHORT -o RUN`. For GPUs. The paper resamples whole livers to that shape; here it is a
    patch at 2.5 mm.
    """
    levels: dict[str, dict[str, Any]] = {part: {"width": 28} for part in LEVELS}
    segmentors: dict[str, dict[str, Any]] = {part: {"widths": [32, 64, 128, 256, 320]} for part in SEGMENTORS}
    return _recipe(
        "macjnet",
        "macJNet at the paper's size, binary liver",
        {**levels, **segmentors},
        {"similarity": "macmind", "settings": FINE},
        (2.5, 2.5, 2.5),
        Training(
            stages=_stages((30_000,) * 3, ALIKE, LABEL, (SMOOTH,) * 3),
            learning_rates={**dict.fromkeys(LEVELS, 2e-5), **dict.fromkeys(SEGMENTORS, 1e-5)},
            patch=(128, 128, 96),
        ),
    )


def macjnet_compact() -> Recipe:
    """macJNet for two CPU cores: narrow networks, 4 mm, 12 bins in place of 48; the liver, as in the paper.

    Beyond the paper, which leaves the register open: it is shown where macMIND fits (`costs`), without which as many
    steps teach it next to nothing, and descriptors are moved in place of images (`carried`).

    `jssr train macjnet-compact --data COHORT -o RUN`. More organs: `--set 'network.structures=["liver","spleen"]'`;
    nine took segmentors far more steps than the liver alone.
    """
    return compact(
        "macjnet-compact",
        "macJNet for two CPU cores",
        {"similarity": "macmind", "settings": COARSE, "costs": "macmind"},
    )


def compact(name: str, description: str, options: dict[str, Any]) -> Recipe:
    """The compact recipe with the options of a similarity."""
    alike = ALIKE_COMPACT[options["similarity"]]
    networks: dict[str, dict[str, Any]] = {part: {"width": 12, "blocks": 3} for part in LEVELS}
    networks |= {part: {"widths": [8, 16, 32, 48], "heads": 1} for part in SEGMENTORS}
    return _recipe(
        name,
        description,
        networks,
        {**options, "carried": True},
        (4.0, 4.0, 4.0),
        Training(
            stages=_stages(STEPS, alike, LABEL_COMPACT, SMOOTH_COMPACT, dict.fromkeys(SEGMENTORS, 5e-4)),
            learning_rates={**dict.fromkeys(LEVELS, 1e-3), **dict.fromkeys(SEGMENTORS, 6e-3)},
            schedule="cosine",
            schedule_by="network",
            warmup_steps=50,
            clip=1.0,
            ema=0.995,
            patch=(64, 48, 48),
            checkpoint_every=100,
            picture_every=200,
            monitor_every=100,
        ),
    )


def _recipe(
    name: str,
    description: str,
    networks: dict[str, dict[str, Any]],
    options: dict[str, Any],
    spacing: tuple[float, ...],
    training: Training,
) -> Recipe:
    return Recipe(
        name=name,
        description=description,
        network=Network(system="macjnet", networks=networks, options=options, structures=("liver",)),
        preprocessing=Preprocessing(spacing=spacing, reference_phase="venous", moving="t1"),
        training=training,
        inference=Inference(one_piece=("liver",)),
    )


def _stages(
    steps: tuple[int, int, int],
    alike: float,
    label: float,
    smooth: tuple[float, float, float],
    joint_rates: dict[str, float] | None = None,
) -> tuple[Stage, ...]:
    """Register and segmentors each for themselves, then in turns."""
    register, segment, joint = steps
    apart = Stage(
        name="segment", steps=segment, train={"segmentors": SEGMENTORS}, weights={"sup": 1.0}, needs=("labelled",)
    )
    together = Stage(
        name="joint",
        steps=joint,
        train={"register": LEVELS, "segmentors": SEGMENTORS},
        weights={"sim3": alike, "smooth3": smooth[2], "label": label, "sup": 1.0, "cons": 1.0},
        needs=("pair", "labels"),
        learning_rates=joint_rates or {},
    )
    return (*register_stages(register, alike, smooth), apart, together)


def register_stages(steps: int, alike: float, smooth: tuple[float, float, float]) -> tuple[Stage, ...]:
    """LapIRN's: the coarsest level, then each finer one, half of the steps on the finest."""
    shares, stages = (steps // 4, steps // 4, steps // 2), []
    for k, name in enumerate(("coarse", "middle", "fine")):
        weights = {f"sim{k + 1}": alike, f"smooth{k + 1}": smooth[k]}
        stages.append(Stage(name=name, steps=shares[k], train={"register": LEVELS[: k + 1]}, weights=weights))
    return tuple(stages)
