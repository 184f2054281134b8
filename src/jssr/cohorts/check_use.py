"""Whether a cohort has what a recipe learns from: its phases, label maps, structures, paired ground truth, kind of
image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jssr.cohorts.check_report import CheckReport, Finding
from jssr.core.grid import dims_in_words
from jssr.io.cohort import Case, Cohort, cases_of_split
from jssr.recipes.config import Recipe


def check_use(cohort: Cohort, recipe: Recipe, report: CheckReport) -> Iterator[Finding]:
    """What would keep a recipe from training on a cohort, prepared or not, whose files `report` is of."""
    to, needs = recipe.preprocessing, recipe.training.needs
    for n in sorted({len(scan.shape) for scan in report.scans} - set(to.dims)):
        yield Finding("error", "all", f"holds {n}D images; {recipe.name} takes {dims_in_words(to.dims)}")
    wanted = [phase for phase in (to.reference_phase, to.moving) if phase is not None]
    unknown = [phase for phase in wanted if phase not in cohort.phases]
    for phase in unknown:
        key = "reference_phase" if phase == to.reference_phase else "moving"
        there = ", ".join(cohort.phases)
        what = f"no case has a phase {phase}, which {recipe.name} needs; there are {there}: "
        what += f"--set preprocessing.{key}=PHASE names one"
        yield Finding("error", "all", what)
    if unknown:
        return
    cases = cases_of_split(cohort, "train")
    for case in cases if to.moving is not None else ():
        lacking = [phase for phase in wanted if phase not in case.images]
        if lacking:
            what = f"has no {' and no '.join(lacking)}; {recipe.name} moves {to.moving} onto {to.reference_phase}"
            yield Finding("error", case.id, what)
    for case in cases if "paired" in needs else ():
        lacking = [phase for phase in (wanted or case.images) if phase in case.images and phase not in case.paired]
        if lacking:
            what = f"no paired ground truth of {', '.join(lacking)}, from which {recipe.name} learns"
            yield Finding("warning", case.id, f"{what}; jssr prepare --pairs makes them")
    if needs & {"labels", "labelled"}:
        yield from _labels(cohort, recipe, cases, wanted)
        yield from _values(cohort, recipe, cases, wanted, report)


def _values(
    cohort: Cohort, recipe: Recipe, cases: Sequence[Case], wanted: Sequence[str], report: CheckReport
) -> Iterator[Finding]:
    """Phases whose label maps hold nothing that is to be learned, and values that would be learned as background."""
    train = {case.id: case for case in cases}
    known = cohort.structures()
    classes = {value for name in recipe.network.structures for value in known.get(name, ())}
    scans = [scan for scan in report.scans if scan.case in train and (not wanted or scan.phase in wanted)]
    found: dict[str, set[int]] = {}
    for scan in scans:
        if scan.phase in train[scan.case].labels:
            found.setdefault(scan.phase, set()).update(scan.labels)
    for phase, values in found.items():
        if classes and not values & classes:
            what = f"the label maps of phase {phase} hold none of the structures of {recipe.name}"
            yield Finding("error", "all", f"{what}; do label_names fit the numbers in the files?")
    for scan in scans:
        unknown = cohort.unnamed(scan.labels)
        if unknown:
            what = f"{scan.phase}: label_names does not name the labels {unknown}, which {recipe.name} would learn as"
            yield Finding("error", scan.case, f"{what} background")


def _labels(cohort: Cohort, recipe: Recipe, cases: Sequence[Case], wanted: Sequence[str]) -> Iterator[Finding]:
    """The label maps of pairs: some must be there where a stage draws only such, and they must name the structures."""
    needed = "labelled" in recipe.training.needs
    made = recipe.training.deform is not None  # pairs are made of single images
    both = [len(set(wanted or case.labels) & set(case.labels)) for case in cases]
    if not any(n >= (1 if made else 2) for n in both):
        of = "a label map" if made else "label maps of both scans"
        what = f"no training case has {of}, from which {recipe.name} learns"
        yield Finding("error" if needed else "warning", "all", what)
        return
    halves = [case.id for case, n in zip(cases, both, strict=True) if n == 1]
    if halves and not made:
        what = f"training cases with a label map of one scan only: {len(halves)} (the first is {halves[0]})"
        yield Finding("warning", "all", f"{what}; their pairs count as without")
    if needed and not recipe.training.labelled:
        yield Finding("error", "all", f"{recipe.name} is to see no label map (labelled=0) and learns from them")
    if not recipe.network.structures:
        yield Finding("error", "all", f"{recipe.name} learns from label maps and names no structures")
        return
    missing = [name for name in recipe.network.structures if name not in cohort.structures()]
    if missing:
        known = ", ".join(cohort.structures()) or "none"
        what = f"label_names lacks {', '.join(missing)} of {recipe.name}; it names {known}"
        yield Finding("error", "all", f"{what}: --set network.structures='[...]' takes others")
