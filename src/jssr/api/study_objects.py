"""The DICOM objects of a study carried with the series that they refer to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jssr.api.objects import Job, carry
from jssr.api.session import PathLike
from jssr.errors import JssrError
from jssr.io.files import DICOM_FOLDER

if TYPE_CHECKING:
    from jssr.io.dicom.headers import Sources
    from jssr.registration.result import Registration

__all__ = ["carry_study"]


def carry_study(
    fixed: Any, sources: Mapping[str, Sources], registrations: Mapping[str, Registration], out: PathLike
) -> tuple[dict[str, Any], ...]:
    """Carry the structure sets, segmentations and doses of a study that refer to an aligned series, each into
    `PHASE/jssr_dicom/`; what cannot be carried is told, and the rest is kept. To anonymous series they are carried
    without the patient's data, and named by what they are.

    Args:
        fixed: the fixed series, `folder/SERIES_UID` of the study's folder.
        sources: headers of each phase's series and of the fixed one.
        registrations: what was found of each phase.
        out: folder of the alignment.

    Returns:
        For each object `phase`, `source`, `kind`, `written` (None where it could not be carried), `structures`, `dose`
        and `warnings`.
    """
    from jssr.io.dicom.referring import find_referring, refers_to

    series = [info for one in sources.values() for info in one.series]
    made: list[dict[str, Any]] = []
    for one in find_referring(Path(fixed).parent, {info.uid: info.frame for info in series}, DICOM_FOLDER):
        for phase, headers in sources.items():
            moving = headers.series[1]
            if moving.uid not in one.series or (moving.part is not None and not refers_to(one.path, moving)):
                continue
            count = 1 + sum(row["phase"] == phase and row["kind"] == one.kind for row in made)
            target = Path(out) / phase / DICOM_FOLDER / f"carried_{one.kind}_{count}.dcm"
            found, known = registrations[phase], (headers.series[0].frame, headers.series[1].frame)
            job = Job(one.path, found.displacement, "fixed", found.fixed.grid, fixed, target, frames=known,
                      headers=headers.fixed if headers.anonymous else None)  # fmt: skip
            name = f"{one.kind}_{count}" if headers.anonymous else one.path.name
            row: dict[str, Any] = {"phase": phase, "source": name, "kind": one.kind, "written": None}
            row |= _tried(job)
            if headers.anonymous:  # paths may tell whose they are
                row["warnings"] = tuple(
                    said.replace(str(one.path), name).replace(str(fixed), "the fixed series")
                    for said in row["warnings"]
                )
            made.append(row)
    return tuple(made)


def _tried(job: Job) -> dict[str, Any]:
    """What became of one object; of one that cannot be carried, why."""
    try:
        moved = carry(job)
    except JssrError as error:
        return {"structures": (), "dose": None, "warnings": (str(error),)}
    return {
        "written": str(job.out), "structures": moved.structures, "dose": moved.dose, "warnings": moved.warnings,
    }  # fmt: skip
