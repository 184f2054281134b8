"""What the options of a pair come to: its preset put under them, the steps and the settings of the optimisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jssr.core.volume import Modality, Volume
from jssr.errors import OptionError
from jssr.preprocessing.prepare import PreparedPair
from jssr.recipes.load import load_recipe
from jssr.registration.masks import rigid_parts
from jssr.registration.model import Model
from jssr.registration.options import KNOBS, RegistrationOptions
from jssr.registration.presets import PRESETS
from jssr.registration.settings import OptimisationSettings


def with_preset(options: RegistrationOptions, modalities: tuple[Modality, Modality], scans: str) -> RegistrationOptions:
    """The options with the values of their preset where the user named none.

    Args:
        modalities: of the fixed and of the moving scan; `scans` describes both, for the message.

    Raises:
        OptionError: the preset is for other modalities.
    """
    if options.preset is None:
        return options
    preset = PRESETS[options.preset]
    if frozenset(modalities) not in preset.pairs:
        fits = ", ".join(one.name for one in PRESETS.values() if frozenset(modalities) in one.pairs)
        raise OptionError(
            f"preset {preset.name}: is for {preset.takes}, got {scans}; for these there is {fits or 'no preset'}. A "
            "wrong guess is put right by naming the modality"
        )
    return replace(options, **missing_values(options))


def missing_values(options: RegistrationOptions) -> dict[str, Any]:
    """What the preset of some options sets, except what they name."""
    values = dict(PRESETS[options.preset].values) if options.preset is not None else {}
    if options.checkpoint is not None:
        values.pop("system", None)  # the checkpoint decides
    if options.refine == 0:
        values = {name: value for name, value in values.items() if name not in KNOBS}
    return {name: value for name, value in values.items() if getattr(options, name) is None}


def steps_of(model: Model, options: RegistrationOptions, masked: bool = False) -> int:
    """Steps of instance optimisation: those named, else the recipe's; as many as `discrete` makes where something was
    asked of the optimisation, or a mask was given, and the recipe has none."""
    if options.refine is not None:
        return options.refine
    usual, alone = model.recipe.inference.refine, model.recipe.network.system == "rigid"
    asked = options.asks or (masked and not alone)
    return load_recipe("discrete").inference.refine if usual == 0 and asked else usual


def settings_of(
    options: RegistrationOptions, pair: PreparedPair, values: Sequence[int], labels: Volume | None
) -> OptimisationSettings:
    """What the instance optimisation of a prepared pair is asked for; label `values` of `labels` stay rigid."""
    grid = pair.grid if pair.finer is None else pair.finer[0].grid
    parts = None if labels is None else rigid_parts(values, labels, grid)
    smoothness = 1.0 if options.smoothness is None else options.smoothness
    return OptimisationSettings(options.similarity, smoothness, options.spacing, options.sliding, parts)
