"""The methods of a benchmark's table 1: the scans as they came, our rigid step, systems of ours, and peers."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch

from jssr.core.grid import dims_in_words
from jssr.core.transform import Affine, Displacement, Transform
from jssr.errors import JssrError
from jssr.evaluation import alignment
from jssr.evaluation.runner import Method, Pair
from jssr.io.cohort import Case
from jssr.io.files import make_folder
from jssr.io.provenance import Stopwatch, forget_peak, peak_memory_mib
from jssr.io.transforms import write_displacement
from jssr.losses.descriptors import DESCRIPTORS
from jssr.metrics.results import CaseResult
from jssr.peers import PEERS
from jssr.preprocessing.modality import modality_of
from jssr.preprocessing.rigid import RigidResult
from jssr.recipes.header import split
from jssr.registration.chosen import settings_of, with_preset
from jssr.registration.model import UNTRAINED, Model, load_model
from jssr.registration.options import RegistrationOptions
from jssr.registration.pipeline import prepare, solve, structure_of
from jssr.registration.presets import PRESETS, PresetName
from jssr.report.tables import markdown_table

BEFORE = ("initial", "rigid")
"""Rows that every table begins with."""
ON = " on "
"""Between a segmentor and a generator in the rows of table 2."""


@dataclass(frozen=True)
class Alignment(Method):
    """A row of table 1.

    Attributes:
        source: a weights file or run folder, "jssr" or "jrsnet" for the shipped weights, "discrete", "discrete:" and a
            descriptor, or a peer.
        refine: steps of instance optimisation, for systems of ours.
        similarity: also measure mutual information and SSIM.
        picture: id of the case whose fields are kept.
    """

    source: str = ""
    refine: int = 0
    similarity: bool = False
    picture: str = ""

    @property
    def is_peer(self) -> bool:
        return self.source in PEERS

    @property
    def starts_rigid(self) -> bool:
        """Whether it starts from our rigid step; peers with a linear stage of their own do not."""
        return self.name != BEFORE[0] and not (self.is_peer and PEERS[self.source].own_rigid)

    @property
    def dims(self) -> Sequence[int]:
        """Axes of the scans that it takes."""
        if self.is_peer:
            return PEERS[self.source].dims
        return (2, 3) if self.name in BEFORE else model_of(self.source).recipe.preprocessing.dims

    def identity(self) -> dict[str, Any]:
        measured = {"row": self.name, "similarity": self.similarity}
        if self.is_peer:
            peer = PEERS[self.source]
            return {**measured, "settings": peer.settings, "version": peer.version, "intensities": "CT clipped"}
        weights = None if self.name in BEFORE else model_of(self.source).header.get("checksum")
        preset = None if self.name in BEFORE else _preset(self.source)
        named = {} if preset is None else {"preset": dict(PRESETS[preset].values)}
        return {**measured, "weights": weights, "refine": self.refine, **named}

    def load(self) -> None:
        if self.is_peer:
            PEERS[self.source].load()
        elif self.name not in BEFORE:
            model_of(self.source)

    def complete(self, case: Case, out: Path) -> bool:
        kept = self.name in BEFORE or case.id != self.picture
        return kept or any((out / "fields" / self.folder).glob(f"{case.id}_*"))

    def measure(self, pair: Pair, done: Sequence[CaseResult]) -> list[CaseResult]:
        fixed, moving = pair.scan(pair.fixed), pair.scan(pair.moving)
        labels = pair.labels(pair.fixed, fixed)
        first = self.name == BEFORE[1]
        if first:
            forget_peak()
        rigid = alignment.rigid_of(pair, fixed, moving, fresh=first) if self.starts_rigid else None
        if not first:
            forget_peak()
        scans = alignment.Scans(fixed, moving, labels, pair.cohort.structures())
        transform, seconds = self.align(scans, rigid)
        # Where nothing is done there is nothing to compare: radiographs are not aligned rigidly.
        idle = self.name == BEFORE[0] or (self.name in BEFORE and fixed.grid.ndim == 2)
        peak, seconds = (math.nan, math.nan) if idle else (peak_memory_mib(), seconds)
        values = alignment.measured(pair, scans, transform, self.similarity)
        if pair.case.id == self.picture and isinstance(transform, Displacement):
            folder = make_folder(pair.out / "fields" / self.folder)
            write_displacement(transform, folder / f"{pair.case.id}_{pair.moving}.nii.gz")
        return [CaseResult(pair.case.id, pair.moving, self.name, values, seconds, peak)]

    def align(self, scans: alignment.Scans, rigid: RigidResult | None = None) -> tuple[Transform, float]:
        """Run on a pair, from a rigid step found before (its seconds count) or, without one, found where it is needed.

        Returns:
            The full transform, a field on the fixed grid if it is not linear, and the seconds from the scans to that.
        """
        if self.name == BEFORE[0]:
            return alignment.start_of(scans.fixed, scans.moving), 0.0
        self.load()
        watch = Stopwatch()
        if not self.starts_rigid:
            with watch.stage("align"):
                found = self._by_peer(scans, alignment.start_of(scans.fixed, scans.moving))
            return found, watch.total
        rigid = rigid or alignment.rigid_found(scans.fixed, scans.moving)
        if self.name == BEFORE[1]:
            return rigid.transform, rigid.seconds
        with watch.stage("align"):
            found = self._by_peer(scans, rigid.transform) if self.is_peer else self._by_system(scans, rigid)
        return found, watch.total + rigid.seconds

    def _by_peer(self, scans: alignment.Scans, start: Affine) -> Displacement:
        y, x = (alignment.clipped(one) for one in (scans.fixed, scans.moving))
        return PEERS[self.source].run(y, x, start, torch.get_num_threads()).displacement(scans.fixed.grid)

    def _by_system(self, scans: alignment.Scans, rigid: RigidResult) -> Displacement:
        model = model_of(self.source)
        y, x = scans.fixed, scans.moving
        pair = prepare(model, y, x, found=rigid, finer=self.refine > 0)
        known = structure_of(model, pair, scans.labels, scans.structures)
        named = RegistrationOptions(preset=_preset(self.source))
        chosen = with_preset(named, (modality_of(y), modality_of(x)), f"{y.name} and {x.name}")
        settings = settings_of(chosen, pair, (), None)
        work = solve(model, pair, self.refine, Stopwatch(), known, last_only=True, settings=settings)
        return work.final.chain.displacement(y.grid)

    def described(self, is_2d: bool) -> str:
        """What its numbers are of, in words."""
        if self.name in BEFORE:
            alone = {"initial": "the headers alone", "rigid": "our rigid alignment"}[self.name]
            return "middle on middle, the longer sides equal where a spacing is unknown" if is_2d else alone
        known = self.identity()
        if self.is_peer:
            return f"{known['settings']}" + (f"; version {known['version']}" if known.get("version") else "")
        weights = f"weights {known['weights'][:16]}" if known.get("weights") else "no weights"
        return weights + (f", {self.refine} steps of refinement" if self.refine else "")


def methods_of(
    runs: Sequence[str] = (), refined: Sequence[str] = (), peers: Sequence[str] = (), refine: int = 20
) -> list[Alignment]:
    """Name methods, after those that every table begins with, and make sure that each can be used here.

    Args:
        runs: weights files or run folders of ours, as they are.
        refined: such, with `refine` steps of instance optimisation.
        peers: of `PEERS`, "discrete", and "discrete:mind" or the like for another descriptor, "discrete:ct-lung" or the
            like for a preset.

    Raises:
        CheckpointError: an unreadable run; JssrError: an unknown or missing peer, or two methods of one name.
    """
    found = [Alignment(name, name) for name in BEFORE]
    found += [Alignment(_register(source), source) for source in runs]
    found += [Alignment(f"{_register(source)} + {refine}", source, refine) for source in refined]
    for name in peers:
        if name in BEFORE:
            continue
        if _untrained(name):
            found.append(Alignment(name, name, model_of(name).recipe.inference.refine))
        elif name in PEERS:
            PEERS[name].check()
            found.append(Alignment(name, name))
        else:
            raise JssrError(f"{name!r} is no peer; there are {', '.join((*UNTRAINED, *PEERS))}")
    for names in ([c.name for c in found], [c.folder for c in found]):
        double = next((n for n in names if names.count(n) > 1), None)
        if double:
            raise JssrError(f"two methods are called {double!r}; name the runs' folders differently")
    return found


def check_methods(methods: Sequence[Alignment], n: int) -> None:
    """Make sure that methods take scans of n axes."""
    for one in methods:
        if not one.is_peer and one.name not in BEFORE:
            model_of(one.source).check_descriptor(n)
        if n not in one.dims:
            raise JssrError(f"{one.name} takes {dims_in_words(one.dims)} images; the scans of this cohort are {n}D")


def rows_markdown(
    methods: Sequence[Alignment], measured: Mapping[str, Sequence[Mapping[str, Any]]], is_2d: bool
) -> str:
    """How the rows were measured (`Run.measured`), as a Markdown table."""
    rows = [["row", "what", "measured with"]]
    for one in methods:
        how = "; ".join(map(_how, measured.get(one.name, []))) or "-"
        rows.append([one.name, one.described(is_2d), how])
    note = "\nPeers get CT in the window that ours see.\n" if any(m.is_peer for m in methods) else ""
    if not is_2d:
        note += "\nThe seconds of a row that starts from our rigid alignment hold those of the row rigid.\n"
    return markdown_table(rows, "---") + note


def _how(made: Mapping[str, Any]) -> str:
    several = made["processes"] > 1
    cores = f"{made['processes']} x {made['threads']} threads" if several else f"{made['threads']} threads"
    versions = ", ".join(f"{name} {value}" for name, value in made["versions"].items())
    return f"{cores}, {made['processor']}, {versions}, {made['date']}"


def _register(source: str) -> str:
    """The name of a run, refused where it cannot align."""
    model = model_of(source)
    if "displacement" not in model.system.outputs:
        system = model.recipe.network.system
        raise JssrError(f"{source}: {system} has no register; it can only be a row of table 2 (--synthesis)")
    return run_name(source)


def run_name(source: str) -> str:
    """How a run is called: its folder's name, or its file's; refused where that cannot be the name of a row."""
    path = Path(os.path.abspath(split(source)[1]))  # noqa: PTH100  (not where a link leads)
    name = path.parent.name if path.name == "weights.safetensors" else path.name.removesuffix(".safetensors")
    if not name or name in (*BEFORE, *UNTRAINED, *PEERS) or ON in name:
        raise JssrError(f"{source}: {name!r} cannot be the name of a row; rename the run")
    return name


@lru_cache(maxsize=8)
def model_of(source: str) -> Model:
    """A system of ours by its source, read once a process; one that ships with weights is known by its name."""
    if not _untrained(source):
        return load_model(checkpoint=source)
    system, _, descriptor = source.partition(":")
    return load_model(system, descriptor=None if descriptor in PRESETS else descriptor or None)


def _preset(source: str) -> PresetName | None:
    """The preset that a source names: "discrete:ct-lung"."""
    name = source.partition(":")[2]
    return cast(PresetName, name) if _untrained(source) and name in PRESETS else None


def _untrained(source: str) -> bool:
    """Whether that is a system without weights, perhaps with a descriptor or a preset, which must exist."""
    system, chosen, descriptor = source.partition(":")
    if system == "discrete" and chosen and descriptor not in (*DESCRIPTORS, *PRESETS):
        known = f"{', '.join(DESCRIPTORS)}; of presets there are {', '.join(PRESETS)}"
        raise JssrError(f"{source!r}: no descriptor {descriptor!r}; there are {known}")
    return system == "discrete" or source in UNTRAINED
