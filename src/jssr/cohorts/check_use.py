"""Whether a cohort has what a recipe learns from: its phases, label maps, structures, paired ground truth, kind of
image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jssr.cohorts.check_report import CheckReport, Finding
from jssr.core.grid import dims_in_words
from jssr.io.cohort import Cohort, cases_of_split
from jssr.recipes.config import Recipe


@dataclass(frozen=True)
class Use:
    """What a recipe asks of its pairs.

    Attributes:
        recipe: its name.
        reference_phase, moving: the phases that it needs; None takes any.
        structures: that its label maps must name.
        needs: of "pair", "labels", "labelled", "paired", as its stages name them.
        dims: axes that scans may have.
        made: its pairs are made of single images.
        labelled: share of the label maps that it looks at.
    """

    recipe: str
    reference_phase: str | None = None
    moving: str | None = None
    structures: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()
    dims: tuple[int, ...] = (2, 3)
    made: bool = False
    labelled: float = 1.0

    @classmethod
    def of(cls, recipe: Recipe) -> Use:
        """What a recipe asks."""
        to, training = recipe.preprocessing, recipe.training
        return cls(
            recipe.name, to.reference_phase, to.moving, recipe.network.structures, training.needs, to.dims,
            training.deform is not None, training.labelled,
        )  # fmt: skip


def check_use(cohort: Cohort, use: Use, report: CheckReport) -> Iterator[Finding]:
    """What would keep a recipe from training on a cohort.

    Args:
        cohort: not yet prepared, or prepared.
        use: the recipe's demands.
        report: of the cohort's files.
    """
    for n in sorted({len(scan.shape) for scan in report.scans} - set(use.dims)):
        yield Finding("error", "all", f"holds {n}D images; {use.recipe} takes {dims_in_words(use.dims)}")
    wanted = [phase for phase in (use.reference_phase, use.moving) if phase is not None]
    unknown = [phase for phase in wanted if phase not in cohort.phases]
    for phase in unknown:
        key = "reference_phase" if phase == use.reference_phase else "moving"
        there = ", ".join(cohort.phases)
        what = f"no case has a phase {phase}, which {use.recipe} needs; there are {there}: "
        what += f"--set preprocessing.{key}=PHASE names one"
        yield Finding("error", "all", what)
    cases = [] if unknown else cases_of_split(cohort, "train")
    for case in cases if use.moving is not None else ():
        lacking = [phase for phase in wanted if phase not in case.images]
        if lacking:
            what = f"has no {' and no '.join(lacking)}; {use.recipe} moves {use.moving} onto {use.reference_phase}"
            yield Finding("error", case.id, what)
    if "paired" in use.needs:
        for case in cases:
            lacking = [phase for phase in (wanted or case.images) if phase in case.images and phase not in case.paired]
            if lacking:
                what = f"no paired ground truth of {', '.join(lacking)}, from which {use.recipe} learns"
                yield Finding("warning", case.id, f"{what}; jssr prepare --pairs makes them")
    if use.needs & {"labels", "labelled"} and not unknown:
        yield from _labels(cohort, use, wanted)
        yield from _empty(cohort, use, wanted, report)
        yield from _unnamed(cohort, use, wanted, report)


def _unnamed(cohort: Cohort, use: Use, wanted: list[str], report: CheckReport) -> Iterator[Finding]:
    """Values without a name would be learned as background."""
    train = {case.id for case in cases_of_split(cohort, "train")}
    for scan in report.scans:
        unknown = cohort.unnamed(scan.labels)
        if unknown and scan.case in train and (not wanted or scan.phase in wanted):
            what = f"{scan.phase}: label_names does not name the labels {unknown}, which {use.recipe} would learn as"
            yield Finding("error", scan.case, f"{what} background")


def _empty(cohort: Cohort, use: Use, wanted: list[str], report: CheckReport) -> Iterator[Finding]:
    """Phases whose label maps hold nothing that is to be learned."""
    labelled = {(case.id, phase) for case in cases_of_split(cohort, "train") for phase in case.labels}
    known = cohort.structures()
    classes = {value for name in use.structures for value in known.get(name, ())}
    found: dict[str, set[int]] = {}
    for scan in report.scans:
        if (scan.case, scan.phase) in labelled and (not wanted or scan.phase in wanted):
            found.setdefault(scan.phase, set()).update(scan.labels)
    for phase, values in found.items():
        if classes and not values & classes:
            what = f"the label maps of phase {phase} hold none of the structures of {use.recipe}"
            yield Finding("error", "all", f"{what}; do label_names fit the numbers in the files?")


def _labels(cohort: Cohort, use: Use, wanted: list[str]) -> Iterator[Finding]:
    """The label maps of pairs: some must be there where a stage draws only such, and they must name the structures."""
    cases = cases_of_split(cohort, "train")
    least = 1 if use.made else 2
    if not any(len(set(wanted or c.labels) & set(c.labels)) >= least for c in cases):
        of = "a label map" if use.made else "label maps of both scans"
        what = f"no training case has {of}, from which {use.recipe} learns"
        yield Finding("error" if "labelled" in use.needs else "warning", "all", what)
        return
    halves = [c.id for c in cases if len(set(wanted or c.labels) & set(c.labels)) == 1]
    if halves and not use.made:
        what = f"training cases with a label map of one scan only: {len(halves)} (the first is {halves[0]})"
        yield Finding("warning", "all", f"{what}; their pairs count as without")
    if "labelled" in use.needs and not use.labelled:
        yield Finding("error", "all", f"{use.recipe} is to see no label map (labelled=0) and learns from them")
    if not use.structures:
        yield Finding("error", "all", f"{use.recipe} learns from label maps and names no structures")
        return
    missing = [name for name in use.structures if name not in cohort.structures()]
    if missing:
        known = ", ".join(cohort.structures()) or "none"
        what = f"label_names lacks {', '.join(missing)} of {use.recipe}; it names {known}"
        yield Finding("error", "all", f"{what}: --set network.structures='[...]' takes others")
