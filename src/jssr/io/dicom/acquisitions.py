"""Several acquisitions under one SeriesInstanceUID, taken apart by the attribute of their headers that tells them.

A scan in several parts that follow one another along the patient (bed positions, a number or a time for each slice) is
one acquisition. Two acquisitions lie in one another: at the same places, or between each other's slices. Two stacks
that abut are two where they share a slice, or where the distance of slices changes. Images of several sizes are no one
stack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from jssr.io.dicom.geometry import SAME, is_even
from jssr.io.dicom.slices import LAST, MARKS, Slice

FEWEST = 3
"""Slices of an acquisition."""
_OTHERS = 0.2
"""Of all slices, at most so many may lie in acquisitions of fewer slices (one that was broken off)."""
_OVERLAP = 0.5
"""Two acquisitions whose slices together are even share so much of the shorter one's length, at least."""
_CHANGE = 0.1
"""By so much of itself the distance of slices changes from one stack to the next."""
_TIMES = ("AcquisitionDateTime", "AcquisitionTime", "TriggerTime", "FrameReferenceTime", "ContentTime")
_WEAK = (*_TIMES, "ImageType", "DiffusionGradientOrientation", "ConvolutionKernel")
"""What may differ between the slices of one even stack: MR takes every other slice first."""
_IN_ORDER = ("AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex", *_TIMES, LAST)
"""Attributes whose values have an order."""
Group = list[int]


class _Stack:
    """The slices of a series by their index: where they lie along the patient, and how they look."""

    def __init__(self, slices: Sequence[Slice], heights: NDArray[np.float64], modality: str) -> None:
        self.slices, self.heights, self.modality = slices, heights, modality
        axes = np.abs(np.cross(*slices[0].axes)) if slices[0].axes is not None else np.ones(3)
        self.decimals = int(np.array([s.decimals for s in slices])[:, axes.argmax()].max())

    def even(self, group: Group) -> bool:
        return is_even(np.sort(self.heights[group]), self.decimals)

    def places(self, group: Group) -> NDArray[np.int64]:
        """A number for each place, as far as 0.01 mm tell them apart."""
        return np.round(self.heights[group] / 0.01).astype(np.int64)

    def repeats(self, group: Group) -> bool:
        return bool((np.diff(np.sort(self.heights[group])) < SAME).any())

    def overlap(self, one: Group, other: Group) -> float:
        """Length that two groups share, as a share of the shorter one's; negative where they follow one another."""
        a, b = self.heights[one], self.heights[other]
        shared = min(a.max(), b.max()) - max(a.min(), b.min())
        return float(shared / max(min(np.ptp(a), np.ptp(b)), SAME))

    def meet(self, one: Group, other: Group) -> bool:
        """Whether two groups share the slice at an end of both, and no more."""
        a, b = self.heights[one], self.heights[other]
        return bool(abs(min(a.max(), b.max()) - max(a.min(), b.min())) < SAME)

    def step(self, group: Group) -> float:
        """Mean distance of slices."""
        return float(np.ptp(self.heights[group]) / max(len(group) - 1, 1))


def by_size(slices: Sequence[Slice], modality: str) -> list[tuple[Group, str]]:
    """The slices of each image size and pixel spacing, most slices first, and what tells them ("Rows 512, Columns
    512"); all of them, told by "", where there is one, or where the sizes are no stacks of their own.

    Args:
        slices: of a series, in any order.
        modality: DICOM's.
    """
    groups: dict[tuple[tuple[int, int], tuple[float, ...]], Group] = {}
    for i, one in enumerate(slices):
        groups.setdefault((one.size, one.pixel), []).append(i)
    large = [group for group in groups.values() if len(group) >= FEWEST]
    every = [(list(range(len(slices))), "")]
    if len(groups) < 2 or not large or (len(large) == 1 and not _is_stack([slices[i] for i in large[0]], modality)):
        return every
    sizes = len({size for size, _ in groups})
    found = []
    for (size, pixel), group in sorted(groups.items(), key=lambda one: -len(one[1])):
        told = [f"Rows {size[1]}, Columns {size[0]}"] if sizes > 1 else []
        told += ["PixelSpacing " + " x ".join(f"{p:g}" for p in pixel)] if sizes < len(groups) else []
        found.append((group, ", ".join(told)))
    return found


def _is_stack(slices: Sequence[Slice], modality: str) -> bool:
    """Whether slices lie at even distances, or are several acquisitions that do."""
    first = slices[0].axes
    if first is None or any(s.position is None for s in slices):
        return False
    normal = np.cross(first[0], first[1])
    placed = sorted(((float(normal @ s.position), s) for s in slices if s.position is not None), key=lambda one: one[0])
    stack = _Stack([s for _, s in placed], np.array([height for height, _ in placed]), modality)
    every = list(range(len(placed)))
    return stack.even(every) or bool(_split(stack, every, MARKS))


def split(slices: Sequence[Slice], heights: NDArray[np.float64], modality: str) -> list[tuple[Group, str]]:
    """The acquisitions of a series: the indices of each one's slices, and what tells it ("AcquisitionNumber 2").

    Args:
        slices: sorted along the patient, all of them with a place.
        heights: (N,) where they lie along the patient, mm.
        modality: DICOM's.

    Returns:
        in their order; one, told by "", where the series is one acquisition or nothing tells several apart.
    """
    stack = _Stack(slices, heights, modality)
    every = list(range(len(slices)))
    return _split(stack, every, MARKS) or _abutting(stack, every) or [(every, "")]


def _abutting(stack: _Stack, among: Group) -> list[tuple[Group, str]]:
    """Stacks that share the slice at which they meet, by the order of their slices alone; none where they overlap."""
    found = _by_sweep(stack, among, LAST)
    groups = [group for group, _ in found]
    near = all(stack.overlap(a, b) < SAME or stack.meet(a, b) for i, a in enumerate(groups) for b in groups[i + 1 :])
    few = any(len(group) < FEWEST or not stack.even(group) for group in groups)
    return found if len(found) > 1 and near and not few and stack.repeats(among) else []


def _split(stack: _Stack, among: Group, names: Sequence[str]) -> list[tuple[Group, str]]:
    """`split` of some of the slices; none where there is one acquisition."""
    if len(among) < 2 * FEWEST:
        return []
    even = stack.even(among)
    for method in (_by_value, _by_rank, _by_sweep):
        for name in names:
            if even and name in _WEAK and (name not in _TIMES or stack.modality != "CT"):
                continue
            found = method(stack, among, name)
            if not _apart(stack, [group for group, _ in found], even):
                continue
            if any(stack.repeats(group) for group, _ in found):
                rest = [other for other in names if other != name]
                parts = [(_split(stack, group, rest) or [(group, "")], told) for group, told in found]
                if any(stack.repeats(group) for inner, _ in parts for group, _ in inner):
                    continue
                return [(g, ", ".join(filter(None, (told, more)))) for inner, told in parts for g, more in inner]
            return found
    return []


def _apart(stack: _Stack, groups: Sequence[Group], even: bool) -> bool:
    """Whether groups of slices can be acquisitions: several, of enough slices, that lie in one another."""
    large = [group for group in groups if len(group) >= FEWEST]
    few = len(groups) - len(large)
    if len(large) < 2 or few > len(large):
        return False
    if sum(map(len, groups)) - sum(map(len, large)) > _OTHERS * sum(map(len, groups)):
        return False
    if even and not all(stack.even(group) for group in large):
        return False
    pairs = [(one, other) for i, one in enumerate(large) for other in large[i + 1 :]]
    if even:
        return any(stack.overlap(one, other) > _OVERLAP for one, other in pairs)
    stacks = all(stack.even(group) for group in large)
    return any(
        stack.overlap(one, other) > 0
        or stack.meet(one, other)
        or (stacks and not few and abs(stack.step(one) - stack.step(other)) > _CHANGE * stack.step(one))
        for one, other in pairs
    )


def _by_value(stack: _Stack, among: Group, name: str) -> list[tuple[Group, str]]:
    """One group for each value; those that follow one another along the patient are one."""
    valued = [(name, value, group) for value, group in _values(stack, among, name)]
    if len(valued) < 2 or len(valued) * FEWEST > len(among) + len(valued):
        return []
    found = _merged(stack, valued)
    most = int(np.unique(stack.places(among), return_counts=True)[1].max())
    # Slices taken by turns have times of their own: then the order at each place tells more.
    return [] if name in _TIMES and 1 < most != len(found) else found


def _by_rank(stack: _Stack, among: Group, name: str) -> list[tuple[Group, str]]:
    """The first of each place, the second of each place and so on, where every place has as many."""
    if name not in _IN_ORDER:
        return []
    key = _key(name)
    places = stack.places(among)
    at = {place: [i for i, p in zip(among, places, strict=True) if p == place] for place in np.unique(places).tolist()}
    count = len(at[int(places[0])])
    if count < 2 or any(len(group) != count for group in at.values()):
        return []
    for group in at.values():
        values = [stack.slices[i].marks.get(name, "") for i in group]
        if "" in values or len(set(values)) < count:
            return []
        group.sort(key=lambda i: key(stack.slices[i].marks[name]))
    return [([group[k] for group in at.values()], f"{name}, {k + 1}. of {count}") for k in range(count)]


def _by_sweep(stack: _Stack, among: Group, name: str) -> list[tuple[Group, str]]:
    """Along the patient again and again, in the order of an attribute that changes from slice to slice."""
    if name not in _IN_ORDER:
        return []
    valued = [(name, value, group) for value, group in _values(stack, among, name)]
    return _merged(stack, valued) if len(valued) >= 2 else []


def _values(stack: _Stack, among: Group, name: str) -> Iterator[tuple[str, Group]]:
    """Each value of an attribute with its slices, in its order; none where a slice lacks it."""
    if any(name not in stack.slices[i].marks for i in among):
        return
    key = _key(name)
    ordered = sorted(among, key=lambda i: (key(stack.slices[i].marks[name]), stack.slices[i].marks[name], i))
    for value, group in groupby(ordered, key=lambda i: stack.slices[i].marks[name]):
        yield value, list(group)


def _key(name: str) -> Callable[[str], tuple[float, ...]]:
    """By which the values of an attribute are sorted: numbers by size."""
    return lambda value: tuple(float(n) for n in re.findall(r"\d+(?:\.\d+)?", value)[:6])


def _merged(stack: _Stack, valued: Sequence[tuple[str, str, Group]]) -> list[tuple[Group, str]]:
    """Groups in their order; each that continues the ones before it along the patient at their distance joins them."""
    out: list[tuple[Group, list[str]]] = []
    for _, value, group in valued:
        if out and _continues(stack, out[-1][0], group):
            out[-1][0].extend(group)
            out[-1][1].append(value)
        else:
            out.append((list(group), [value]))
    name = valued[0][0]
    return [(sorted(g), f"{name} {v[0]}" + (f" to {v[-1]}" if len(v) > 1 else "")) for g, v in out]


def _continues(stack: _Stack, before: Group, group: Group) -> bool:
    a, b = stack.heights[before], stack.heights[group]
    gap = max(b.min() - a.max(), a.min() - b.max())
    if gap < SAME:
        return False
    # Its ends suffice: each group is even by itself, or is refused later.
    steps = [np.ptp(x) / (len(x) - 1) for x in (a, b) if len(x) > 1]
    return all(abs(gap - step) <= max(0.02 * step, 0.011, 1.1 * 10.0**-stack.decimals) for step in steps)
