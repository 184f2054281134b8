"""DICOM objects carried along a transform: segmentations, structure sets and doses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jssr.core.grid import Grid
from jssr.core.transform import Transform
from jssr.core.volume import Volume
from jssr.errors import ImageError, OutputError
from jssr.io.images import write_image
from jssr.io.label_names import write_label_names
from jssr.io.transforms import as_affine

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from jssr.io.dicom.carried import CarriedStructure, Route
    from jssr.io.dicom.contours import StructureSet
    from jssr.io.dicom.dose import Dose

__all__ = ["Carried", "Job", "carry"]


@dataclass(frozen=True)
class Carried:
    """A DICOM object in its new place.

    Attributes:
        volume: its label map, or its dose in gray, on the grid of the result.
        kind: "segmentation", "structures" or "dose".
        structures: of a segmentation or a structure set: number, name, `ml_before`, `ml_after`, of structures also
            `mean_before_gy`, `mean_after_gy` (None where the dose reaches nothing of it) and the contours drawn.
        dose: of a dose: `integral_before_gy_ml`, `integral_after_gy_ml`, `most_before_gy`, `most_after_gy` and
            `covered_percent`, how much of the result's grid the dose reaches. Where a dose is not in gray, `relative`
            or `unknown` stands in place of `gy` in all these names.
        warnings: what was lost, or decided.
    """

    volume: Volume
    kind: str
    structures: tuple[dict[str, Any], ...] = ()
    dose: dict[str, float] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """What is carried where.

    Attributes:
        source: the DICOM file.
        transform, to, grid: as in `warp`; the grid of the result.
        reference: the image or the series of the result; a DICOM series where DICOM is written.
        out: the file to write, None for none; .dcm for an object of the reference's series.
        dose: an RT Dose of the source, for the mean dose of structures.
        contours: "shape" or "points".
        names: number to name, in place of the object's own.
        frames: UIDs of the frames of reference of the fixed and the moving space, as far as they are known.
        headers: of the reference's series without the patient's data, for a result without them; None takes its own.
    """

    source: Path
    transform: Transform
    to: Any
    grid: Grid
    reference: Any = None
    out: Path | None = None
    dose: Path | None = None
    contours: Any = "shape"
    names: Mapping[int, str] | None = None
    frames: tuple[str, str] | None = None
    headers: Sequence[Dataset] | None = None

    @property
    def as_dicom(self) -> bool:
        return self.out is not None and self.out.suffix.lower() == ".dcm"

    @property
    def rigid(self) -> bool:
        """Whether distances stay."""
        found = as_affine(self.transform)
        return found is not None and bool(
            np.allclose(found.matrix[:3, :3].T @ found.matrix[:3, :3], np.eye(3), atol=1e-4)
        )


def carry(job: Job) -> Carried:
    """Carry a segmentation, a structure set or a dose, and write it.

    Raises:
        ImageError: the object or the reference cannot be used, or they are of two patients.
        GeometryError: nothing of it reaches the result. OutputError: the file cannot be written.
    """
    from jssr.io.dicom.carried import Route
    from jssr.io.dicom.files import opened
    from jssr.io.dicom.objects import is_dose, is_structures

    found = opened(job.source, pixels=False)
    fixed = _series(job, found) if job.as_dicom else []
    route = Route(job.transform, job.to, job.grid)
    if is_structures(found):
        return _structures(job, route, fixed)
    if job.dose is not None:
        raise ImageError(f"{job.source}: expected a structure set beside a dose, got another object")
    if is_dose(found):
        return _dose(job, route, fixed)
    return _segments(job, route, fixed, found)


def _series(job: Job, source: Dataset) -> Sequence[Dataset]:
    """The headers of the series that a written object belongs to."""
    from jssr.io.dicom.headers import headers_of
    from jssr.io.dicom.read import series_at

    known = isinstance(job.reference, (str, Path))
    series = series_at(job.reference) if known else None
    if series is None:
        raise OutputError(f"{job.out}: a DICOM object belongs to a series: name its folder with --reference")
    headers = headers_of(series)
    if not _hides(job, source, headers):
        _check_patient(source, job.source, headers[0], job.reference)
    return job.headers or headers


def _hides(job: Job, source: Dataset, fixed: Sequence[Dataset]) -> bool:
    """Whether an object is carried to a series without the patient's identity, and has it itself."""
    from jssr.io.dicom.headers import identity_removed

    if not fixed or job.headers is not None:
        return bool(fixed)
    same = str(source.get("PatientID") or "") == str(fixed[0].get("PatientID") or "")
    return identity_removed(fixed[0]) and not identity_removed(source) and not same


def _origin(job: Job, source: Dataset, fixed: Sequence[Dataset]) -> tuple[Dataset, list[str]]:
    """The header that a written object takes over, and what its names may still tell of the patient."""
    from jssr.io.dicom.headers import anonymous_source

    if not _hides(job, source, fixed):
        return source, []
    said = "the result is without the patient's identity, but names of structures and segments stay: read them"
    return anonymous_source(source), [f"{job.source}: {said}"]


def _check_patient(one: Dataset, name: Path, other: Dataset, than: Any) -> None:
    from jssr.io.dicom.files import quietly

    with quietly():
        first, second = (str(h.get("PatientID") or "").strip().casefold() for h in (one, other))
    if first and second and first != second:
        raise ImageError(f"{name}: is of another patient than {than}; expected one patient")


def _frame_warnings(job: Job, own: str) -> list[str]:
    """That the frame of reference of the object, `own`, is not the one that the transform starts from."""
    if not own:
        return [
            f"{job.source}: names no frame of reference; whether it lies in the space of the transform is not known"
        ]
    expected = "" if job.frames is None else job.frames[1 if job.to == "fixed" else 0]
    said = f"{job.source}: lies in the frame of reference {own}, and the transform starts from {expected}"
    return [f"{said}; check that they belong together"] if expected and expected != own else []


def _number(fixed: Sequence[Dataset], more: int) -> int:
    from jssr.io.dicom.moved import series_number

    return series_number(fixed[0], more)


def _structures(job: Job, route: Route, fixed: Sequence[Dataset]) -> Carried:
    from jssr.io.dicom.carried import carry_structures, label_map
    from jssr.io.dicom.contours import read_structures
    from jssr.io.dicom.structures import write_structure_set

    found = read_structures(job.source)
    structures = tuple(replace(s, name=(job.names or {}).get(s.number, s.name)) for s in found.structures)
    found = replace(found, structures=structures)
    warnings = [*found.warnings, *_frame_warnings(job, found.frame)]
    dose, unit, told_dose = _dose_of(job.dose, found, job.source)
    warnings += told_dose
    if fixed and str(fixed[0].SeriesInstanceUID) in found.series:
        warnings.append(f"{job.source}: was drawn on the series of the result itself")
    carried = carry_structures(found, route, job.contours, dose)
    labels, told = label_map(carried, job.grid, str(job.source))
    warnings += [said for one in carried for said in one.warnings]
    if job.as_dicom and job.out is not None:
        drawn = [(one.structure, one.contours) for one in carried]
        origin, told_names = _origin(job, found.header, fixed)
        warnings += told_names
        write_structure_set(drawn, origin, fixed, job.out, _number(fixed, 5000))
    elif job.out is not None:
        warnings += told
        warnings += [
            f"{one.structure.name}: holds points alone; a label map has none" for one in carried if _of_points(one)
        ]
        write_image(labels, job.out)
        write_label_names({one.structure.number: one.structure.name for one in carried if one.inside}, job.out)
    return Carried(labels, "structures", tuple(_row(one, unit) for one in carried), None, tuple(warnings))


def _of_points(one: CarriedStructure) -> bool:
    return bool(one.contours) and one.inside is None


def _row(one: CarriedStructure, unit: str | None) -> dict[str, Any]:
    row = {
        "number": one.structure.number,
        "name": one.structure.name,
        "ml_before": round(one.ml_before, 3),
        "ml_after": round(one.ml_after, 3),
        "contours": len(one.contours),
    }
    if unit is not None:
        row |= {f"mean_before_{unit}": one.mean_before, f"mean_after_{unit}": one.mean_after}
    return row


def _unit(dose: Dose) -> str:
    """The unit of a dose in the names of numbers."""
    return {"GY": "gy", "RELATIVE": "relative"}.get(dose.units, "unknown")


def _dose_of(path: Path | None, found: StructureSet, source: Path) -> tuple[Volume | None, str | None, list[str]]:
    """The dose beside a structure set, its unit, and what must be known of it."""
    if path is None:
        return None, None, []
    from jssr.io.dicom.dose import dose_of
    from jssr.io.dicom.files import class_name, opened
    from jssr.io.dicom.objects import is_dose

    header = opened(path)
    if not is_dose(header):
        raise ImageError(f"{path}: is a {class_name(header)} of DICOM, expected an RT Dose")
    _check_patient(header, path, found.header, source)
    made = dose_of(header, path)
    warnings, frame = list(made.warnings), str(header.get("FrameOfReferenceUID") or "")
    if frame and found.frame and frame != found.frame:
        warnings.append(f"{path}: lies in another frame of reference than {source}; check that they belong together")
    return made.volume, _unit(made), warnings


def _dose(job: Job, route: Route, fixed: Sequence[Dataset]) -> Carried:
    from jssr.io.dicom.carried import Route, carry_dose, dose_grid
    from jssr.io.dicom.dose import dose_of
    from jssr.io.dicom.files import opened
    from jssr.io.dicom.structures import write_dose

    found = dose_of(opened(job.source), job.source)
    if job.as_dicom:
        route = Route(route.transform, route.to, dose_grid(found.volume.grid, job.grid))
    made = carry_dose(found.volume, route)
    warnings = [*found.warnings, *_frame_warnings(job, str(found.header.get("FrameOfReferenceUID") or ""))]
    if made.covered_percent < 99.5:
        warnings.append(
            f"{job.source}: its dose grid reaches {made.covered_percent:.0f} % of the result; the rest is written as 0"
        )
    if job.as_dicom and job.out is not None:
        write_dose(made.volume, _origin(job, found.header, fixed)[0], fixed, job.out, _number(fixed, 6000), job.rigid)
    elif job.out is not None:
        write_image(made.volume, job.out, "float32")
    unit = _unit(found)
    told = {
        f"integral_before_{unit}_ml": made.integral_before,
        f"integral_after_{unit}_ml": made.integral_after,
        f"most_before_{unit}": made.most_before,
        f"most_after_{unit}": made.most_after,
        "covered_percent": made.covered_percent,
    }
    return Carried(made.volume, "dose", (), told, tuple(warnings))


def _segments(job: Job, route: Route, fixed: Sequence[Dataset], header: Dataset) -> Carried:
    from jssr.core.resampling import resample  # torch
    from jssr.io.dicom.results import write_segmentation
    from jssr.io.dicom.segments import read_segments

    found = read_segments(job.source)
    names = {n: (job.names or {}).get(n, name) for n, name in found.names.items()}
    labels = resample(found.volume, job.grid, route.pull)
    before, after = (_millilitres(v) for v in (found.volume, labels))
    rows = tuple(
        {"number": n, "name": name, "ml_before": before.get(n, 0.0), "ml_after": after.get(n, 0.0)}
        for n, name in names.items()
    )
    warnings = [*found.warnings, *_frame_warnings(job, str(header.get("FrameOfReferenceUID") or ""))]
    warnings += _origin(job, header, fixed)[1]
    warnings += [f"{r['name']}: nothing of it reaches the result" for r in rows if r["ml_before"] and not r["ml_after"]]
    if not after:
        raise ImageError(f"{job.source}: none of its segments reaches the scan of the result")
    if job.as_dicom and job.out is not None:
        write_segmentation(labels, names, fixed, job.out, "jssr", _number(fixed, 3000))
    elif job.out is not None:
        write_image(labels, job.out)
        write_label_names({n: name for n, name in names.items() if n in after}, job.out)
    return Carried(labels, "segmentation", rows, None, tuple(warnings))


def _millilitres(labels: Volume) -> dict[int, float]:
    voxel = float(np.prod(labels.grid.spacing)) / 1000
    values, counts = np.unique(labels.array, return_counts=True)
    return {int(v): round(voxel * int(n), 3) for v, n in zip(values, counts, strict=True) if v}
