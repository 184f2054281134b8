"""What `jssr prepare` noted of a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jssr.cohorts.store import read_settings
from jssr.core.grid import Grid
from jssr.errors import CohortError, GeometryError
from jssr.io.cohort import Cohort

PREPARED = "prepared.json"


def class_values(cohort: Cohort, structures: Sequence[str]) -> list[tuple[int, ...]]:
    """The label values of each structure, in order (structure i becomes class i + 1); unknown names are refused."""
    known = cohort.structures()
    for name in structures:
        if name not in known:
            raise CohortError(f"{cohort.root}: no structure {name!r}; its labels are {', '.join(known) or 'not named'}")
    return [known[name] for name in structures]


def check_paired(file: Path, grid: Grid, phase: str, scan: Grid) -> None:
    """Refuse paired ground truth that does not lie where its scan does."""
    if not grid.same_as(scan, tolerance=0.05):
        raise GeometryError(f"{file}: lies on another grid than the {phase} scan that it is paired with")


def modalities_of(cohort: Cohort) -> dict[str, str]:
    """Phase to "ct", "mr", "us" or "radiograph", as preparation found them; nothing of other cohorts."""
    scans = [item for case in notes_of(cohort, "phases").values() for item in case.items()]
    return {phase: str(note["modality"]) for phase, note in scans if "modality" in note}


def prepared_pixels(cohort: Cohort) -> int | None:
    """Pixels along each side of the grid that radiographs were prepared onto; None for a cohort that was not."""
    found = read_settings(cohort.root / PREPARED).get("flat")
    return found if isinstance(found, int) else None


def notes_of(cohort: Cohort, part: str) -> dict[str, dict[str, dict[str, Any]]]:
    """What prepared.json holds of each scan ("phases") or its paired ground truth ("paired"); nothing for a cohort that
    was not prepared. A damaged file is refused."""
    file = cohort.root / PREPARED
    try:
        cases = read_settings(file)["cases"] if file.exists() else {}
        found = {case: note.get(part) or {} for case, note in cases.items()}
        for one in (one for notes in found.values() for one in notes.values()):
            float(one.get("scale") or 1)
        return found
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CohortError(f"{file}: is not what jssr prepare writes; prepare again") from error
