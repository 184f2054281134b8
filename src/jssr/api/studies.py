"""The scans of a patient's folder: which there are, and which series of DICOM is which phase."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jssr.api.session import PathLike
from jssr.errors import ImageError, OptionError
from jssr.io import study as studies
from jssr.io.study import Study

if TYPE_CHECKING:
    from jssr.io.dicom.phases import Named

__all__ = ["read_study", "series"]


def read_study(
    folder: PathLike,
    chosen: Mapping[str, str] | None = None,
    left: Collection[str] = (),
    by_folder: bool = True,
) -> Study:
    """Find the scans of a patient in a folder.

    Either image files named by phase (`venous.nii.gz`, with `venous_labels.nii.gz`, `venous_mask.nii.gz` and
    `venous_landmarks.csv` where known; a `cohort.json` in the folder above names the labels and modalities), or DICOM,
    whose series `jssr.io.dicom.phases` names. CT series that their headers leave in doubt are looked at.

    Args:
        chosen: of DICOM, phase to series (number, UID or its beginning; `4:2` is part 2 of series 4, where it holds
            several acquisitions), instead of what is guessed.
        left: of DICOM, series to leave out.
        by_folder: of DICOM, the names of folders may be those of phases.

    Raises:
        ImageError: no such folder, no scans in it, scans of several patients, or no such series.
    """
    _check_words("phases", chosen or {}, isinstance(chosen or {}, Mapping))
    _check_words("leave", left, isinstance(left, Collection) and not isinstance(left, (str, Mapping)))
    return studies.read_study(folder, chosen, left, by_folder, look=_look)


def _check_words(option: str, given: Any, fits: bool) -> None:
    """Refuse what are no series by phase, and no list of series."""
    words = [*given, *(given.values() if isinstance(given, Mapping) else ())] if fits else [None]
    if not all(isinstance(word, str) for word in words):
        expected = '{"arterial": "2"}' if option == "phases" else '["2", "4:1"]'
        raise OptionError(f"{option}: expected series as text, as {expected}, got {given!r}")


def _look(named: Sequence[Named]) -> Mapping[str, tuple[str, str]]:
    if all(one.sure or not one.phase for one in named):
        return {}
    from jssr.registration.phases import look_at_phases  # needs an extra

    return look_at_phases(named)


def series(study: PathLike, phases: Mapping[str, str] | None = None, leave: Collection[str] = ()) -> tuple[Named, ...]:
    """The series of a DICOM study, and which phase each is taken for and why: `jssr series`.

    Args:
        study: folder of one patient.
        phases: phase to series (number or UID; `4:2` is part 2 of series 4), instead of what is inferred.
        leave: series to leave out.

    Raises:
        ImageError: no DICOM there, or no such series.
    """
    found = read_study(study, phases, leave)
    if not found.series:
        raise ImageError(f"{study}: holds no DICOM; its scans are {', '.join(found.images)}")
    return found.series
