"""A trained system with its recipe, ready to be used on a device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from jssr.core.grid import Grid
from jssr.core.hardware import choose_precision
from jssr.core.volume import Modality, Volume
from jssr.errors import CheckpointError, JssrError, nearest
from jssr.losses.descriptors import descriptor_of
from jssr.preprocessing.modality import modality_of
from jssr.recipes.config import Recipe
from jssr.recipes.load import build_system, load_recipe
from jssr.recipes.weights import load_system
from jssr.systems import SYSTEMS
from jssr.systems.base import System, large_enough

WEIGHTS = Path(str(files("jssr"))) / "weights"
"""Where the weights that ship are."""

SHIPPED = {
    "jssr": "jssr-compact.safetensors",
    "jrsnet": "jrsnet-compact.safetensors",
    "segmentor": "body-compact.safetensors",
}
"""The file of a system's usual weights, of each system that has some."""

UNTRAINED = ("discrete", "rigid")
"""Systems without weights; each has a recipe of its name."""

DEFAULT_SYSTEM = "discrete"
"""Aligns two scans that nobody chose a system for, whatever their modality. On real CT its landmark error is about half
of the shipped network's, which has seen phantoms of the abdomen alone; docs/systems.md has the pairs."""


@dataclass(frozen=True, eq=False)
class Model:
    """A system in evaluation mode on `device`, the recipe by which it was trained, the header of its weights file and
    that file as the user knows it (`source`); `deterministic` takes only algorithms that repeat bit for bit."""

    system: System
    recipe: Recipe
    header: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    device: str = "cpu"
    deterministic: bool = False

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the segmentor's labels 1, 2, ..."""
        return self.recipe.network.structures

    @property
    def label_names(self) -> dict[int, str]:
        return dict(enumerate(self.structures, start=1))

    @property
    def pieces(self) -> dict[int, int]:
        """Labels of which a number of connected pieces alone, the largest, are kept: label to number."""
        after = self.recipe.inference
        kept = {name: n for n, names in ((2, after.two_pieces), (1, after.one_piece)) for name in names}
        return {k: kept[name] for k, name in self.label_names.items() if name in kept}

    @property
    def modalities(self) -> dict[str | None, str]:
        """Phase to "ct" or "mr" of the pairs that it was trained on; nothing where that is not known."""
        pairs = (self.header.get("data") or {}).get("pairs") or {}
        return dict(pairs.get("modalities") or {})

    def doubt(self, scan: Volume, moving: bool = False) -> str:
        """A warning where a segmentor (`moving`: of the moving modality) was not trained on its modality, or ""."""
        known, found = self.modalities, modality_of(scan)
        if not known and self.recipe.network.system == "jssr" and self.source.startswith("shipped"):
            known = {self.recipe.preprocessing.reference_phase: "ct"}
        phases = self.recipe.preprocessing
        role = phases.moving if moving else phases.reference_phase
        taught = {known[role]} if phases.moving is not None and role in known else set(known.values())
        if not taught or found in taught:
            return ""
        other = "; leave out --moving" if moving else "; --moving takes the other segmentor"
        told = f"This segmentor was trained on {' and '.join(sorted(taught))}; {scan.name} looks like {found}"
        return told + (other if found in known.values() else "")

    def check_descriptor(self, n: int) -> None:
        """Make sure that what it compares describes images of n axes; a JssrError where it does not."""
        descriptor_of(self.recipe.inference.descriptor).check(n)

    def exchanged(self, fixed: Modality, moving: Modality) -> tuple[str, ...]:
        """A warning where a system of two modalities gets them in other places than it was trained on."""
        known, phases = self.modalities, self.recipe.preprocessing
        wanted = known.get(phases.reference_phase), known.get(phases.moving)
        if phases.moving is None or None in wanted or wanted == (fixed, moving):
            return ()
        trained = f"This system was trained to move {wanted[1]} onto {wanted[0]}"
        return (f"{trained}; these scans are {moving}, to be moved onto {fixed}.",)

    @property
    def precision(self) -> str:
        """What the networks compute in."""
        kind = torch.device(self.device).type
        return choose_precision("auto", kind) if kind in ("cpu", "cuda") else "32-true"

    @contextmanager
    def computing(self, grid: Grid) -> Iterator[None]:
        """Without gradients, in the model's precision, deterministic if asked for.

        Raises:
            ImageError: the networks cannot work on a grid as small as this.
        """
        kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.precision)
        cast = torch.autocast(torch.device(self.device).type, dtype=kind, enabled=kind is not None)
        with self._repeatable(), torch.inference_mode(), cast, large_enough(self.system, grid.shape, self.source):
            yield

    @contextmanager
    def _repeatable(self) -> Iterator[None]:
        # On a CPU everything used here repeats bit for bit as it is, and the switch itself costs seconds: it loads
        # torch's compiler.
        if not self.deterministic or torch.device(self.device).type == "cpu":
            yield
            return
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def weights_at(source: str | os.PathLike[str]) -> Path:
    """A weights file or a run's folder. Where nothing here bears the name, weights that ship: of a system, by its name,
    or any, by their file's name without its ending ("body-compact").

    Raises:
        CheckpointError: the package lacks them.
    """
    name = os.fspath(source)
    if Path(source).exists() or Path(name).name != name:
        return Path(source)
    if name in SHIPPED:
        return shipped_weights(name)
    path = WEIGHTS / f"{name}.safetensors"
    return path if path.is_file() else Path(source)


def shipped_names() -> list[str]:
    """The names by which `--checkpoint` and `jssr info` take the weights that come with the package."""
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def shipped_weights(system: str) -> Path:
    """The weights that come with the package.

    Raises:
        CheckpointError: no such system, or none ship for it.
    """
    if system not in SYSTEMS:
        raise CheckpointError(f"unknown system {system!r}{nearest(system, SYSTEMS)}")
    path = WEIGHTS / SHIPPED[system] if system in SHIPPED else None
    if path is None or not path.is_file():
        raise CheckpointError(f"no weights ship for system {system!r}; pass a checkpoint (--checkpoint FILE)")
    return path


def load_model(
    system: str | None = None,
    checkpoint: str | os.PathLike[str] | Model | None = None,
    device: str = "cpu",
    deterministic: bool = False,
    descriptor: str | None = None,
) -> Model:
    """Load a system for use.

    Args:
        system: its name; None takes the checkpoint's, or without one "jssr", which segments and synthesises.
        checkpoint: a weights file or a run's folder, or the name of a system whose weights ship; None takes the
            system's shipped weights. A `Model` is returned as it is.
        device, deterministic, descriptor: as in `jssr.register`.

    Raises:
        ValueError: an unknown descriptor.
        CheckpointError: no such file, a damaged one, one of another system, or none that ships.
        JssrError: a device that this machine does not have.
    """
    if descriptor is not None:
        descriptor_of(descriptor)
    if isinstance(checkpoint, Model):
        return replace(checkpoint, recipe=_comparing(checkpoint.recipe, descriptor)) if descriptor else checkpoint
    if system in UNTRAINED:
        if checkpoint is not None:
            raise CheckpointError(f"{checkpoint}: {system} takes no weights; leave out the checkpoint or the system")
        recipe = _comparing(load_recipe(str(system)), descriptor)
        return _ready(build_system(recipe), recipe, {}, f"{system}, without training", device, deterministic)
    path = weights_at(checkpoint) if checkpoint is not None else shipped_weights(system or "jssr")
    built, recipe, header = load_system(path, system)
    source = f"shipped {path.name}" if path.parent == WEIGHTS else str(path)
    return _ready(built, _comparing(recipe, descriptor), header, source, device, deterministic)


def _comparing(recipe: Recipe, descriptor: str | None) -> Recipe:
    """The recipe with another descriptor, for the search too where the system is one."""
    if descriptor is None:
        return recipe
    options = dict(recipe.network.options)
    if recipe.network.system == "discrete":
        options["descriptor"] = descriptor
    return recipe.changed(network={"options": options}, inference={"descriptor": descriptor})


def aligning_model(
    system: str | None = None,
    checkpoint: str | os.PathLike[str] | Model | None = None,
    device: str = "cpu",
    deterministic: bool = False,
    descriptor: str | None = None,
) -> Model:
    """`load_model` for pairs: with neither a system nor a checkpoint `DEFAULT_SYSTEM`."""
    if system is None and checkpoint is None:
        system = DEFAULT_SYSTEM
    return load_model(system, checkpoint, device, deterministic, descriptor)


def segmenting_model(
    scan: Volume,
    system: str | None = None,
    checkpoint: str | os.PathLike[str] | Model | None = None,
    device: str = "cpu",
    deterministic: bool = False,
) -> Model:
    """`load_model` for a single scan: with neither a system nor a checkpoint "segmentor", of radiographs "jrsnet"."""
    if system is None and checkpoint is None:
        system = "segmentor" if scan.grid.ndim == 3 else "jrsnet"
    return load_model(system, checkpoint, device, deterministic)


def _ready(
    system: System, recipe: Recipe, header: dict[str, Any], source: str, device: str, deterministic: bool
) -> Model:
    """Put a system on its device."""
    try:
        system = system.to(device)
        float(torch.zeros(1, device=device).add(1))  # "meta" is a device and computes nothing
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise JssrError(f"device {device!r} cannot be used on this machine ({error}); try --device cpu") from None
    return Model(system.eval(), recipe, header, source, device, deterministic)
