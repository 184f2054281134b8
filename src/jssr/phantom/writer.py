"""Phantom studies on disk: a cohort folder, written patient by patient by a few processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import torch

from jssr.core.bridges import to_sitk
from jssr.core.processes import in_processes
from jssr.core.transform import Displacement
from jssr.io.cohort import Case, Cohort
from jssr.io.files import atomic_path, make_folder
from jssr.io.images import write_image
from jssr.io.itk import write_sitk
from jssr.io.points import write_points
from jssr.phantom.body_study import BODY_PHASES, BODY_SHAPE, check_field, make_body_study
from jssr.phantom.pelvic_study import PELVIC_PHASES, PELVIC_SHAPE, make_pelvic_study
from jssr.phantom.phases import CT_PHASES, MR_PHASES, Population, check_phases, check_scans, default_phases
from jssr.phantom.study import SHAPE, Study, make_study
from jssr.phantom.thorax_study import PIXELS, VISITS, make_thorax_study

__all__ = ["SPLITS", "regions_of", "write_cohort", "write_studies", "write_study"]

SPLITS = {"train": 0.7, "validation": 0.1, "test": 0.2}
REGIONS = {"liver": ["liver", "liver_tumour"], "lungs": ["lung_right", "lung_left"]}
_TRUTH_STEP_MM = 2.0**-8
"""Written truth is rounded to this: far below any voxel, and the files shrink to a fraction."""


@dataclass(frozen=True)
class _Recipe:
    """What a worker needs to make study number i; plain values, so that it can be sent to another process."""

    make: Callable[..., Study]
    arguments: dict[str, Any]
    folder: str

    def __call__(self, index: int) -> dict[str, Any]:
        return write_study(self.make(index, **self.arguments), Path(self.folder))


class Scans(TypedDict, total=False):
    """What the scans of a cohort are, as `make_study` takes it."""

    population: Population
    shape: Sequence[int] | None
    phases: Sequence[str] | None
    slice_thickness: float | None
    reference_mm: float | None
    paired: bool
    field: Sequence[float] | None


def write_cohort(
    out: str | os.PathLike[str],
    patients: int,
    seed: int,
    *,
    anatomy: Literal["abdomen", "body", "pelvis", "thorax"] = "abdomen",
    splits: Mapping[str, float] | None = None,
    workers: int = 2,
    on_study: Callable[[int], None] | None = None,
    **scans: Unpack[Scans],
) -> Cohort:
    """Make phantom patients and write them as a cohort with its truth.

    The bytes of a patient's files depend on `seed` and the patient's number alone, not on how many patients or workers
    there are. Memory is that of one patient per worker. `cohort.json` comes last: where it stands, the cohort is
    complete.

    Args:
        out: folder to write to; files of the same names are replaced.
        patients, seed: how many, and the cohort's seed.
        anatomy: a body and a pelvis have the population "target" only; a thorax is taken as radiographs.
        splits: split -> share, cut off in the order of the patients; by default train 0.7, validation 0.1, test 0.2
            for the target population and all train for the supervised one.
        workers: processes; 1 works in this one.
        on_study: called with the number of each patient that is done.
        scans: population, shape, phases, slice_thickness, reference_mm, paired: as in `make_study`; field: of a body,
            as in `make_body_study`.

    Raises:
        ValueError: no patients, or arguments that `make_study` refuses.
        OutputError: the folder cannot be written, or the disk is full.
    """
    if patients < 1 or workers < 1:
        raise ValueError(f"at least one patient and one worker are needed, got {patients} and {workers}")
    if scans.get("field") is not None and anatomy != "body":
        raise ValueError(f"a field of view is chosen of a body, not of the anatomy {anatomy!r}")
    population = scans.get("population", "target")
    if population != "target" and anatomy != "abdomen":
        raise ValueError(f"a {anatomy} has no supervised population")
    make, details = _WANTED[anatomy](scans)
    details |= {"seed": seed, "reference_mm": scans.get("reference_mm")}
    name = f"phantom-{anatomy}" if anatomy != "abdomen" else "phantom"
    name = name if population == "target" else "phantom-supervised"
    shares = splits or (SPLITS if population == "target" else {"train": 1.0})
    return write_studies(out, name, make, details, patients, shares, workers, on_study)


_Wanted = tuple[Callable[..., Study], dict[str, Any]]


def _checked(scans: Scans, phases: Sequence[str], known: Sequence[str], shape: Sequence[int]) -> dict[str, Any]:
    """Phases, shape and pairs, as asked for or else by default."""
    details: dict[str, Any] = {
        "paired": scans.get("paired", False),
        "phases": tuple(scans.get("phases") or phases),
        "shape": tuple(scans.get("shape") or shape),
    }
    check_scans(details["phases"], known, details["shape"], details["paired"])
    return details


def _abdomen(scans: Scans) -> _Wanted:
    population = scans.get("population", "target")
    about = {"population": population, "slice_thickness": scans.get("slice_thickness")}
    phases = default_phases(population, scans.get("phases"))
    return _make, about | _checked(scans, phases, CT_PHASES + MR_PHASES, SHAPE)


def _body(scans: Scans) -> _Wanted:
    about = {"field": check_field(scans.get("field")), "slice_thickness": scans.get("slice_thickness")}
    return _make_body, about | _checked(scans, BODY_PHASES, CT_PHASES + MR_PHASES, BODY_SHAPE)


def _pelvis(scans: Scans) -> _Wanted:
    if scans.get("slice_thickness") is not None:
        raise ValueError("a pelvis has no slice thickness of its own")
    return _make_pelvis, _checked(scans, PELVIC_PHASES[:2], PELVIC_PHASES, PELVIC_SHAPE)


def _thorax(scans: Scans) -> _Wanted:
    if scans.get("slice_thickness") is not None or scans.get("shape") is not None or scans.get("paired"):
        raise ValueError(f"radiographs are of {PIXELS} x {PIXELS} pixels, without slices or pairs")
    phases = tuple(scans.get("phases") or VISITS[:3])
    check_phases(phases, VISITS)
    return _make_thorax, {"phases": phases}


_WANTED: dict[str, Callable[[Scans], _Wanted]] = {
    "abdomen": _abdomen,
    "body": _body,
    "pelvis": _pelvis,
    "thorax": _thorax,
}


def _make(index: int, *, seed: int, **arguments: Any) -> Study:
    return make_study(seed, index, **arguments)


def _make_body(index: int, *, seed: int, **arguments: Any) -> Study:
    return make_body_study(seed, index, **arguments)


def _make_pelvis(index: int, *, seed: int, **arguments: Any) -> Study:
    return make_pelvic_study(seed, index, **arguments)


def _make_thorax(index: int, *, seed: int, **arguments: Any) -> Study:
    return make_thorax_study(seed, index, **arguments)


def write_studies(
    out: str | os.PathLike[str],
    name: str,
    make: Callable[..., Study],
    arguments: Mapping[str, Any],
    count: int,
    splits: Mapping[str, float],
    workers: int = 2,
    on_study: Callable[[int], None] | None = None,
) -> Cohort:
    """Write `make(0, **arguments)` to `make(count - 1, **arguments)` as a cohort.

    Args:
        out: folder.
        name: the cohort's name.
        make: a function of a module (workers import it).
        arguments: its further arguments.
        count: number of studies.
        splits: split -> share of the studies, in order.
        workers: processes.
        on_study: called with the number of each study that is done.
    """
    folder = make_folder(out)
    recipe = _Recipe(make, dict(arguments), str(folder))
    entries: dict[int, dict[str, Any]] = {}
    for index, entry in in_processes(recipe, range(count), workers, steady=True):
        if not entries:
            # A cohort that is being rewritten is not complete; until something new is there, the old one stays.
            (folder / "cohort.json").unlink(missing_ok=True)
        entries[index] = entry
        if on_study is not None:
            on_study(index)
    names = _splits(splits, count)
    cases = [Case(split=names[i], **entries[i]["case"]) for i in range(count)]
    cohort = Cohort(
        name=name,
        reference_phase=entries[0]["reference_phase"],
        cases=cases,
        label_names=entries[0]["label_names"],
        regions=regions_of(entries[0]["label_names"]),
        root=folder,
        meta={k: v for k, v in arguments.items() if isinstance(v, (str, int, float, tuple, type(None)))},
    )
    cohort.save(folder)
    return cohort


def regions_of(label_names: Mapping[int, str]) -> dict[str, list[str]]:
    """Those of `REGIONS` all of whose labels there are."""
    return {region: list(of) for region, of in REGIONS.items() if set(of) <= set(label_names.values())}


def write_study(study: Study, folder: Path) -> dict[str, Any]:
    """Write one study into `folder/<id>` and return its entry: plain values for `Case`, reference phase and label
    names.

    Raises:
        OutputError: a file cannot be written.
    """
    place = make_folder(folder / study.id)
    case: dict[str, Any] = {
        "id": study.id,
        "meta": study.info,
        "images": {},
        "labels": {},
        "landmarks": {},
        "truth": {},
        "paired": {},
    }
    for phase, image in study.images.items():
        ending, kind = (".png", np.uint16) if image.grid.ndim == 2 else (".nii.gz", np.int16)
        case["images"][phase] = f"{study.id}/{phase}{ending}"
        write_image(image, place / f"{phase}{ending}", kind)
        case["labels"][phase] = f"{study.id}/{phase}_labels{ending}"
        write_image(study.labels[phase], place / f"{phase}_labels{ending}", np.uint8)
        if len(study.images) > 1:
            case["landmarks"][phase] = f"{study.id}/{phase}_landmarks.csv"
            write_points(study.landmarks[phase], place / f"{phase}_landmarks.csv")
    for phase, image in study.paired.items():
        case["paired"][phase] = f"{study.id}/{phase}_paired.nii.gz"
        write_image(image.with_data(image.data.to(torch.int16)), place / f"{phase}_paired.nii.gz", np.int16)
    for phase, displacement in study.truth.items():
        case["truth"][phase] = f"{study.id}/{phase}_displacement.nii.gz"
        _write_truth(displacement, place / f"{phase}_displacement.nii.gz")
    with atomic_path(place / "phantom.json") as temporary:
        temporary.write_text(json.dumps(study.info, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {"case": case, "reference_phase": study.reference_phase, "label_names": study.label_names}


def _write_truth(displacement: Displacement, path: Path) -> None:
    vectors = np.round(displacement.millimetres() / _TRUTH_STEP_MM) * np.float32(_TRUTH_STEP_MM)
    image = to_sitk(np.moveaxis(vectors.astype(np.float32), -1, 0), displacement.grid)
    image.SetMetaData("ITK_FileNotes", "displacement mm LPS, fixed grid: moved(p)=moving(p+u(p))")
    write_sitk(image, path)


def _splits(shares: Mapping[str, float], count: int) -> list[str]:
    """A split for each study, in order: shares are cut off cumulatively, so none is lost to rounding."""
    total = sum(shares.values())
    if total <= 0 or min(shares.values()) < 0:
        raise ValueError(f"shares of the splits must be positive, got {dict(shares)}")
    ends = np.round(np.cumsum(list(shares.values())) / total * count).astype(int)
    names = list(shares)
    return [names[int(np.searchsorted(ends, i, side="right"))] for i in range(count)]
