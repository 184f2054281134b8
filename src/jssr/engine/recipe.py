"""What a training run is, as plain typed data: system, networks, stages, rates, precision, seed.

A `Recipe` holds no code. It is saved with every run and inside every checkpoint, and read back from there.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from jssr.core.grid import dims_in_words
from jssr.errors import RecipeError

if TYPE_CHECKING:
    from jssr.systems.base import System

__all__ = ["Recipe", "Stage", "build_system", "load_recipe", "nearest", "override", "recipe_from"]

Need = Literal["pair", "labels", "labelled", "paired", "supervised", "truth"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Stage(_Model):
    """A stretch of training in which the same players minimise the same terms.

    Attributes:
        name: unique in the recipe; `--set stages.NAME.steps=10` finds the stage by it.
        steps: number of steps; each step is one turn of every player.
        train: the players in the order they play, each with the parts (networks) it moves. A critic plays first.
        weights: weight of each loss term; terms that are absent or 0 are not computed.
        needs: what a batch must bring; "labels" are those of the pair, where it has them, "labelled" draws only pairs
            that have them, "paired" are counterparts of both scans in the other modality, "truth" the displacement
            that a pair was made with (`deform`).
        learning_rates: rates of this stage that differ from the recipe's, by part.
        fresh_optimisers: forget the moments of this stage's parts at its start.
    """

    name: str = Field(min_length=1)
    steps: int = Field(ge=0)
    train: dict[str, tuple[str, ...]] = Field(min_length=1)
    weights: dict[str, float] = Field(min_length=1)
    needs: tuple[Need, ...] = ("pair",)
    learning_rates: dict[str, float] = {}
    fresh_optimisers: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """Every part that the stage trains, once each."""
        return tuple(dict.fromkeys(part for parts in self.train.values() for part in parts))


PIECES = ("one_piece", "two_pieces")
"""Keys of a recipe that name some of its structures."""


class Recipe(_Model):
    """Everything that decides what a training run yields, except the data.

    Attributes:
        system: a key of `jssr.systems.SYSTEMS`.
        networks: for each part, the arguments of its network; none for a system without training.
        options: arguments of the system itself.
        structures: names of the segmentor's classes 1, 2, ...; class 0 is the background.
        one_piece: those of them of which only the largest connected piece is kept in use (not in training);
            two_pieces: those of which the two largest are, as of organs that come in pairs.
        anchor: the phase that the others are aligned to; None lets any scan be the fixed one.
        moving: the phase that is moved onto it, which every case must have; None takes any other.
        labelled: share of the labelled training cases whose label maps of pairs training may see.
        deform: pairs are made, of single images, by `jssr.data.deform.Deform` of these numbers; None takes a cohort's.
        refine: steps of instance optimisation after the system, where the user does not say how many.
        descriptor: what that optimisation compares, of `jssr.losses.descriptors.DESCRIPTORS`.
        learning_rates: by part.
        schedule: how the rates fall over ALL steps of all stages, after a linear rise over `warmup_steps`;
            "poly" is (1 - t)^0.9; with `schedule_by` "part" over those stages that train the part, warmed up at the
            start of each part's own; "halving" halves them after every `halve_every` steps.
        clip: largest global gradient norm of one player's turn; None clips nothing.
        batch: pairs per step and process, given to the data source; accumulate: batches per step.
        precision: "auto" is bf16 where the hardware computes in it, else float32 (on old GPUs fp16).
        channels_last: layout of the convolutions' weights; None is channels-last wherever the precision is not
            float32, which is where it is the faster one.
        ema: decay of the averaged weights that are used for inference, e.g. 0.999; None averages nothing.
        spacing: of the network's grid, mm; window: intensities that map to -1..1 (CT); patch: voxels, None = whole;
            in_body: patches are centred on the fixed scan's body.
        dims: axes of the images that the system takes; flat: pixels along each side of the square grid that flat
            images are put onto.
        most_voxels: of the grid that a pair is aligned on, roughly: the spacing grows where it would have more.
        monitor_every, log_every, picture_every, checkpoint_every: in steps; 0 is never (a checkpoint is written at
            the end of each stage in any case).
    """

    name: str = Field(min_length=1)
    description: str = ""
    system: str
    networks: dict[str, dict[str, JsonValue]] = {}
    options: dict[str, JsonValue] = {}
    structures: tuple[str, ...] = ()
    one_piece: tuple[str, ...] = ()
    two_pieces: tuple[str, ...] = ()
    anchor: str | None = None
    moving: str | None = None
    labelled: float = Field(default=1.0, ge=0, le=1)
    deform: dict[str, JsonValue] | None = None
    refine: int = Field(default=0, ge=0)
    descriptor: Literal["mind-ssc", "mind", "macmind"] = "mind-ssc"
    stages: tuple[Stage, ...] = ()
    learning_rates: dict[str, float] = {}
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine", "poly", "halving"] = "constant"
    halve_every: int = Field(default=1000, ge=1)
    schedule_by: Literal["run", "part"] = "run"
    warmup_steps: int = Field(default=0, ge=0)
    clip: float | None = Field(default=None, gt=0)
    batch: int = Field(default=1, ge=1)
    accumulate: int = Field(default=1, ge=1)
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    channels_last: bool | None = None
    ema: float | None = Field(default=None, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)
    spacing: tuple[float, ...] = (3.0, 3.0, 4.0)
    window: tuple[float, float] = (-200.0, 200.0)
    patch: tuple[int, ...] | None = None
    in_body: bool = False
    dims: tuple[Literal[2, 3], ...] = (3,)
    flat: int = Field(default=256, ge=16)
    most_voxels: int | None = Field(default=None, ge=1)
    augment: dict[str, JsonValue] = {}
    log_every: int = Field(10, ge=0)
    monitor_every: int = Field(200, ge=0)
    picture_every: int = Field(500, ge=0)
    checkpoint_every: int = Field(500, ge=0)

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    @property
    def needs(self) -> frozenset[str]:
        """What its stages need of a batch."""
        return frozenset(need for stage in self.stages if stage.steps for need in stage.needs)

    def learning_rate(self, stage: Stage, part: str) -> float:
        """The rate of a part in a stage, before the schedule."""
        return stage.learning_rates.get(part, self.learning_rates[part])

    def first_step(self, stage: Stage) -> int:
        """The step, counted from 0 over all stages, at which a stage begins."""
        return sum(earlier.steps for earlier in self.stages[: self.stages.index(stage)])

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if bool(self.networks) != bool(self.stages):
            raise ValueError("a recipe with networks needs stages that train them, and the other way round")
        if len(set(names)) < len(names):
            raise ValueError(f"two stages have the same name ({', '.join(names)})")
        double = next((name for name in self.structures if self.structures.count(name) > 1), None)
        if double is not None:
            raise ValueError(f"structures: {double!r} stands there twice")
        if self.patch is not None and len(self.patch) not in self.dims:
            raise ValueError(
                f"patch {list(self.patch)} has {len(self.patch)} axes; the system takes {dims_in_words(self.dims)}"
            )
        for key in PIECES:
            unknown = [name for name in getattr(self, key) if name not in self.structures]
            if unknown:
                raise ValueError(f"{key}: {unknown[0]!r} is none of the structures")
        self._check_parts("learning_rates", self.learning_rates)
        for stage in self.stages:
            self._check_parts(f"stages.{stage.name}.learning_rates", stage.learning_rates)
            for player, parts in stage.train.items():
                where = f"stages.{stage.name}.train.{player}"
                if not parts:
                    raise ValueError(f"{where} trains nothing")
                self._check_parts(where, parts)
                for part in parts:
                    if part not in self.learning_rates and part not in stage.learning_rates:
                        raise ValueError(f"learning_rates has none for {part!r}, which {where} trains")
            if not any(stage.weights.values()):
                raise ValueError(f"stages.{stage.name}.weights are all 0")
        if self.moving is not None and self.anchor in (None, self.moving):
            raise ValueError(f"moving {self.moving!r} needs another phase as anchor that it is moved onto")
        if any(size <= 0 for size in (*self.spacing, *(self.patch or ()))):
            raise ValueError("spacing and patch must be positive")
        if self.window[0] >= self.window[1]:
            raise ValueError("window must rise")
        return self

    def _check_parts(self, where: str, parts: Iterable[str]) -> None:
        for part in parts:
            if part not in self.networks:
                raise ValueError(f"{where} names an unknown network {part!r}{nearest(part, self.networks)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error message that names the known word nearest to `word`, or all where none is near."""
    known = list(known)
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; known: {', '.join(known)}" if known else "; none is known here"


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a built-in recipe, or one from a .json or .toml file, with `key=value` overrides applied.

    Raises:
        RecipeError: no such recipe, an unreadable file, an unknown key (the nearest is named), an unfit value.
    """
    from jssr.recipes import RECIPES  # recipes are made of this module's types

    path = Path(name_or_path)
    if str(name_or_path) in RECIPES:
        recipe = RECIPES[str(name_or_path)]()
    elif path.suffix in (".json", ".toml") or path.exists():
        recipe = _read(path)
    else:
        raise RecipeError(f"{name_or_path}: no built-in recipe and no file of that name{nearest(str(path), RECIPES)}")
    return override(recipe, overrides)


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Apply `key=value` texts. Keys are dotted (`networks.G.width`, `stages.0.steps`, `stages.joint.steps`), values
    are JSON, or plain text where they are not JSON. Only keys that the recipe has can be set.

    Raises:
        RecipeError: as `load_recipe`.
    """
    if not overrides:
        return recipe
    data = recipe.model_dump(mode="json")
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"{text!r}: an override is key=value, for example batch=2")
        _assign(data, key.strip(), _value(value.strip()))
    given = {text.partition("=")[0].strip() for text in overrides}
    for key in PIECES:
        if key not in given:
            data[key] = [name for name in data[key] if name in data["structures"]]
    return recipe_from(data, ", ".join(overrides))


def recipe_from(data: object, source: str) -> Recipe:
    """Make a recipe of plain data; `source` says in errors where it came from.

    Raises:
        RecipeError: one line about the first thing that is wrong.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(key) for key in first["loc"])
        if first["type"] == "extra_forbidden":
            known = Stage.model_fields if first["loc"][0] == "stages" else Recipe.model_fields
            raise RecipeError(f"{source}: unknown key {where!r}{nearest(str(first['loc'][-1]), known)}") from None
        problem = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{source}: {where + ': ' if where else ''}{problem}") from None


def build_system(recipe: Recipe) -> System:
    """Build the untrained system that a recipe describes, on the CPU, from torch's global random state.

    Raises:
        RecipeError: an unknown system, or arguments or a patch that its networks do not take.
    """
    from jssr.systems import SYSTEMS  # systems import torch and MONAI, recipes need neither

    if recipe.system not in SYSTEMS:
        raise RecipeError(f"recipe {recipe.name}: unknown system {recipe.system!r}{nearest(recipe.system, SYSTEMS)}")
    networks = {part: dict(arguments) for part, arguments in recipe.networks.items()}
    try:
        system = SYSTEMS[recipe.system](networks, dict(recipe.options), 1 + len(recipe.structures))
        if recipe.patch is not None:
            system.check_patch(recipe.patch)
        return system
    except (TypeError, ValueError, KeyError) as error:
        raise RecipeError(f"recipe {recipe.name}: {recipe.system} cannot be built from it ({error})") from error


def _read(path: Path) -> Recipe:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: this recipe cannot be read ({error})") from None
    try:
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise RecipeError(f"{path}: is not valid {kind} ({error})") from None
    return recipe_from(data, str(path))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _assign(data: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    node: Any = data
    for depth, name in enumerate(path):
        node = node[_find(node, name, key, data, path[:depth])]
    node[_find(node, last, key, data, path)] = value


def _find(node: Any, name: str, key: str, data: dict[str, Any], path: list[str]) -> str | int:
    """The index of `name` in a dict, or in a list by number or by the `name` of its entries."""
    if isinstance(node, list):
        names = [entry["name"] if isinstance(entry, dict) else str(i) for i, entry in enumerate(node)]
        if name in names:
            return names.index(name)
        if name.isdecimal() and int(name) < len(node):
            return int(name)
        raise RecipeError(f"unknown recipe key {key!r}: no {name!r} in {'.'.join(path)}{nearest(name, names)}")
    if not isinstance(node, dict):
        raise RecipeError(f"unknown recipe key {key!r}: {'.'.join(path)} is a value and has nothing inside")
    if name in node or name in _optional(data, path):
        return name
    if path == ["options"] and not difflib.get_close_matches(name, node, n=1, cutoff=0.5):
        return name  # a recipe need not name all that its system takes; the system says what it does not
    known = dict.fromkeys([*node, *_optional(data, path)])
    raise RecipeError(f"unknown recipe key {key!r}: no {name!r}{' in ' + '.'.join(path) if path else ''}"
                      f"{nearest(name, known)}")  # fmt: skip


def _optional(data: dict[str, Any], path: list[str]) -> list[str]:
    """Keys that an override may add: a part's rate, or a term that another stage weighs."""
    if path and path[-1] == "learning_rates":
        return list(data["networks"])
    if path and path[-1] == "weights":
        return list(dict.fromkeys(term for stage in data["stages"] for term in stage["weights"]))
    return []
