"""What a training run is, as plain typed data in four parts: network, preprocessing, training and inference.

A `Recipe` holds no code. It is saved with every run and inside every checkpoint, and read back from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from jssr.core.grid import dims_in_words
from jssr.errors import nearest
from jssr.losses.descriptors import descriptor_of
from jssr.recipes.augmentation import Augment, Deform

Need = Literal["pair", "labels", "labelled", "paired", "supervised", "truth"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Stage(_Model):
    """A stretch of training in which the same optimiser groups minimise the same terms.

    Attributes:
        name: unique in the recipe; `--set training.stages.NAME.steps=10` finds the stage by it.
        steps: number of steps; each step updates every optimiser group once.
        train: the optimiser groups in their order, each with the networks that it updates. A critic comes first.
        weights: weight of each loss term; terms that are absent or 0 are not computed.
        needs: what a batch must bring: "labels" are those of the pair, where it has them, "labelled" draws only pairs
            that have them, "paired" is the paired ground truth of both scans, "truth" the displacement that a pair was
            made with (`deform`).
        learning_rates: rates of this stage that differ from the recipe's, by network.
        fresh_optimisers: forget the moments of this stage's networks at its start.
    """

    name: str = Field(min_length=1)
    steps: int = Field(ge=0)
    train: dict[str, tuple[str, ...]] = Field(min_length=1)
    weights: dict[str, float] = Field(min_length=1)
    needs: tuple[Need, ...] = ("pair",)
    learning_rates: dict[str, float] = {}
    fresh_optimisers: bool = False

    @property
    def networks(self) -> tuple[str, ...]:
        """Every network that the stage trains, once each."""
        return tuple(dict.fromkeys(name for names in self.train.values() for name in names))


class Network(_Model):
    """What is trained, or used as it is.

    Attributes:
        system: a key of `jssr.systems.SYSTEMS`, or a name of the user's where the recipe is a file with `build`.
        networks: the arguments of each network; none for a system without training.
        options: arguments of the system itself.
        structures: names of the segmentor's classes 1, 2, ...; class 0 is the background.
        project: the user's Python file that defines the system (`jssr.recipes.project`); None where it ships.
    """

    system: str
    networks: dict[str, dict[str, JsonValue]] = {}
    options: dict[str, JsonValue] = {}
    structures: tuple[str, ...] = ()
    project: str | None = None

    @field_validator("structures")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is named twice")
        return names


class Preprocessing(_Model):
    """How scans reach the network, in training and in use.

    Attributes:
        spacing: of the working grid, mm.
        window: intensities that map to -1..1 (CT).
        dims: axes of the images that the system takes.
        pixels: along each side of the square grid that 2D images are resampled to.
        most_voxels: of the working grid, roughly: the spacing grows where it would have more.
        fewest_voxels: the same, of a small scan: the spacing shrinks where it would have fewer, down to the scan's own.
        reference_phase: the phase that the others are aligned to; None lets any scan be the fixed one.
        moving: the phase that is moved onto it, which every case must have; None takes any other.
    """

    spacing: tuple[float, ...] = (3.0, 3.0, 4.0)
    window: tuple[float, float] = (-200.0, 200.0)
    dims: tuple[Literal[2, 3], ...] = (3,)
    pixels: int = Field(default=256, ge=16)
    most_voxels: int | None = Field(default=None, ge=1)
    fewest_voxels: int | None = Field(default=None, ge=1)
    reference_phase: str | None = None
    moving: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Preprocessing:
        if any(size <= 0 for size in self.spacing):
            raise ValueError("spacing must be positive")
        if self.window[0] >= self.window[1]:
            raise ValueError("window must rise")
        if self.moving is not None and self.reference_phase in (None, self.moving):
            raise ValueError(f"moving {self.moving!r} needs another phase as reference phase that it is moved onto")
        return self


class Training(_Model):
    """Stages, optimiser, batches and what a run writes.

    Attributes:
        learning_rates: by network.
        schedule: how the rates fall over ALL steps of all stages, after a linear rise over `warmup_steps`; "poly" is
            (1 - t)^0.9; "halving" halves them after every `halve_every` steps.
        schedule_by: "network" counts only the stages that train the network, and warms up at the start of them.
        clip: largest gradient norm, `clip_by` "group" of all networks of an optimiser group together, "network" of each
            for itself: then none is held back by the large gradient of another. None clips nothing.
        batch: pairs of a batch; accumulate: batches per step. Several processes share the pairs of a step.
        precision: "auto" is bf16 where the hardware computes in it, else float32 (on old GPUs fp16).
        channels_last: layout of the convolutions' weights; None is channels-last wherever the precision is not
            float32, which is where it is the faster one.
        ema: decay of the averaged weights that are used for inference, e.g. 0.999; None averages nothing.
        patch: shape in voxels; None is the full scan. in_body: patches are centred on the fixed scan's body.
        labelled: share of the labelled training cases whose label maps of pairs training may see.
        augment: how scans are varied; None takes them as they are, and cuts patches from their middle.
        deform: pairs are made from single images by deforming them; None takes a cohort's pairs.
        monitor_every, log_every, picture_every, checkpoint_every: in steps; 0 is never (a checkpoint is written at
            the end of each stage in any case).
    """

    stages: tuple[Stage, ...] = ()
    learning_rates: dict[str, float] = {}
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine", "poly", "halving"] = "constant"
    halve_every: int = Field(default=1000, ge=1)
    schedule_by: Literal["run", "network"] = "run"
    warmup_steps: int = Field(default=0, ge=0)
    clip: float | None = Field(default=None, gt=0)
    clip_by: Literal["group", "network"] = "group"
    batch: int = Field(default=1, ge=1)
    accumulate: int = Field(default=1, ge=1)
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    channels_last: bool | None = None
    ema: float | None = Field(default=None, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)
    patch: tuple[int, ...] | None = None
    in_body: bool = False
    labelled: float = Field(default=1.0, ge=0, le=1)
    augment: Augment | None = Augment()
    deform: Deform | None = None
    log_every: int = Field(default=10, ge=0)
    monitor_every: int = Field(default=200, ge=0)
    picture_every: int = Field(default=500, ge=0)
    checkpoint_every: int = Field(default=500, ge=0)

    @field_validator("stages", mode="before")
    @classmethod
    def _by_name(cls, stages: object) -> object:
        """Stages may be given as a table, name to stage, in their order."""
        if isinstance(stages, Mapping):
            return [{"name": name, **stage} if isinstance(stage, Mapping) else stage for name, stage in stages.items()]
        return stages

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages have the same name ({', '.join(names)})")
        if any(size <= 0 for size in self.patch or ()):
            raise ValueError("patch must be positive")
        for stage in self.stages:
            if not any(stage.weights.values()):
                raise ValueError(f"stages.{stage.name}.weights are all 0")
            for group, networks in stage.train.items():
                where = f"stages.{stage.name}.train.{group}"
                if not networks:
                    raise ValueError(f"{where} trains nothing")
                for name in networks:
                    if name not in self.learning_rates and name not in stage.learning_rates:
                        raise ValueError(f"learning_rates has none for {name!r}, which {where} trains")
        return self

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    @property
    def needs(self) -> frozenset[str]:
        """What its stages need of a batch."""
        return frozenset(need for stage in self.stages if stage.steps for need in stage.needs)

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)

    def learning_rate(self, stage: Stage, network: str) -> float:
        """The rate of a network in a stage, before the schedule."""
        return stage.learning_rates.get(network, self.learning_rates[network])

    def first_step(self, stage: Stage) -> int:
        """The step, counted from 0 over all stages, at which a stage begins."""
        return sum(earlier.steps for earlier in self.stages[: self.stages.index(stage)])


class Inference(_Model):
    """What happens after the network, in use alone.

    Attributes:
        refine: steps of instance optimisation, where the user does not say how many.
        descriptor: what that optimisation compares, of `jssr.losses.descriptors.DESCRIPTORS`.
        one_piece: structures of which only the largest connected piece is kept; two_pieces: those of which the two
            largest are, as of organs that come in pairs.
        least_confidence: mean probability within a structure below which it is not believed, and left out.
        least_ml: structure to millilitres below which it is left out where it lies whole within the scan; where it
            touches the scan's border, a fifth of that.
    """

    refine: int = Field(default=0, ge=0)
    descriptor: str = "mind-ssc"
    one_piece: tuple[str, ...] = ()
    two_pieces: tuple[str, ...] = ()
    least_confidence: float = Field(default=0.0, ge=0, le=1)
    least_ml: dict[str, float] = {}

    @field_validator("descriptor")
    @classmethod
    def _known(cls, key: str) -> str:
        return descriptor_of(key).key


class Recipe(_Model):
    """Everything that decides what a training run yields, except the data."""

    name: str = Field(min_length=1)
    description: str = ""
    network: Network
    preprocessing: Preprocessing = Preprocessing()
    training: Training = Training()
    inference: Inference = Inference()

    def changed(self, **changes: str | Mapping[str, Any]) -> Recipe:
        """The same recipe with other values: a name, a description, or of a section the keys that a mapping names.

        Raises:
            ValidationError: the values do not fit.
        """
        values: dict[str, Any] = dict(self)
        for key, change in changes.items():
            old = values.get(key)
            if isinstance(old, _Model) and isinstance(change, Mapping):
                change = dict(old) | dict(change)
            values[key] = change
        return Recipe(**values)

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if bool(self.network.networks) != bool(self.training.stages):
            raise ValueError("a recipe with networks needs stages that train them, and the other way round")
        patch, dims = self.training.patch, self.preprocessing.dims
        if patch is not None and len(patch) not in dims:
            takes = dims_in_words(dims)
            raise ValueError(f"training.patch {list(patch)} has {len(patch)} axes; the system takes {takes}")
        for key in ("one_piece", "two_pieces", "least_ml"):
            unknown = [name for name in getattr(self.inference, key) if name not in self.network.structures]
            if unknown:
                raise ValueError(f"inference.{key}: {unknown[0]!r} is none of the structures")
        self._check_networks("training.learning_rates", self.training.learning_rates)
        for stage in self.training.stages:
            where = f"training.stages.{stage.name}"
            self._check_networks(f"{where}.learning_rates", stage.learning_rates)
            for group, networks in stage.train.items():
                self._check_networks(f"{where}.train.{group}", networks)
        return self

    def _check_networks(self, where: str, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.network.networks:
                raise ValueError(f"{where} names an unknown network {name!r}{nearest(name, self.network.networks)}")
