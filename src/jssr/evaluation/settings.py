"""What results in a folder are of, so that a run that goes on does not mix them with others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jssr.errors import OutputError
from jssr.io.cohort import Case, Cohort
from jssr.io.output import write_json
from jssr.io.provenance import provenance

__all__ = ["check_settings", "described", "fingerprint", "read_settings", "same_settings"]


def described(cohort: Cohort, case: Case) -> str:
    """Changes when the names of the labels, a case's entry or the content of one of its files do."""
    names = [cohort.reference_phase, sorted(cohort.label_names.items()), sorted(cohort.regions.items())]
    told = [names, case.model_dump(mode="json"), cohort.files_of(case)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def fingerprint(cohort: Cohort, cases: Sequence[Case]) -> str:
    """`described` of several cases."""
    return hashlib.sha256(" ".join(described(cohort, case) for case in cases).encode()).hexdigest()[:16]


def read_settings(file: Path) -> dict[str, Any]:
    """What was written down, or nothing."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def check_settings(folder: Path, before: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Make sure that settings are those of before.

    Raises:
        OutputError: they are others.
    """
    changed = [key for key, value in settings.items() if before.get(key) != value]
    if changed:
        raise OutputError(f"{folder}: holds results of another {', '.join(changed)}; choose another folder")


def same_settings(out: Path, settings: Mapping[str, Any], name: str) -> None:
    """Write the settings of results to a file of their folder, or make sure that they are those it began with.

    Raises:
        OutputError: they are others.
    """
    file = out / name
    if file.is_file():
        check_settings(out, read_settings(file), settings)
    write_json({**settings, "provenance": provenance("", False)}, file)
