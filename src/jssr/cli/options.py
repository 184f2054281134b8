"""Options as objects: dataclasses whose fields become the options of a command, and those that commands share."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from typer import Argument, Option, echo

from jssr.core.notes import collected
from jssr.losses.descriptors import DESCRIPTORS
from jssr.registration.presets import PresetName
from jssr.registration.settings import Similarity

if TYPE_CHECKING:
    DescriptorName = str
else:
    DescriptorName = Literal[tuple(DESCRIPTORS)]

Modality = Literal["ct", "mr", "us", "radiograph"]
NAMES = "Names of the label values: JSON, a colour table (.ctbl, FreeSurfer's), ITK-SNAP's; default: the map's own."


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of the groups of options."""

    def begin(self, values: Mapping[str, Any]) -> None:
        """What is done before the command runs, with the values of all its options."""

    def given(self) -> dict[str, Any]:
        """The options that have a value, as keywords of the API."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def opt(default: Any, help: str, *names: str, **more: Any) -> Any:
    """A field that is an option; `MISSING` for a default requires it. Without `names` it is called as the field is."""
    return field(default=default, metadata={"info": functools.partial(Option, help=help, **more), "names": names})


def arg(help: str, default: Any = MISSING, **more: Any) -> Any:
    """A field that is an argument."""
    return field(default=default, metadata={"info": functools.partial(Argument, help=help, **more)})


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters are groups of options, for Typer: each field of a group becomes an option.

    Raises:
        TypeError: two groups have a field of one name.
    """
    hints = get_type_hints(function)
    groups = {name: hints[name] for name in inspect.signature(function).parameters}
    shown: dict[str, inspect.Parameter] = {}
    for one in itertools.chain(*map(_expanded, groups.values())):
        if one.name in shown:
            raise TypeError(f"{function.__name__}: two options are called {one.name!r}")
        shown[one.name] = one

    @functools.wraps(function)
    def run(**values: Any) -> None:
        with collected() as told:
            try:
                made = {name: kind(**{f.name: values[f.name] for f in fields(kind)}) for name, kind in groups.items()}
                for group in made.values():
                    group.begin(values)
                function(**made)
            finally:
                for words in told:
                    echo(f"warning: {words}", err=True)

    run.__signature__ = inspect.Signature(list(shown.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {name: one.annotation for name, one in shown.items()}
    return run


@functools.cache
def _expanded(group: Any) -> tuple[inspect.Parameter, ...]:
    """The fields of a group as parameters for Typer."""
    hints, out = get_type_hints(group), []
    for f in fields(group):
        flag = [f"--{f.name.replace('_', '-')}"] if f.default is False else []  # without a --no- beside it
        shown = f.metadata["info"](*(f.metadata.get("names") or flag))
        default = inspect.Parameter.empty if f.default is MISSING else f.default
        kind = inspect.Parameter.KEYWORD_ONLY
        out.append(inspect.Parameter(f.name, kind, default=default, annotation=Annotated[hints[f.name], shown]))
    return tuple(out)


@dataclass(frozen=True, kw_only=True)
class Out(Options):
    """Where results go."""

    out: Path = opt(MISSING, "Folder for the results.", "-o", "--out")


@dataclass(frozen=True, kw_only=True)
class Compute(Options):
    """How it computes."""

    deterministic: bool = opt(False, "Only algorithms that repeat bit for bit.")
    threads: int | None = opt(None, "CPU threads; by default all cores.", min=1)


@dataclass(frozen=True, kw_only=True)
class Choice(Compute):
    """Which system works, and where."""

    device: str = opt("cpu", "cpu, cuda, cuda:1, mps.")
    system: str | None = opt(
        None,
        "By default the checkpoint's, else discrete. jssr also segments and synthesises; rigid: the rigid step alone.",
        metavar="NAME",
    )
    checkpoint: Path | None = opt(
        None,
        "Weights file, run folder, or name of weights that ship (as body-compact); by default the system's. "
        "FILE.py:RUN for a system of FILE.py.",
        metavar="FILE",
    )


@dataclass(frozen=True, kw_only=True)
class Alignment(Choice):
    """How pairs are aligned."""

    refine: int | None = opt(None, "Steps of instance optimisation afterwards; by default the recipe's.", min=0)
    descriptor: DescriptorName | None = opt(
        None, "What instance optimisation compares, and discrete searches with; by default the recipe's."
    )
    rigid: bool = opt(True, "Align rigidly first, or trust the headers.")


@dataclass(frozen=True, kw_only=True)
class Knobs(Alignment):
    """How the instance optimisation works."""

    preset: PresetName | None = opt(None, "Options by task; what is named beside it wins.")
    similarity: Similarity | None = opt(None, "What the optimisation compares; by default chosen from the pair.")
    smoothness: float | None = opt(None, "Above 0: the regulariser's weight is multiplied by it.")
    spacing: float | None = opt(None, "mm between control points on the finest level; by default the method's own.")
    sliding: bool | None = opt(
        None, "Let organs slide along each other and along the wall (total variation); by default in MR of the trunk."
    )
    rigid_labels: str | None = opt(
        None, "Values or names of the fixed label map, with commas: each piece of one stays rigid.", metavar="VALUES"
    )

    def given(self) -> dict[str, Any]:
        """With the rigid labels as a list."""
        values = super().given()
        labels = [word.strip() for word in values.pop("rigid_labels", "").split(",") if word.strip()]
        return values | ({"rigid_labels": labels} if labels else {})


@dataclass(frozen=True, kw_only=True)
class RecipeChanges(Options):
    """What is changed of a recipe."""

    overrides: list[str] | None = opt(
        None, "Override of the recipe, e.g. training.stages.joint.steps=500.", "--set", metavar="KEY=VALUE"
    )
