"""What the DICOM series says that a scan came from: whose it is, when it was taken, in which frame it lies."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jssr.errors import JssrError
from jssr.io.files import names_series
from jssr.io.header import sop_class

if TYPE_CHECKING:
    from jssr.io.dicom.series import SeriesInfo


def told_by_header(name: str) -> dict[str, Any]:
    """Title, patient, time and series of a scan, as `jssr.registration.schema.ScanInfo` takes them: of a DICOM series
    by its header, of anything else the name of its file alone.

    Args:
        name: of the volume: its path. An anonymous one has none, and nothing is told of the patient.
    """
    series = series_of(name)
    if series is None:
        return {"title": Path(name).name}
    found = {"patient": next((text for text in series.patient[::2] if text), None), "taken": series.taken}
    number = "" if series.number is None else str(series.number) + (f":{series.part}" if series.part else "")
    title = series.description.strip() or Path(name).name
    return {"title": title, "series": number or series.uid, **{k: v for k, v in found.items() if v}}


def told_by_headers(fixed: str, moving: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """`told_by_header` of two scans. Two files of one name, as of two dates, are titled with their folders."""
    told = told_by_header(fixed), told_by_header(moving)
    if told[0] == told[1] and told[0].keys() == {"title"}:
        homes = Path(fixed).parent.name, Path(moving).parent.name
        if all(homes) and homes[0] != homes[1]:
            return {"title": f"{homes[0]}/{told[0]['title']}"}, {"title": f"{homes[1]}/{told[1]['title']}"}
    return told


def frames_apart(fixed: str, moving: str) -> tuple[str, ...]:
    """A warning where two DICOM series lie in different frames of reference: nothing brings them together then, if no
    rigid step does."""
    frames = [series.frame if series is not None else "" for series in (series_of(fixed), series_of(moving))]
    if "" in frames or frames[0] == frames[1]:
        return ()
    return (
        f"{Path(moving).name}: its DICOM headers name another frame of reference than those of {Path(fixed).name}, so "
        "their places may not be comparable, and no rigid step was made: leave out --no-rigid (rigid=False).",
    )


def frame_of(name: str) -> str:
    """UID of the frame of reference in which a scan lies, "" where it is not known.

    Args:
        name: of the volume, as in `told_by_header`.
    """
    if Path(name).is_file() and sop_class(Path(name)) is not None:
        from jssr.io.dicom.files import opened

        with suppress(JssrError):
            return str(opened(name, pixels=False).get("FrameOfReferenceUID") or "")
    series = series_of(name)
    return "" if series is None else series.frame


def series_of(name: str) -> SeriesInfo | None:
    """The DICOM series that a scan is named by."""
    path = Path(name)
    if path.is_file() or not (path.is_dir() or names_series(path)):
        return None  # pydicom and highdicom take a second to import
    try:
        from jssr.io.dicom.read import series_at

        return series_at(path)
    except JssrError:
        return None
