"""What a training run is, as plain typed data: system, networks, stages, rates, precision, seed.

A `Recipe` holds no code. It is saved with every run and inside every checkpoint, and read back from there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from jssr.core.grid import dims_in_words
from jssr.errors import nearest

if TYPE_CHECKING:
    pass

__all__ = ["Recipe", "Stage"]

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
        reference_phase: the phase that the others are aligned to; None lets any scan be the fixed one.
        moving: the phase that is moved onto it, which every case must have; None takes any other.
        labelled: share of the labelled training cases whose label maps of pairs training may see.
        deform: pairs are made, of single images, by `Deform` of these numbers; None takes a cohort's.
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
    reference_phase: str | None = None
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
        if self.moving is not None and self.reference_phase in (None, self.moving):
            raise ValueError(f"moving {self.moving!r} needs another phase as reference phase that it is moved onto")
        if any(size <= 0 for size in (*self.spacing, *(self.patch or ()))):
            raise ValueError("spacing and patch must be positive")
        if self.window[0] >= self.window[1]:
            raise ValueError("window must rise")
        return self

    def _check_parts(self, where: str, parts: Iterable[str]) -> None:
        for part in parts:
            if part not in self.networks:
                raise ValueError(f"{where} names an unknown network {part!r}{nearest(part, self.networks)}")
