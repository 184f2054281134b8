"""Which series of a patient's DICOM study is which phase: a guess with its reason, cheap to look at and to correct.

What tells, in this order: the user's own words (`chosen`), the description, the seconds since the contrast agent was
given, whether there was one, and the order in time or of the acquisitions' numbers. What is left to the picture is done
by `jssr.registration.phases`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

from jssr.errors import ImageError
from jssr.io.dicom.series import SeriesInfo, check_one_patient, listed, matching
from jssr.io.dicom.unfit import second_reconstructions, unfit

ORDER = ("non-contrast", "arterial", "venous", "delay")
"""Phases of a contrast-enhanced study, as they are taken."""
CHOSEN = "named by you"
"""Why a series has the phase that the user gave it."""
_WORDS = {
    "non-contrast": r"un-?contrast|non-?\s?contrast|unenhanced|\bnativ\w*|\bplain\b|\bwithout\b|\bw/?o\b|pre-?contrast|"
    r"ncct|\bnc\b|\bc-(?!\w)|\bpre(?!\w)(?![-_ /]*(op|rt|tx|therap|treat|tace|tare|sirt|surg|chemo|biops|interv|"
    r"transpl|ablat|proced|med))",
    "arterial": r"arteri\w*|\bart\b",
    "venous": r"(?<!intra)(?<!intra[- ])(venous|venoes|venös)|\bport(al|o)\w*|\bpv\b|\bpvp\b|\bven\b",
    "delay": r"\bdelay\w*|equilibrium|\blate\b(?! art)|excret\w*|nephro\w*|sp(ä|ae)t\w*",
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
_LESS_DOSE = re.compile(r"\b(low|half|reduced|ultra-?low)\W*dose|\bld(ct)?\b|niedrig\W*dosis", re.IGNORECASE)
"""A scan of its own beside one of the same phase."""
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
        """How a user names the series: its number, or its UID where it has none; `4:2` is its second part."""
        if self.series.number is None:
            return self.series.id
        return str(self.series.number) + (f":{self.series.part}" if self.series.part else "")


def name_phases(
    found: Sequence[SeriesInfo],
    chosen: Mapping[str, str] | None = None,
    left: Collection[str] = (),
    folders: Mapping[str, str] | None = None,
    seen: Mapping[str, tuple[str, str]] | None = None,
) -> list[Named]:
    """Name the series of one patient.

    Args:
        found: of `find_series`, with its localizers; in the order of time.
        chosen: phase to series (its number, UID or the beginning of that, `4:2` for its second part): not guessed.
        left: series to leave out; without a part all of its parts.
        folders: id to the name of a folder that may be called by the phase; it counts where it holds one scan.
        seen: id to the phase that a scan's picture shows, and why, for those that the header leaves in doubt.

    Returns:
        every series of `found`, in its order; no phase twice.

    Raises:
        ImageError: scans of several patients, or a series named that there is not.
    """
    check_one_patient(found)
    out = {one.id: Named(one, "", "left out by you") for key in left for one in _called(key, found, parts=True)}
    for phase, key in (chosen or {}).items():
        (one,) = _called(key, found)
        if one.id in out:
            raise ImageError(f"series {key}: is named twice; a series is one phase or left out")
        out[one.id] = Named(one, phase, CHOSEN)
    rest = [s for s in found if s.id not in out]
    out |= {one.id: Named(one, "", why) for one, why in unfit(rest)}
    scans = [s for s in rest if s.id not in out]
    for one, best in second_reconstructions(scans):
        name = Named(best, "", "").key
        out[one.id] = Named(one, "", f"of the same acquisition as series {name}, which serves better")
    scans = [s for s in scans if s.id not in out]
    out |= _guessed(scans, {n.phase for n in out.values() if n.phase}, folders or {}, seen or {})
    return [out[s.id] for s in found]


def _called(key: str, found: Sequence[SeriesInfo], parts: bool = False) -> list[SeriesInfo]:
    """The one series that a user means, or all `parts` of it."""
    match = matching(found, key)
    one = len({s.uid for s in match}) == 1
    if one and (parts or len(match) == 1):
        return match
    if one:
        name = str(match[0].number) if match[0].number is not None else match[0].uid
        raise ImageError(f"series {key}: holds {len(match)} parts: name one, as {name}:1; they are {listed(match)}")
    if match:
        raise ImageError(f"{len(match)} series are called {key!r}: name one by its UID: {listed(match)}")
    there = ", ".join(f'{Named(s, "", "").key} "{s.description}"' for s in found[:12])
    raise ImageError(f"no series are called {key!r}; there are {there}")


def _guessed(
    scans: Sequence[SeriesInfo],
    taken: Collection[str],
    folders: Mapping[str, str],
    seen: Mapping[str, tuple[str, str]],
) -> dict[str, Named]:
    """A phase for each scan, none twice. Each examination is named by itself; those after the first bear their date."""
    dates = examinations(scans)
    studies = list(dict.fromkeys(dates.values()))
    out: dict[str, Named] = {}
    holders: dict[str, str] = dict.fromkeys(taken, "")
    homes = Counter(folders.get(one.id, "") for one in scans)
    by_folder = all(homes[folders.get(one.id, "")] == 1 and _names(folders.get(one.id, "")) for one in scans)
    for study in studies:
        some = [one for one in scans if dates[one.id] == study]
        named: list[Named] = []
        for scan in some:
            home = folders.get(scan.id, "")
            one = _told(scan, _telling(scan, some), some)
            if homes[home] == 1 and len(scans) > 1 and _names(home, by_folder or not one.phase):
                one = Named(scan, home, "its folder's name")
            named.append(Named(scan, *seen[scan.id], sure=False) if not one.phase and scan.id in seen else one)
        date = some[0].acquisition_time.partition(" ")[0] or studies.index(study) + 1
        later = "" if study == studies[0] else f"_{date}"
        mine: dict[str, str] = {}
        for one in _by_order(named, taken):
            if one.phase in mine and _LESS_DOSE.search(one.series.description):
                one = Named(one.series, f"{one.phase}_low_dose", one.why, one.sure)
            if one.phase in mine or (not later and one.phase in holders):
                by = mine.get(one.phase) or holders.get(one.phase)
                by = f"series {by}" if by else "another"
                out[one.series.id] = Named(one.series, "", f"looks like {one.phase} ({one.why}), which {by} is")
                continue
            phase = one.phase or f"series{one.key.replace(':', '_')}"
            if one.phase:
                mine[one.phase] = one.key
            phase = phase + later if phase in holders else phase
            phase = next(p for p in chain([phase], (f"{phase}_{n}" for n in count(2))) if p not in holders)
            holders[phase] = one.key
            why, sure = (one.why, one.sure) if one.phase else ("nothing tells its phase", False)
            out[one.series.id] = Named(one.series, phase, why, sure)
    return out


def _names(folder: str, alone: bool = True) -> bool:
    """Whether a folder is called by a phase: by a word of one or, where the header tells none (`alone`) or every scan
    has such a folder, by any of three letters or more."""
    known = any(re.search(words, folder, re.IGNORECASE) for words in (_WORDS | _MR_WORDS).values())
    return bool(folder) and (known or (alone and len(folder) >= 3))


def examinations(scans: Sequence[SeriesInfo]) -> dict[str, str]:
    """Id of each scan to what tells its examination from others: the day on which it began, or the study where there is
    none."""
    began: dict[str, str] = {}
    for one in scans:
        began.setdefault(one.study or one.id, one.acquisition_time.partition(" ")[0])
    return {one.id: began[one.study or one.id] or one.study for one in scans}


def _telling(one: SeriesInfo, scans: Sequence[SeriesInfo]) -> list[str]:
    """The texts of a header that may tell a phase: one that several acquisitions share, as the protocol of a whole
    examination is, tells none."""
    others = [s for s in scans if s is not one]
    texts = [one.description] * (one.description not in [s.description for s in others])
    texts += [one.protocol] * (one.protocol not in [s.protocol for s in others])
    return ["" if _BOTH.search(text) else text for text in texts]


def _told(one: SeriesInfo, texts: Sequence[str], scans: Sequence[SeriesInfo]) -> Named:
    """The phase that the header tells; "" where it does not."""
    parts = [s for s in scans if s.uid == one.uid]
    names = [p for p in ORDER if re.search(_WORDS[p], one.description, re.IGNORECASE)]
    if len(parts) == len(names) > 1 and not _BOTH.search(one.description):
        place = parts.index(one)
        why = f'"{one.description.strip()}" names {len(names)} phases, this is part {place + 1} of {len(parts)}'
        return Named(one, names[place], why, False)
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
    ordered, why = _ordered(out)
    free: list[Named] = []
    found: dict[str, Named] = {}
    start = 0
    for n in (*ordered, None):
        phase = n.phase if n is not None else ""
        if n is not None and phase not in ORDER:
            free += [n] if not phase else []
            continue
        end = ORDER.index(phase) if phase else len(ORDER)
        slots = [p for p in ORDER[start:end] if p not in taken]
        for one, fits in zip(free, _fitting(slots, len(free), last=not phase), strict=False):
            found[one.series.id] = Named(one.series, fits, why, False)
        free, start = [], end + 1
    return [found.get(n.series.id, n) for n in out]


def _ordered(named: Sequence[Named]) -> tuple[list[Named], str]:
    """The CT scans whose order is known, in it, and what tells it: time of day, else the acquisitions' numbers."""
    scans = [n for n in named if n.series.modality == "CT"]
    timed = [n for n in scans if n.series.acquisition_time.partition(" ")[2].strip("0")]
    if timed:
        return timed, "by the order in time"
    numbers = [n.series.acquisition for n in scans]
    if None not in numbers and len(set(numbers)) == len(numbers) > 1:
        return sorted(scans, key=lambda n: n.series.acquisition or 0), "by the order of the acquisitions' numbers"
    return [], ""


def _fitting(slots: Sequence[str], count: int, last: bool) -> Sequence[str]:
    """Phases for `count` scans between two that are known. After the last known one the usual ones come first: of one
    scan after contrast the venous phase is meant, of two the arterial and the venous."""
    if count == len(slots):
        return slots
    after = [p for p in slots if p != "non-contrast"]
    if last and "non-contrast" not in slots and after == ["arterial", "venous", "delay"]:
        return {1: ["venous"], 2: ["arterial", "venous"]}.get(count, [])
    return []
