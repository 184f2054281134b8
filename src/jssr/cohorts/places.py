"""Where results would go, checked before the work: they replace no scans, and no files that are none of jssr's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jssr.cohorts.manifest import LOG, Results
from jssr.errors import CohortError, OutputError
from jssr.io.bids import DESCRIPTION
from jssr.io.patients import TABLES, Patient


def check_places(patients: Sequence[Patient], source: Path, results: Results) -> None:
    """Refuse a folder where results would replace the cohort itself or its scans, or lie in one another.

    Raises:
        OutputError: it is the cohort's own folder, or holds scans or tables where results would be.
        CohortError: the results of one patient would lie in those of another.
    """
    out = results.out.resolve()
    if source.is_dir() and out == source.resolve():
        raise OutputError(f"{results.out}: is the cohort itself: choose another folder for the results")
    tables = (*TABLES, DESCRIPTION) if results.nested else TABLES
    for name in tables:
        if (out / name).exists() and not (out / LOG).is_file():
            raise OutputError(f"{out / name}: is no result of jssr, and would be replaced: choose another folder")
    if source.resolve() in [out / name for name in tables]:
        raise OutputError(f"{source}: would be replaced by the table of results: choose another folder")
    homes = {results.folder(one).resolve(): one for one in patients}
    for home, one in homes.items():
        other = next((homes[above] for above in home.parents if above in homes), None)
        if other is not None:
            raise CohortError(f"{other.origin}: the results of {other.id} would hold those of {one.id}: rename one")
    _check_scans(patients, set(homes))


def _check_scans(patients: Sequence[Patient], homes: set[Path]) -> None:
    """Refuse scans that lie where results would be."""
    known: dict[Path, Path | None] = {}

    def over(path: Path) -> Path | None:
        """The place of results that is a folder, or holds it."""
        if path not in known:
            known[path] = path if path in homes else None if path.parent == path else over(path.parent)
        return known[path]

    real: dict[Path, Path] = {}
    for file in (file for one in patients for file in one.files):
        if file.parent not in real:
            real[file.parent] = file.parent.resolve()
        named = file.absolute()
        for path in (named, real[file.parent] / file.name):
            home = path if path in homes else over(path.parent)
            if home is not None:
                raise OutputError(f"{home}: holds scans of the cohort ({file}), which results would replace: choose "
                                  "another folder")  # fmt: skip
