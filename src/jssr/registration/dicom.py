"""A registration's results as DICOM, beside the files that research tools take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.errors import ImageError
from jssr.io.dicom.headers import Sources
from jssr.io.dicom.moved import copy_series, series_number, write_moved
from jssr.io.dicom.read import series_at
from jssr.io.dicom.results import write_deformation, write_segmentation
from jssr.io.files import make_folder
from jssr.io.study import Image, Study


def sources_of(fixed: Image, moving: Image, anonymise: bool = False) -> Sources:
    """The headers of both scans, before the work whose results refer to them.

    Raises:
        ImageError: a scan that is no DICOM series, or the two are of two patients.
    """
    found = []
    for image in (fixed, moving):
        series = None if isinstance(image, Volume) else series_at(str(image))
        if series is None:
            raise ImageError(f"{image}: expected a DICOM series, which results as DICOM (--dicom) belong to")
        found.append(series)
    return Sources.of(found[0], found[1], anonymise)


def study_sources(study: Study, reference_phase: str, anonymise: bool = False) -> dict[str, Sources]:
    """`sources_of` for each phase of a study."""
    return {
        phase: sources_of(study.images[reference_phase], image, anonymise)
        for phase, image in study.images.items()
        if phase != reference_phase
    }


def write_dicom(
    result: Mapping[str, Any],
    moved: Volume,
    displacement: Displacement,
    segmented: tuple[Volume | None, Volume | None],
    sources: Sources,
    folder: Path,
    name: str,
) -> None:
    """Write `moved/`, `deformation.dcm`, `fixed_segmentation.dcm` and `moved_segmentation.dcm`, as far as there is
    anything to write; where the patient's data are left out, also the fixed series itself, as `fixed/`.

    Args:
        result: what `result.json` of two DICOM series holds.
        segmented: label maps of the fixed and the moved scan.
        sources: their headers.
        folder: where to; made.
        name: of the moving scan, for the new series' description.
    """
    system, number = str(result["system"]), sources.moving[0]
    names = dict(enumerate(result["structures"], start=1))
    about = f"{name} aligned ({system})"
    written = write_moved(moved, sources.fixed, sources.moving, make_folder(folder / "moved"), about)
    at = folder / "deformation.dcm"
    write_deformation(displacement, sources.fixed, sources.moving, at, series_number(number, 2000))
    for labels, headers, what, add in (
        (segmented[0], sources.fixed, "fixed", 3000),
        (segmented[1], written, "moved", 4000),
    ):
        if labels is not None:
            at = folder / f"{what}_segmentation.dcm"
            write_segmentation(labels, names, headers, at, system, series_number(number, add))
    if sources.anonymous:
        copy_series(sources.series[0], sources.fixed, make_folder(folder / "fixed"))
