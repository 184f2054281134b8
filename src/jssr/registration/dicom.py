"""A registration's results as DICOM, beside the files that research tools take."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.errors import ImageError
from jssr.io.dicom.headers import Sources
from jssr.io.dicom.moved import copy_series, series_number, write_moved
from jssr.io.dicom.read import series_at
from jssr.io.dicom.results import write_deformation, write_segmentation
from jssr.io.files import make_folder
from jssr.io.study import Image, Study


class Aligned(Protocol):
    """What is written of a registration (`jssr.registration.result.Registration`)."""

    @property
    def moved(self) -> Volume: ...
    @property
    def displacement(self) -> Displacement: ...
    @property
    def fixed_segmentation(self) -> Volume | None: ...
    @property
    def moved_segmentation(self) -> Volume | None: ...
    @property
    def result(self) -> dict[str, Any]: ...


def sources_of(fixed: Image, moving: Image, anonymise: bool = False) -> Sources:
    """The headers of both scans, before the work whose results refer to them.

    Raises:
        ImageError: a scan that is no DICOM series, or the two are of two patients.
    """
    found = []
    for image in (fixed, moving):
        series = None if isinstance(image, Volume) else series_at(str(image))
        if series is None:
            raise ImageError(
                f"{image}: is no DICOM series; results as DICOM (--dicom) belong to the series they are of"
            )
        found.append(series)
    return Sources.of(found[0], found[1], anonymise)


def study_sources(study: Study, reference_phase: str, anonymise: bool = False) -> dict[str, Sources]:
    """`sources_of` for each phase of a study."""
    return {
        phase: sources_of(study.images[reference_phase], image, anonymise)
        for phase, image in study.images.items()
        if phase != reference_phase
    }


def write_dicom(done: Aligned, sources: Sources, folder: Path, name: str) -> None:
    """Write `moved/`, `deformation.dcm`, `fixed_segmentation.dcm` and `moved_segmentation.dcm`, as far as there is
    anything to write; where the patient's data are left out, also the fixed series itself, as `fixed/`.

    Args:
        done: of two DICOM series.
        sources: their headers.
        folder: where to; made.
        name: of the moving scan, for the new series' description.
    """
    system = str(done.result["system"])
    names = dict(enumerate(done.result["structures"], start=1))
    moved = write_moved(
        done.moved, sources.fixed, sources.moving, make_folder(folder / "moved"), f"{name} aligned ({system})"
    )
    write_deformation(
        done.displacement,
        sources.fixed,
        sources.moving,
        folder / "deformation.dcm",
        series_number(sources.moving[0], 2000),
    )
    for labels, headers, what, add in (
        (done.fixed_segmentation, sources.fixed, "fixed", 2000),
        (done.moved_segmentation, moved, "moved", 3000),
    ):
        if labels is not None:
            write_segmentation(
                labels,
                names,
                headers,
                folder / f"{what}_segmentation.dcm",
                system,
                series_number(sources.moving[0], 1000 + add),
            )
    if sources.fixed_info is not None:
        copy_series(sources.fixed_info, sources.fixed, make_folder(folder / "fixed"))
