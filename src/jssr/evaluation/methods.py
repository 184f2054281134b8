"""What stands in the rows of a benchmark's table: runs of ours, tools, and the scans as they came."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jssr.core.grid import dims_in_words
from jssr.errors import JssrError
from jssr.losses.descriptors import DESCRIPTORS
from jssr.peers import TOOLS
from jssr.registration.model import UNTRAINED, Model, load_model

__all__ = ["BEFORE", "ON", "Contestant", "check_contestants", "contestants_of", "model_of", "run_name"]

BEFORE = ("initial", "rigid")
"""Rows that every table begins with."""
ON = " on "
"""Between a segmentor and a generator in the rows of table 2."""


@dataclass(frozen=True)
class Contestant:
    """A row of the table.

    Attributes:
        name: of the row.
        source: a weights file or run folder, "jssr" or "jrsnet" for the shipped weights, "discrete", "discrete:" and a
            descriptor, or a tool.
        refine: steps of instance optimisation, for systems of ours.
    """

    name: str
    source: str
    refine: int = 0

    @property
    def is_tool(self) -> bool:
        return self.source in TOOLS

    @property
    def starts_rigid(self) -> bool:
        """Whether it starts from our rigid alignment; tools with a linear stage of their own do not."""
        return self.name != BEFORE[0] and not (self.is_tool and TOOLS[self.source].own_rigid)

    def identity(self) -> dict[str, Any]:
        """What its numbers are of, as plain data: the weights and the steps, or the settings of the tool."""
        if self.is_tool:
            tool = TOOLS[self.source]
            return {"row": self.name, "settings": tool.settings, "version": tool.version}
        weights = None if self.name in BEFORE else model_of(self.source).header.get("checksum")
        return {"row": self.name, "weights": weights, "refine": self.refine}

    def load(self) -> None:
        """Read weights and libraries, once a process and before any clock starts."""
        if self.is_tool:
            TOOLS[self.source].load()
        elif self.name not in BEFORE:
            model_of(self.source)

    @property
    def folder(self) -> str:
        """The name of its folders."""
        return "".join(c if c.isalnum() or c in "-_+." else "_" for c in self.name)


def contestants_of(
    runs: Sequence[str], refined: Sequence[str], tools: Sequence[str], refine: int, alone: bool = False
) -> list[Contestant]:
    """Make sure that everything that shall compete can, before any work, and name it.

    Args:
        runs: weights files or run folders of ours, as they are.
        refined: such, with `refine` steps of instance optimisation.
        tools: of `TOOLS`, "discrete", and "discrete:mind" or the like for another descriptor.
        refine: steps for `refined`.
        alone: it is enough that there is none.

    Raises:
        CheckpointError: an unreadable run; JssrError: an unknown or missing tool, or two contestants of one name.
    """
    found = [Contestant(name, name) for name in BEFORE]
    for source in runs:
        found.append(Contestant(_register(source), source))
    for source in refined:
        found.append(Contestant(f"{_register(source)} + {refine}", source, refine))
    for name in tools:
        if name in BEFORE:
            continue
        if _untrained(name):
            found.append(Contestant(name, name, model_of(name).recipe.inference.refine))
        elif name in TOOLS:
            TOOLS[name].check()
            found.append(Contestant(name, name))
        else:
            raise JssrError(f"{name!r} is no tool; there are {', '.join((*UNTRAINED, *TOOLS))}")
    for names in ([c.name for c in found], [c.folder for c in found]):
        double = next((n for n in names if names.count(n) > 1), None)
        if double:
            raise JssrError(f"two contestants are called {double!r}; name the runs' folders differently")
    if len(found) == len(BEFORE) and not alone:
        raise JssrError("nothing to compare: name runs (--run, --refined) or tools (--tool)")
    return found


def _register(source: str) -> str:
    """The name of a run that can align.

    Raises:
        JssrError: it cannot.
    """
    model = model_of(source)
    if "displacement" not in model.system.outputs:
        system = model.recipe.network.system
        raise JssrError(f"{source}: {system} has no register; it can only stand in table 2 (--synthesis)")
    return run_name(source)


def run_name(source: str) -> str:
    """How a run is called: its folder's name, or its file's.

    Raises:
        JssrError: that cannot be the name of a row.
    """
    path = Path(os.path.abspath(source))  # noqa: PTH100  (not where a link leads)
    name = path.parent.name if path.name == "weights.safetensors" else path.name.removesuffix(".safetensors")
    if not name or name in (*BEFORE, *UNTRAINED, *TOOLS) or ON in name:
        raise JssrError(f"{source}: {name!r} cannot be the name of a row; rename the run")
    return name


@lru_cache(maxsize=8)
def model_of(source: str) -> Model:
    """A system of ours by its source, read once a process; one that ships with weights is known by its name."""
    if not _untrained(source):
        return load_model(checkpoint=source)
    system, _, descriptor = source.partition(":")
    return load_model(system, descriptor=descriptor or None)


def _untrained(source: str) -> bool:
    """Whether that is a system without weights, perhaps with a descriptor.

    Raises:
        JssrError: a descriptor that does not exist.
    """
    system, chosen, descriptor = source.partition(":")
    if system == "discrete" and chosen and descriptor not in DESCRIPTORS:
        raise JssrError(f"{source!r}: no descriptor {descriptor!r}; there are {', '.join(DESCRIPTORS)}")
    return system == "discrete" or source in UNTRAINED


def check_contestants(contestants: Sequence[Contestant], n: int) -> None:
    for one in contestants:
        known = TOOLS[one.source].dims if one.is_tool else (2, 3)
        if not one.is_tool and one.name not in BEFORE:
            model = model_of(one.source)
            known = model.recipe.preprocessing.dims
            model.check_descriptor(n)
        if n not in known:
            raise JssrError(f"{one.name} takes {dims_in_words(known)} images; the scans of this cohort are {n}D")
