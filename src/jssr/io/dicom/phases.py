"""Which series of a patient's DICOM study is which phase: a guess with its reason, cheap to look at and to correct.

What tells, in this order: the user's own words (`chosen`), the description, the seconds since the contrast agent was
given, whether there was one, and the order in time. Scouts, colour, reformats and second reconstructions are left out,
each with the reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

from jssr.errors import ImageError
from jssr.io.dicom.series import SeriesInfo, check_one_patient

ORDER = ("non-contrast", "arterial", "venous", "delay")
"""Phases of a contrast-enhanced study, as they are taken."""
_WORDS = {
    "non-contrast": r"un-?contrast|non-?\s?contrast|unenhanced|\bnativ\w*|\bplain\b|\bwithout\b|\bw/?o\b|pre-?contrast|"
    r"ncct|\bnc\b|\bc-(?!\w)",
    "arterial": r"arteri\w*|\bart\b",
    "venous": r"(?<!intra)(?<!intra[- ])(venous|venoes|venös)|\bport(al|o)\w*|\bpv\b|\bpvp\b|\bven\b",
    "delay": r"delay\w*|equilibrium|\blate\b(?! art)|excret\w*|nephro\w*|sp(ä|ae)t\w*",
}
"""What a description says of a phase."""
_MR_WORDS = {
    "t1": r"\bt1|vibe|lava|thrive|\bspgr\b",
    "t2": r"\bt2|haste|\btse\b|\bfse\b",
    "adc": r"\badc\b",
    "dwi": r"\bdwi|diffusion",
}
_BOTH = re.compile(r"\bw\W{0,3}w/?o\b|\bwith(out)?\W+(and|or|&)\W+with", re.IGNORECASE)
"""With and without contrast: of the examination."""
_NO_PHASE = re.compile(r"monitoring|bolus.?track|test.?bolus|smart.?prep|care.?bolus|dose", re.IGNORECASE)
"""Series taken to find the moment for a phase."""
_REFORMAT = {"MIP", "MPR", "REFORMATTED", "PROJECTION IMAGE", "CPR", "VRT", "MAX_IP", "MIN_IP", "CSA MPR"}
_SHARP = re.compile(r"lung|bone|edge|detail|sharp|^[bdfiu][a-z]?(5[5-9]|[6-9]\d)", re.IGNORECASE)
"""Kernels for lung and bone: noise in soft tissue."""
_SECONDS = ((50.0, "arterial"), (130.0, "venous"), (3600.0, "delay"))
"""A phase ends that many seconds after the injection began: textbook times of the liver (20 to 40, 60 to 80, 180)."""


@dataclass(frozen=True)
class Named:
    """A series, the phase that it is taken for ("" where it is left out), why, and whether that was told, not inferred
    from the order in time or the lack of anything better."""

    series: SeriesInfo
    phase: str
    why: str
    sure: bool = True

    @property
    def key(self) -> str:
        """How a user names the series: its number, or its UID where it has none."""
        return self.series.uid if self.series.number is None else str(self.series.number)


def name_phases(
    found: Sequence[SeriesInfo],
    chosen: Mapping[str, str] | None = None,
    left: Collection[str] = (),
    folders: Mapping[str, str] | None = None,
) -> list[Named]:
    """Name the series of one patient.

    Args:
        found: of `find_series`, with its localizers; in the order of time.
        chosen: phase to series (its number, UID or the beginning of that): not guessed.
        left: series to leave out.
        folders: UID to the name of a folder that may be called by the phase; it counts where it holds one scan.

    Returns:
        every series of `found`, in its order; no phase twice.

    Raises:
        ImageError: scans of several patients, or a series named that there is not.
    """
    check_one_patient(found)
    left_out = [_called(key, found) for key in left]
    out = {one.uid: Named(one, "", "left out by you") for one in left_out}
    for phase, key in (chosen or {}).items():
        one = _called(key, found)
        if one.uid in out:
            raise ImageError(f"series {key}: is named twice; a series is one phase or left out")
        out[one.uid] = Named(one, phase, "named by you")
    rest = [s for s in found if s.uid not in out]
    out |= {n.series.uid: n for n in _unfit(rest)}
    scans = [s for s in rest if s.uid not in out]
    out |= {n.series.uid: n for n in _again(scans)}
    scans = [s for s in scans if s.uid not in out]
    out |= _guessed(scans, {n.phase for n in out.values() if n.phase}, folders or {})
    return [out[s.uid] for s in found]


def _called(key: str, found: Sequence[SeriesInfo]) -> SeriesInfo:
    match = [s for s in found if key in (str(s.number), s.uid)] or [s for s in found if s.uid.startswith(key)]
    if len(match) != 1:
        there = ", ".join(f'{s.number if s.number is not None else s.uid} "{s.description}"' for s in found[:12])
        raise ImageError(f"{len(match) or 'no'} series are called {key!r}; there are {there}")
    return match[0]


def _unfit(found: Sequence[SeriesInfo]) -> Iterator[Named]:
    """What is no scan to align."""
    for one in found:
        if one.localizer:
            yield Named(one, "", "a scout, or fewer than 3 slices")
        elif any(s.samples != 1 for s in one.slices):
            yield Named(one, "", "in colour")
        elif any(s.frames > 1 for s in one.slices) and not one.enhanced:
            yield Named(one, "", "a multi-frame file; convert it to NIfTI first")
        elif any(s.position is None or s.axes is None for s in one.slices) and not one.enhanced:
            yield Named(one, "", "without a place in the patient")
        elif _NO_PHASE.search(one.description):
            yield Named(one, "", "taken to find the moment for a phase")
        elif one.image_type & _REFORMAT:
            yield Named(one, "", "a reformat or projection of another series")


def _again(scans: Sequence[SeriesInfo]) -> Iterator[Named]:
    """All but the best reconstruction of each acquisition; an MR acquisition makes images of several kinds, which their
    descriptions tell apart."""
    groups: dict[tuple[str, ...], list[SeriesInfo]] = {}
    for one in scans:
        what = one.description if one.modality == "MR" else ""
        known = one.acquisition_time.partition(" ")[2].strip("0")  # all zeros are no time
        groups.setdefault((one.modality, one.acquisition_time if known else one.uid, what), []).append(one)
    for group in groups.values():
        best = min(group, key=lambda s: (bool(_SHARP.search(s.kernel)), "ORIGINAL" not in s.image_type, -s.n_slices))
        name = Named(best, "", "").key
        for one in group:
            if one is not best:
                yield Named(one, "", f"of the same acquisition as series {name}, which serves better")


def _guessed(scans: Sequence[SeriesInfo], taken: Collection[str], folders: Mapping[str, str]) -> dict[str, Named]:
    """A phase for each scan, none twice. Each examination is named by itself; those after the first bear their date."""
    studies = list(dict.fromkeys(_examination(one) for one in scans))
    out: dict[str, Named] = {}
    holders: dict[str, str] = dict.fromkeys(taken, "")
    homes = Counter(folders.get(one.uid, "") for one in scans)
    for study in studies:
        some = [one for one in scans if _examination(one) == study]
        named: list[Named] = []
        for scan in some:
            home = folders.get(scan.uid, "")
            own = home and homes[home] == 1 and len(scans) > 1
            named.append(Named(scan, home, "its folder's name") if own else _told(scan, _telling(scan, some)))
        date = some[0].acquisition_time.partition(" ")[0] or studies.index(study) + 1
        later = "" if study == studies[0] else f"_{date}"
        mine: dict[str, str] = {}
        for one in _by_order(named, taken):
            if one.phase in mine or (not later and one.phase in holders):
                by = mine.get(one.phase) or holders.get(one.phase)
                by = f"series {by}" if by else "another"
                out[one.series.uid] = Named(one.series, "", f"looks like {one.phase} ({one.why}), which {by} is")
                continue
            phase = one.phase or f"series{one.key}"
            if one.phase:
                mine[one.phase] = one.key
            phase = phase + later if phase in holders else phase
            phase = next(p for p in chain([phase], (f"{phase}_{n}" for n in count(2))) if p not in holders)
            holders[phase] = one.key
            why, sure = (one.why, one.sure) if one.phase else ("nothing tells its phase", False)
            out[one.series.uid] = Named(one.series, phase, why, sure)
    return out


def _examination(one: SeriesInfo) -> str:
    """What tells examinations apart: the day, or the study where there is none."""
    return one.acquisition_time.partition(" ")[0] or one.study


def _telling(one: SeriesInfo, scans: Sequence[SeriesInfo]) -> list[str]:
    """The texts of a header that may tell a phase: one that several acquisitions share, as the protocol of a whole
    examination is, tells none."""
    others = [s for s in scans if s is not one]
    texts = [one.description] * (one.description not in [s.description for s in others])
    texts += [one.protocol] * (one.protocol not in [s.protocol for s in others])
    return ["" if _BOTH.search(text) else text for text in texts]


def _told(one: SeriesInfo, texts: Sequence[str]) -> Named:
    """The phase that the header tells; "" where it does not."""
    for text in texts:
        phases = [p for p, words in _WORDS.items() if re.search(words, text, re.IGNORECASE)]
        kinds = [k for k, words in _MR_WORDS.items() if one.modality == "MR" and re.search(words, text, re.IGNORECASE)]
        if len(phases) == 1 or (not phases and len(kinds) == 1):
            return Named(one, "_".join([*kinds[:1], *phases]), f'"{text.strip()}"')
    if one.delay is not None and one.contrast:
        for end, phase in _SECONDS:
            if one.delay < end:
                return Named(one, phase, f"{one.delay:.0f} s after the contrast agent")
    return Named(one, "", "")


def _by_order(named: Sequence[Named], taken: Collection[str]) -> list[Named]:
    """CT scans that nothing names, by their place in time among those that are named, where only one way fits."""
    told_some = any(n.series.contrast for n in named)
    out = []
    for one in named:
        if told_some and not one.phase and one.series.modality == "CT" and not one.series.contrast:
            one = Named(one.series, "non-contrast", "no contrast agent, other series had one")
        out.append(one)
    free: list[int] = []
    start = 0
    for i in range(len(out) + 1):
        phase = out[i].phase if i < len(out) else ""
        if i < len(out) and phase not in ORDER:
            if not phase and out[i].series.modality == "CT" and out[i].series.acquisition_time:
                free.append(i)
            continue
        end = ORDER.index(phase) if phase else len(ORDER)
        slots = [p for p in ORDER[start:end] if p not in taken]
        for j, fits in zip(free, _fitting(slots, len(free), last=not phase), strict=False):
            out[j] = Named(out[j].series, fits, "by the order in time", False)
        free, start = [], end + 1
    return out


def _fitting(slots: Sequence[str], count: int, last: bool) -> Sequence[str]:
    """Phases for `count` scans between two that are known. After the last known one the usual ones come first: of one
    scan after contrast the venous phase is meant, of two the arterial and the venous."""
    if count == len(slots):
        return slots
    after = [p for p in slots if p != "non-contrast"]
    if last and "non-contrast" not in slots and after == ["arterial", "venous", "delay"]:
        return {1: ["venous"], 2: ["arterial", "venous"]}.get(count, [])
    return []
