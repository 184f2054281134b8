"""Where results would go, checked before the work: they replace no scans, and no files that are none of jssr's."""

from __future__ import annotations

import os
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
    homes = {os.path.realpath(results.folder(one)): one for one in patients}
    for home, one in homes.items():
        other = next((homes[str(p)] for p in Path(home).parents if str(p) in homes), None)
        if other is not None:
            raise CohortError(f"{other.origin}: the results of {other.id} would hold those of {one.id}: rename one")
    _check_scans(patients, set(homes))


def _check_scans(patients: Sequence[Patient], homes: set[str]) -> None:
    """Refuse scans that lie where results would be."""
    known: dict[str, str | None] = {}

    def over(folder: str) -> str | None:
        """The place of results that holds a folder."""
        if folder not in known:
            above = os.path.dirname(folder)
            known[folder] = folder if folder in homes else None if above == folder else over(above)
        return known[folder]

    real: dict[Path, str] = {}
    for file in (file for one in patients for file in one.files):
        named = os.path.abspath(file)
        if file.parent not in real:
            real[file.parent] = os.path.realpath(file.parent)
        for path in (named, os.path.join(real[file.parent], file.name)):
            home = over(path)
            if home is not None:
                raise OutputError(f"{home}: holds scans of the cohort ({file}), which results would replace: choose "
                                  "another folder")  # fmt: skip
