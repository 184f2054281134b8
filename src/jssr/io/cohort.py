"""The cohort file: which scans belong to which patient, and what is known of them.

`cohort.json` lies in the folder that holds the files; every path in it is relative to that folder. The `dataset.json`
of the Medical Segmentation Decathlon (Antonelli et al. 2022), and that of nnU-Net's raw data (Isensee et al. 2021,
version 2), is read as a cohort of one labelled phase.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from jssr.core.volume import Modality, Volume
from jssr.errors import CohortError
from jssr.io.files import atomic_path, digest, names_series
from jssr.io.images import read_image
from jssr.io.pictures import cohort_of_pictures, picture_folders

Split = Literal["train", "validation", "test", ""]
# Keys that people put into such files and that nothing here depends on; they are kept under `meta`.
TOLERATED = {"age", "comment", "description", "licence", "license", "notes", "reference", "release", "sex", "version"}
_TUMOURS = ("cancer", "liver_tumour", "tumour", "tumor")


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    meta: dict[str, Any] = Field(default_factory=dict)
    """Anything else worth keeping (seeds, ages, licence); never read by the program."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        loose = {k: v for k, v in values.items() if k in TOLERATED and k not in cls.model_fields}
        rest = {k: v for k, v in values.items() if k not in loose}
        return {**rest, "meta": {**loose, **(rest.get("meta") or {})}} if loose else values


class Case(_Entry):
    """One patient. The dictionaries go from a phase (or modality) to a path relative to the cohort's folder."""

    id: str = Field(min_length=1)
    split: Split = ""
    images: dict[str, str]
    labels: dict[str, str] = Field(default_factory=dict)
    landmarks: dict[str, str] = Field(default_factory=dict)
    masks: dict[str, str] = Field(default_factory=dict)
    """Only what is not 0 in it counts for an alignment; on its scan's grid."""
    truth: dict[str, str] = Field(default_factory=dict)
    """Phantoms only: displacement from the reference phase's grid to that phase's scan (millimetres, LPS)."""
    paired: dict[str, str] = Field(default_factory=dict)
    """For cohorts of two modalities: what looks as the other modality does and lies on that phase's scan, on its grid;
    training of `dual` alone needs it."""

    @field_validator("images", "labels", "landmarks", "masks", "truth", "paired")
    @classmethod
    def _inside(cls, paths: dict[str, str]) -> dict[str, str]:
        for path in paths.values():
            absolute = PurePosixPath(path).is_absolute() or Path(path).is_absolute()
            if not path or absolute or Path(os.path.normpath(path)).parts[:1] == ("..",):
                raise ValueError(f'path "{path}" leaves the folder; paths are relative to the cohort file')
        return paths

    @model_validator(mode="after")
    def _known_phases(self) -> Case:
        if not self.images:
            raise ValueError(f"case {self.id} has no images")
        for part in ("labels", "landmarks", "masks", "truth", "paired"):
            for phase in getattr(self, part):
                if phase not in self.images:
                    what = f'case {self.id} has {part} for phase "{phase}" but no image of it'
                    raise ValueError(f"{what}; it has images of {', '.join(self.images)}")
        return self


class Cohort(_Entry):
    """A folder of patients.

    `reference_phase` is the phase that the others are aligned to, and every case has it. A region joins several named
    labels into one structure for evaluation.
    """

    name: str = Field(min_length=1)
    reference_phase: str = Field(min_length=1)
    cases: list[Case] = Field(min_length=1)
    label_names: dict[int, str] = Field(default_factory=dict)
    regions: dict[str, list[str]] = Field(default_factory=dict)
    modalities: dict[str, Modality] = Field(default_factory=dict)
    """Phase to "ct", "mr", "us" or "radiograph", where it is known; the tag of a DICOM file comes first."""
    root: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="after")
    def _agrees(self) -> Cohort:
        names = list(self.label_names.values())
        for what, found in (("cases have the id", [c.id for c in self.cases]), ("labels have the name", names)):
            twice = next((name for name, n in Counter(found).items() if n > 1), None)
            if twice is not None:
                raise ValueError(f'two {what} "{twice}"')
        for case in self.cases:
            if self.reference_phase not in case.images:
                what = f'case {case.id} has no image of the reference phase "{self.reference_phase}"'
                raise ValueError(f"{what}; it has {', '.join(case.images)}")
        unknown = [phase for phase in self.modalities if phase not in self.phases]
        if unknown:
            known = ", ".join(self.phases)
            raise ValueError(f'modalities name the phase "{unknown[0]}", which no case has; there are {known}')
        for region, members in self.regions.items():
            unknown = [m for m in members if m not in names]
            if unknown or not members:
                what = f'names the unknown label "{unknown[0]}"' if unknown else "is empty"
                raise ValueError(f'region "{region}" {what}; the labels are {", ".join(names) or "none"}')
        return self

    @classmethod
    def load(cls, folder: str | os.PathLike[str], supervised_phase: str = "venous") -> Cohort:
        """Read `cohort.json`, or the `dataset.json` of the Decathlon or of nnU-Net, of a folder (or that file itself);
        or make a cohort of a folder of radiographs with masks (`jssr.io.pictures`).

        Args:
            folder: the cohort's folder.
            supervised_phase: what to call the one phase of a data set of the Decathlon or nnU-Net.

        Raises:
            CohortError: no such file, not JSON, unknown keys, duplicate ids, a case without the reference_phase,
                labels of a phase without an image, a path that leaves the folder.
        """
        folder = Path(folder)
        file = folder if folder.is_file() else folder / "cohort.json"
        if not file.is_file() and (folder / "dataset.json").is_file():
            file = folder / "dataset.json"
        if not file.is_file() and picture_folders(folder) is not None:
            return cls.model_validate({**cohort_of_pictures(folder), "root": folder})
        if not file.is_file():
            raise CohortError(
                f"{folder}: holds no cohort.json and no dataset.json, nor images/ with masks/; is it a cohort's folder?"
            )
        try:
            content = json.loads(file.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise CohortError(f"{file}: is not readable JSON ({error})") from error
        if not isinstance(content, dict):
            raise CohortError(f"{file}: must hold a JSON object with name, reference phase and cases")
        if "training" in content and "cases" not in content:
            content = _from_decathlon(content, file, supervised_phase)
        elif "channel_names" in content and "cases" not in content:
            content = _from_nnunet(content, file, supervised_phase)
        if "anchor" in content and "reference_phase" not in content:  # the key's name before 0.2
            content["reference_phase"] = content.pop("anchor")
        try:
            return cls.model_validate({**content, "root": file.parent})
        except ValidationError as error:
            raise CohortError(f"{file}: {_first(error)}") from error

    def save(self, folder: str | os.PathLike[str] | None = None) -> Path:
        """Write `cohort.json` into a folder (default: the cohort's own) atomically and return its path.

        Raises:
            OutputError: it cannot be written.
        """
        file = Path(self.root if folder is None else folder) / "cohort.json"
        content = self.model_dump(mode="json")
        for entry in (content, *content["cases"]):
            for key in ("meta", "labels", "landmarks", "masks", "truth", "paired", "regions", "modalities", "split"):
                if not entry.get(key):
                    entry.pop(key, None)
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return file

    @property
    def phases(self) -> tuple[str, ...]:
        """Every phase that some case has, the reference phase first, then in the order of the file."""
        return tuple(dict.fromkeys([self.reference_phase, *(p for case in self.cases for p in case.images)]))

    def path(self, relative: str) -> Path:
        """The file that a path of a case means."""
        return self.root / relative

    def files_of(self, case: Case) -> list[list[str]]:
        """Path and digest of every file of a case that exists: changes when one of them does."""
        found: list[list[str]] = []
        for part in (case.images, case.labels, case.landmarks, case.masks, case.truth, case.paired):
            for name in part.values():
                path = self.path(name)
                with suppress(OSError):
                    found.append([name, digest(path.parent if names_series(path) else path)])
        return found

    def digest(self, case: Case) -> str:
        """Changes when the names of the labels, a case's entry or the content of one of its files do."""
        names = [self.reference_phase, sorted(self.label_names.items()), sorted(self.regions.items())]
        names += [sorted(self.modalities.items())] if self.modalities else []
        entry = case.model_dump(mode="json")
        entry = entry if case.masks else {key: value for key, value in entry.items() if key != "masks"}
        described = [names, entry, self.files_of(case)]  # without masks as it was before there were any
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]

    def split(self, name: Split) -> list[Case]:
        """The cases of a split, in the order of the file; an unknown or empty split gives an empty list."""
        return [case for case in self.cases if case.split == name]

    def case(self, id: str) -> Case:
        """The case of an id.

        Raises:
            CohortError: there is none.
        """
        for case in self.cases:
            if case.id == id:
                return case
        raise CohortError(f'{self.root}: has no case "{id}"; the first of its {len(self.cases)} is {self.cases[0].id}')

    def image(self, case: Case, phase: str) -> Path:
        """The image file of a phase of a case.

        Raises:
            CohortError: the case has no such phase.
        """
        if phase not in case.images:
            raise CohortError(f'{self.root}: case {case.id} has no phase "{phase}"; it has {", ".join(case.images)}')
        return self.path(case.images[phase])

    def scan(self, case: Case, phase: str, ndim: int | None = None) -> Volume:
        """Read the scan of a phase, with the modality that the cohort knows where the file itself does not.

        Raises:
            CohortError: the case has no such phase; ImageError: the file cannot be read.
        """
        volume = read_image(self.image(case, phase), ndim=ndim)
        known = self.modalities.get(phase)
        return volume if known is None or volume.modality else volume.known_as("cohort", modality=known)

    def check_phases(self, *phases: str) -> None:
        """Make sure that phases exist somewhere in the cohort.

        Raises:
            CohortError: one does not; the message lists those that do.
        """
        for phase in phases:
            if phase not in self.phases:
                raise CohortError(f'{self.root}: no case has a phase "{phase}"; there are {", ".join(self.phases)}')

    def structures(self) -> dict[str, tuple[int, ...]]:
        """What to evaluate: each structure's label values. A region replaces the label of its name."""
        value_of = {name: value for value, name in sorted(self.label_names.items()) if value != 0}
        out: dict[str, tuple[int, ...]] = {name: (value,) for name, value in value_of.items()}
        for region, members in self.regions.items():
            out[region] = tuple(sorted(value_of[m] for m in members if m in value_of))
        return out

    def unnamed(self, values: Iterable[int]) -> list[int]:
        """Those label values that `label_names` does not name, background apart."""
        return sorted(int(v) for v in values if v != 0 and v not in self.label_names)


def _from_decathlon(content: dict[str, Any], file: Path, phase: str) -> dict[str, Any]:
    """The Decathlon's description as a cohort; its test images have no labels and are left out."""
    try:
        modality = content.get("modality", {})
        if len(modality) > 1:
            raise CohortError(f"{file}: holds {len(modality)} modalities in one file; split its images into 3D first")
        names = {int(value): str(name) for value, name in content["labels"].items() if int(value) != 0}
        cases = [
            {
                "id": PurePosixPath(entry["image"]).name.removesuffix(".gz").removesuffix(".nii"),
                "split": "train",
                "images": {phase: str(PurePosixPath(entry["image"]))},
                "labels": {phase: str(PurePosixPath(entry["label"]))},
            }
            for entry in content["training"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CohortError(f"{file}: is not a Decathlon dataset.json ({type(error).__name__}: {error})") from error
    return _labelled(content, file, phase, cases, names)


def _from_nnunet(content: dict[str, Any], file: Path, phase: str) -> dict[str, Any]:
    """nnU-Net's raw data set (version 2) as a cohort: `imagesTr/CASE_0000.ENDING` and `labelsTr/CASE.ENDING`."""
    ending = str(content.get("file_ending", ".nii.gz"))
    channels, given = content["channel_names"], content.get("labels")
    if not isinstance(channels, dict) or len(channels) != 1:
        found = f"{len(channels)} channels" if isinstance(channels, (dict, list)) else repr(channels)
        raise CohortError(f"{file}: expected one channel, got {found}: write cohort.json, with a phase for each")
    if not isinstance(given, dict) or not all(isinstance(value, int) for value in given.values()):
        raise CohortError(f"{file}: expected labels as name to one value, got {given!r}: write cohort.json")
    names = {value: str(name) for name, value in given.items() if value != 0}
    ids = sorted(path.name.removesuffix(ending) for path in (file.parent / "labelsTr").glob(f"*{ending}"))
    if not ids:
        raise CohortError(f"{file}: expected label maps labelsTr/CASE{ending} beside it, got none")
    cases = [
        {
            "id": id,
            "split": "train",
            "images": {phase: f"imagesTr/{id}_0000{ending}"},
            "labels": {phase: f"labelsTr/{id}{ending}"},
        }
        for id in ids
    ]
    return _labelled(content, file, phase, cases, names)


def _labelled(
    content: dict[str, Any], file: Path, phase: str, cases: list[dict[str, Any]], names: dict[int, str]
) -> dict[str, Any]:
    """A cohort of one phase; a liver is evaluated with its tumours."""
    by_lower = {name.lower(): name for name in names.values()}
    tumours = [by_lower[t] for t in _TUMOURS if t in by_lower]
    regions = {by_lower["liver"]: [by_lower["liver"], *tumours]} if "liver" in by_lower and tumours else {}
    name = str(content.get("name") or file.parent.name)
    return {"name": name, "reference_phase": phase, "cases": cases, "label_names": names, "regions": regions}


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, in words."""
    one = error.errors()[0]
    where = ".".join(str(part) for part in one["loc"])
    message = str(one["msg"]).removeprefix("Value error, ")
    if one["type"] == "extra_forbidden":
        return f'unknown key "{where}"; keep extra information under "meta"'
    if one["type"] == "missing":
        return f'the key "{where}" is missing'
    return f"{where}: {message}" if where and one["type"] != "value_error" else message


def cases_of_split(cohort: Cohort, split: Split) -> list[Case]:
    """The cases of a split, or all where the cohort has no splits."""
    return cohort.split(split) if any(c.split for c in cohort.cases) else list(cohort.cases)
