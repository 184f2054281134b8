"""Which structures of a pair's label maps are measured, and how they are called."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from jssr.core.notes import tell
from jssr.core.resampling import background_of
from jssr.core.volume import Volume
from jssr.errors import JssrError
from jssr.io.label_names import by_name, names_given, own_names, tell_unused


def structures_of(
    given: Any,
    fixed: Volume | None,
    moving: Volume | None,
    names: tuple[Mapping[int, str], Mapping[int, str]] | None = None,
) -> Mapping[str, Sequence[int]] | None:
    """Name to label values of a pair's label maps: those that were given (also as a file of names), else the names that
    the maps have of their own; values without a name under their number. None where there are no names.

    Args:
        given: structures, names of values, or a file of names.
        fixed, moving: the label maps.
        names: the own names of both; None for those of their files.

    Raises:
        JssrError: structures that are none. ImageError: a file of names that cannot be read.
    """
    if given is None:
        own, other = names or ({} if one is None else own_names(one.name) for one in (fixed, moving))
        differing = [v for v in own if v in other and own[v].lower() != other[v].lower()]
        if differing and fixed is not None and moving is not None:
            value = differing[0]
            tell(
                f"the label maps name {len(differing)} value(s) differently: {value} is {own[value]!r} in {fixed.name} "
                f"and {other[value]!r} in {moving.name}; they are compared by value."
            )
        named = {**other, **own}
    elif isinstance(given, (str, os.PathLike)) or _is_by_value(given):
        named = names_given(given)
        if fixed is None:
            file = given if isinstance(given, (str, os.PathLike)) else "label_names"
            tell(f"{file}: names the values of label maps, and there are none: nothing is named by it.")
        else:
            tell_unused(named, fixed.array, given, fixed.name)
    else:
        _check_structures(given)
        return dict(given)
    if not named or fixed is None:
        return None
    held = {int(v) for one in (fixed, moving) if one is not None for v in np.unique(one.array)} - {
        0,
        background_of(fixed.data),
    }
    found = by_name({value: named.get(value, str(value)) for value in sorted(held)})
    for name, values in found.items():
        if len(values) > 1:
            tell(f"the values {', '.join(map(str, values))} are all called {name!r}: they are one structure.")
    return found


def _is_by_value(given: object) -> bool:
    """Whether these are names by value, and not values by name."""
    return isinstance(given, Mapping) and bool(given) and all(isinstance(key, Integral) for key in given)


def _check_structures(structures: object) -> None:
    known = structures is None or isinstance(structures, Mapping)
    for values in structures.values() if isinstance(structures, Mapping) else ():
        listed = isinstance(values, Iterable) and not isinstance(values, str)
        known = known and listed and all(isinstance(value, Integral) for value in values)
    if not known:
        raise JssrError(f'structures: expected label values by name, as {{"liver": [1, 2]}}, got {structures!r}')
