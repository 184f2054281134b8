"""A patient's scans: by phase, with what is known of them, from files named by phase, a cohort or DICOM."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jssr.core.notes import tell
from jssr.core.volume import Modality, Volume
from jssr.errors import CohortError, ImageError, JssrError, nearest
from jssr.io.cohort import Case, Cohort
from jssr.io.files import DICOM_FOLDER, is_plain_name
from jssr.io.images import ImageLike, as_volume
from jssr.io.itk import WRITABLE
from jssr.io.points import PointsLike

if TYPE_CHECKING:
    from jssr.io.dicom.phases import Named

Image = ImageLike
Look = Callable[[Sequence["Named"]], Mapping[str, tuple[str, str]]]
"""Looks at the scans whose phase the headers leave in doubt: id of a series to its phase and why."""
_KNOWN = ("_labels", "_landmarks", "_mask", "_displacement", "_segmentation")
_NAME = re.compile(r"[^\W\d](?:[^\W\d]|[-_ ])*")
"""Folders that may be called by a phase: words. Exports number theirs (SE00001, Abd_ven_3.0_4)."""


@dataclass(frozen=True)
class Study:
    """The scans of one patient by phase, and what is known of them.

    `structures` gives the label values of each structure; None takes each value under its number. `series` is what was
    found where the scans are DICOM, those that are left out too. `modalities` are those that the cohort's file names.
    `masks` are label maps; only what is not 0 in them counts for an alignment.
    """

    name: str
    images: dict[str, Image]
    labels: dict[str, Image] = field(default_factory=dict)
    landmarks: dict[str, PointsLike] = field(default_factory=dict)
    structures: Mapping[str, Sequence[int]] | None = None
    series: tuple[Named, ...] = ()
    modalities: Mapping[str, Modality] = field(default_factory=dict)
    masks: dict[str, Image] = field(default_factory=dict)

    def volume(self, phase: str) -> Volume:
        """A scan, with its phase, and its modality where the cohort's file has it and the scan's header has not.

        Raises:
            ImageError: it cannot be read.
        """
        scan = as_volume(self.images[phase], name=phase)
        scan = scan if scan.phase else scan.known_as("guess" if self.series else "option", phase=phase)
        known = None if scan.modality else self.modalities.get(phase)
        return scan.known_as("cohort", modality=known)

    def check(self, reference_phase: str) -> None:
        """Refuse a study without the reference phase, with nothing to align to it, or of phases that name no folder."""
        for phase in self.images:
            if not is_plain_name(phase):
                raise CohortError(f"{self.name}: expected phases that can name a folder, got {phase!r}: rename it")
        found = f" ({', '.join(self.images)}; jssr series shows why)" if self.series else ""
        if reference_phase not in self.images:
            near = nearest(reference_phase, self.images)
            raise CohortError(
                f'{self.name}: has no phase "{reference_phase}"{near}{found}: name one with --reference-phase'
            )
        if len(self.images) < 2:
            raise CohortError(
                f"{self.name}: has only one scan ({reference_phase}); there is nothing to align to it{found}"
            )


def anonymous(image: Image, name: str) -> Volume:
    """A scan under a name that tells nothing of where it came from."""
    return replace(as_volume(image), name=f"anonymous {name}")


def anonymous_study(study: Study) -> Study:
    """A study whose scans are read and go by their phases, and which tells nothing of the patient."""
    return replace(study, name="study", images={p: anonymous(i, p) for p, i in study.images.items()}, series=())


def study_of(cohort: Cohort, case: Case) -> Study:
    """A case of a cohort as a study."""

    def files(part: Mapping[str, str]) -> dict[str, Any]:
        return {phase: cohort.path(path) for phase, path in part.items()}

    return Study(
        case.id, files(case.images), files(case.labels), files(case.landmarks), cohort.structures() or None,
        modalities=cohort.modalities, masks=files(case.masks),
    )  # fmt: skip


def read_study(
    folder: str | os.PathLike[str],
    chosen: Mapping[str, str] | None = None,
    left: Collection[str] = (),
    by_folder: bool = True,
    look: Look | None = None,
) -> Study:
    """Find the scans of a patient in a folder.

    Either image files named by phase (`venous.nii.gz`, with `venous_labels.nii.gz`, `venous_mask.nii.gz` and
    `venous_landmarks.csv` (`.mrk.json`, `.fcsv`) where known; a `cohort.json` in the folder above names the labels and
    modalities), or DICOM, whose series `jssr.io.dicom.phases` names.

    Args:
        chosen: of DICOM, phase to series (number, UID or its beginning; `4:2` is part 2 of series 4, where it holds
            several acquisitions), instead of what is guessed.
        left: of DICOM, series to leave out.
        by_folder: of DICOM, the names of folders may be those of phases.
        look: of DICOM, tells the phases that the headers leave in doubt from the pictures.

    Raises:
        ImageError: no such folder, no scans in it, scans of several patients, or no such series.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder; a study is a folder of scans named by phase")
    if (folder / "cohort.json").is_file():
        cases = ", ".join(case.id for case in Cohort.load(folder).cases[:3])
        raise ImageError(f"{folder}: is a cohort: name one of its cases ({cases} ...), or use jssr evaluate")
    images: dict[str, Any] = {}
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    # Beside volumes a picture is a picture of them; alone they are radiographs.
    volumes = [p for p in files if p.suffix.lower() != ".png"]
    for path in volumes if any(_stem(p) is not None for p in volumes) else files:
        stem = _stem(path)
        if stem is not None and not stem.endswith(_KNOWN):
            if stem in images:
                raise ImageError(f"{folder}: holds two scans named {stem!r} ({images[stem].name} and {path.name})")
            images[stem] = path
    series = () if images else _dicom(folder, chosen or {}, left, by_folder, look)
    if (chosen or left) and not series:
        raise ImageError(f"{folder}: holds no DICOM series to name or leave out")
    images |= {one.phase: folder / one.series.id for one in series if one.phase}
    if not images and not series:
        raise ImageError(f"{folder}: holds no scans; name them by phase (venous.nii.gz, arterial.nii.gz ...)")
    labels: dict[str, Image] = {}
    landmarks: dict[str, PointsLike] = {}
    masks: dict[str, Image] = {}
    for phase in images:
        for ending in WRITABLE:
            for found, what in ((labels, "labels"), (masks, "mask")):
                if (folder / f"{phase}_{what}{ending}").is_file():
                    found[phase] = folder / f"{phase}_{what}{ending}"
        points = [folder / f"{phase}_landmarks{ending}" for ending in (".csv", ".mrk.json", ".fcsv")]
        for file in (one for one in reversed(points) if one.is_file()):
            landmarks[phase] = file
    cohort = _cohort_above(folder)
    structures, modalities = (cohort.structures() or None, cohort.modalities) if cohort else (None, {})
    return Study(folder.resolve().name, images, labels, landmarks, structures, series, modalities, masks)


def _stem(path: Path) -> str | None:
    """The phase that an image file is named by."""
    return next((path.name[: -len(end)] for end in WRITABLE if path.name.lower().endswith(end)), None)


def named_in(folder: Path) -> Mapping[str, Sequence[int]] | None:
    """The structures that the cohort names to which a case's folder belongs; None where there is no cohort."""
    cohort = _cohort_above(folder)
    return (cohort and cohort.structures()) or None


def _cohort_above(folder: Path) -> Cohort | None:
    """The cohort to which a case's folder belongs; a damaged file of one is told."""
    home = folder.resolve().parent
    try:
        return Cohort.load(home)
    except JssrError as error:
        if (home / "cohort.json").is_file():
            tell(f"{error}; its names of labels and its modalities are not used.")
        return None


def _dicom(
    folder: Path, chosen: Mapping[str, str], left: Collection[str], by_folder: bool, look: Look | None
) -> tuple[Named, ...]:
    """The series of a DICOM study by phase."""
    if not any(p.is_file() for p in folder.rglob("*")):
        return ()
    from jssr.io.dicom.phases import name_phases
    from jssr.io.dicom.series import find_series, passed_over

    found = [s for s in find_series(folder, localizers=True) if DICOM_FOLDER not in s.paths[0].parts]
    homes = {s.id: s.paths[0].relative_to(folder).parts for s in found}
    told = {key: p[0].lower() for key, p in homes.items() if by_folder and len(p) > 1 and _NAME.fullmatch(p[0])}
    if found:
        tell(*filter(None, [passed_over(folder)]))
    try:
        named = name_phases(found, chosen, left, told)
        seen = look(named) if look is not None else {}
        return tuple(name_phases(found, chosen, left, told, seen) if seen else named)
    except ImageError as error:
        raise ImageError(f"{folder}: {error}") from None
