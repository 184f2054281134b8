"""What the makers of cohorts of real scans share: cases, links to files, and the cohort file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from jssr.core.volume import Modality
from jssr.io.cohort import Case, Cohort, Split

VALIDATION: Split = "validation"
TEST: Split = "test"


def case(
    name: str,
    split: Split,
    phases: Sequence[str],
    *,
    labels: bool = False,
    landmarks: bool = False,
    ending: str = ".nii.gz",
) -> Case:
    """A case whose files lie in a folder of its name and are named by phase."""
    return Case(
        id=name,
        split=split,
        images={p: f"{name}/{p}{ending}" for p in phases},
        labels={p: f"{name}/{p}_labels{ending}" for p in phases} if labels else {},
        landmarks={p: f"{name}/{p}_landmarks.csv" for p in phases} if landmarks else {},
    )


def link(source: Path, target: Path) -> None:
    """Link a file, or copy it where links cannot be made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source.resolve(strict=True))
    except OSError:
        shutil.copy(source, target)


def save(
    out: Path,
    cases: Sequence[Case],
    fixed: str,
    names: Mapping[int, str] | None = None,
    modalities: Mapping[str, Modality] | None = None,
) -> None:
    """Write the cohort file of a set, which is named as its folder."""
    Cohort(
        name=out.name,
        reference_phase=fixed,
        cases=list(cases),
        label_names=dict(names or {}),
        modalities=dict(modalities or {}),
    ).save(out)
