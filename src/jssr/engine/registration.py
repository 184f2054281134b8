"""The result of a registration: as objects, as plain data, as files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from jssr.core.transform import Displacement
from jssr.core.volume import Volume
from jssr.data.flat import unknown_spacing
from jssr.data.intensity import modality_of
from jssr.data.prepare import PreparedPair
from jssr.engine.fullsize import Map
from jssr.engine.measure import Measures, Truth
from jssr.engine.model import Model
from jssr.engine.monitor import COPIES_BELOW, copy_ratio
from jssr.engine.output import output_folder, plain, write_json
from jssr.engine.provenance import Stopwatch, peak_memory_mb, provenance
from jssr.errors import JssrError
from jssr.io.images import stored_dtype, write_image
from jssr.io.transforms import write_displacement
from jssr.systems.base import Alignment

if TYPE_CHECKING:
    from jssr.evaluate.report import AlignmentView
    from jssr.io.dicom.headers import Sources

__all__ = ["OUTPUTS", "Registration", "Working", "describe"]

DICOM_OUTPUTS = (
    "jssr_dicom/moved/????.dcm", "jssr_dicom/fixed/????.dcm", "jssr_dicom/deformation.dcm",
    "jssr_dicom/fixed_segmentation.dcm", "jssr_dicom/moved_segmentation.dcm",
)  # fmt: skip
OUTPUTS = (
    "moved.nii.gz", "displacement.nii.gz", "inverse.nii.gz", "synthesised.nii.gz", "fixed_segmentation.nii.gz",
    "moved_segmentation.nii.gz", "result.json", "report.html", "kept_fixed.nii.gz", "kept_moving.nii.gz",
    *DICOM_OUTPUTS,
)  # fmt: skip

CONVENTION = (
    "moved(p) = moving(p + u(p)): u = displacement.nii.gz lies on the fixed grid, in millimetres LPS, rigid part "
    "included; inverse.nii.gz lies on the moving grid and maps the other way"
)


@dataclass(frozen=True, eq=False)
class Working:
    """What was found on the network's grid: the prepared pair, what the system said of it, and the maps by state;
    `structure` is what it was told of the fixed image (JRS-Net)."""

    model: Model
    pair: PreparedPair
    alignment: Alignment
    maps: dict[str, Map]
    structure: Tensor | None = None

    @property
    def final(self) -> Map:
        return list(self.maps.values())[-1]


@dataclass(frozen=True, eq=False)
class Registration:
    """A moving scan aligned to a fixed one.

    Attributes:
        fixed, moving: the scans as given.
        moved: the moving image on the fixed grid, in its own intensities; its minimum where it has no data.
        displacement: the whole map (rigid part included) on the fixed grid, fixed to moving space.
        inverse: the opposite map on the moving grid.
        covered: (1, *fixed shape) bool, where the moving scan has data.
        synthesised: the moving scan, aligned, in the fixed scan's appearance, on the fixed grid; None where not made.
        fixed_segmentation, moved_segmentation: label maps on the fixed grid; None where not made.
        result: what `result.json` holds.
        states: numbers of each state ("initial", "rigid", "network", "refined") from known labels and landmarks.
        work: what was found on the network's grid.
        truth: the labels and landmarks that were given.
    """

    fixed: Volume
    moving: Volume
    moved: Volume
    displacement: Displacement
    inverse: Displacement
    covered: Tensor
    synthesised: Volume | None
    fixed_segmentation: Volume | None
    moved_segmentation: Volume | None
    result: dict[str, Any]
    states: dict[str, dict[str, float]]
    work: Working
    truth: Truth = field(default_factory=Truth)

    def save(
        self,
        out: str | os.PathLike[str],
        report: bool = True,
        dicom: Sources | None = None,
        name: str = "",
        keep: bool = False,
        home: Path | None = None,
    ) -> Path:
        """Write the files of `docs` into a folder: all of them or none.

        Files of an earlier result that this one does not make are removed.

        Args:
            out: the folder.
            report: also `report.html`.
            dicom: the headers of the two series (`jssr.engine.dicom_output.sources_of`), for `jssr_dicom/`.
            name: of the moving scan, for what DICOM describes; its own by default.
            keep: also the two scans, as `kept_fixed.nii.gz` and `kept_moving.nii.gz`, and nothing of where they were.
            home: where the folder will be in the end, if that is elsewhere.

        Raises:
            OutputError: the folder cannot be written, or the disk is full; what was there stays.
        """
        watch = Stopwatch()
        with output_folder(out, OUTPUTS) as folder:
            # Compression takes most of the time and frees the interpreter, for the report for example.
            with watch.stage("write"), ThreadPoolExecutor(2) as pool:
                jobs = [pool.submit(job) for job in self._jobs(folder, keep)]
                if report:
                    self._report(folder / "report.html")
                if dicom is not None:
                    from jssr.engine.dicom_output import write_dicom

                    write_dicom(self, dicom, folder / "jssr_dicom", name or Path(self.moving.name).name)
                for job in jobs:
                    job.result()
            self.result["seconds"] |= {k: round(v, 3) for k, v in watch.seconds.items()}
            self.result["seconds"]["total"] = round(
                sum(v for k, v in self.result["seconds"].items() if k != "total"), 3
            )
            self.result["peak_memory_mb"] = round(peak_memory_mb())
            write_json(self.result if keep else self._located(home or Path(out)), folder / "result.json")
        return Path(out)

    def _located(self, out: Path) -> dict[str, Any]:
        """The result with the way from its folder to the scans, so that it is found again from anywhere."""
        found = dict(self.result)
        for key, volume in (("fixed", self.fixed), ("moving", self.moving)):
            path = Path(volume.name)
            if path.exists() or path.parent.is_dir() and str(path.parent) != ".":
                found[key] = {**found[key], "path": os.path.relpath(path, out)}
        return found

    def view(self, name: str = "", fixed_name: str = "") -> AlignmentView:
        """What the report shows of it, under these names for the scans."""
        from jssr.evaluate.report import AlignmentView

        states = list(self.states)
        before, after = dict(self.states[states[0]]), dict(self.states[states[-1]])
        segmentations = self.result["dice"].get("segmentations", {})
        own = self.truth.fixed_labels is None and bool(segmentations)
        if own:
            before |= {f"dice/{k}": v for k, v in segmentations[states[0]].items() if v is not None}
            after |= {f"dice/{k}": v for k, v in segmentations[states[-1]].items() if v is not None}
        after |= {"seconds": self.result["seconds"]["total"], "peak_mb": self.result["peak_memory_mb"]}
        return AlignmentView(
            replace(self.fixed, name=fixed_name or self.result["fixed"]["title"]), self.moving, self.moved,
            self.synthesised, self.fixed_segmentation, self.moved_segmentation,
            displacement=self.displacement, metrics=after, metrics_before=before, warnings=self.result["warnings"],
            name=name or self.result["moving"]["title"], covered=self.result["covered_percent"] / 100, own=own,
        )  # fmt: skip

    def _jobs(self, folder: Path, keep: bool) -> list[Callable[[], None]]:
        fields = {"displacement": self.displacement, "inverse": self.inverse}
        volumes = {
            "synthesised": self.synthesised,
            "fixed_segmentation": self.fixed_segmentation,
            "moved_segmentation": self.moved_segmentation,
            **({"kept_fixed": self.fixed, "kept_moving": self.moving} if keep else {}),
        }
        jobs: list[Callable[[], None]] = [
            lambda name=name, u=u: write_displacement(u, folder / f"{name}.nii.gz")  # type: ignore[misc]
            for name, u in fields.items()
        ]
        jobs.append(lambda: write_image(self.moved, folder / "moved.nii.gz", _moved_dtype(self.moving)))
        jobs += [
            lambda name=name, v=v: write_image(v, folder / f"{name}.nii.gz")  # type: ignore[misc]
            for name, v in volumes.items()
            if v is not None
        ]
        return jobs

    def _report(self, path: Path) -> None:
        from jssr.evaluate.report import write_report

        title = f"{self.result['moving']['title']} aligned to {self.result['fixed']['title']}"
        shown = {k: v for k, v in self.result.items() if k not in ("dice", "warnings")}
        write_report(path, title=title, rows=[self.view()], provenance=shown)


def title_of(name: str) -> str:
    """What people call a scan: the name of its file, or the description of its DICOM series."""
    from jssr.io.dicom import series_at

    path = Path(name)
    try:
        series = None if path.is_file() else series_at(path)
    except JssrError:
        series = None
    return (series.description.strip() if series is not None else "") or path.name


def describe(y: Volume, x: Volume, work: Working, watch: Stopwatch, measures: Measures, truth: Truth) -> dict[str, Any]:
    """The plain data of `result.json`; numbers that are not finite become null."""
    model, pair = work.model, work.pair
    last = list(measures.states.values())[-1]
    result = {
        "fixed": {"name": y.name, "title": title_of(y.name), "grid": repr(y.grid)},
        "moving": {"name": x.name, "title": title_of(x.name), "grid": repr(x.grid)},
        "convention": CONVENTION,
        "system": model.recipe.system,
        "weights": {"file": model.source, "checksum": model.header.get("checksum"), "recipe": model.recipe.name},
        "provenance": provenance(model.device, model.deterministic) | {"precision": model.precision},
        "network_grid": repr(pair.grid),
        "reads_fixed_labels": work.structure is not None,
        "structures": list(model.structures) if work.alignment.fixed_segmentation is not None else [],
        "label_names": dict(enumerate(model.structures, 1)) if work.alignment.fixed_segmentation is not None else {},
        "rigid": None,
        "seconds": {name: round(s, 3) for name, s in watch.seconds.items()} | {"total": round(watch.total, 3)},
        "peak_memory_mb": round(peak_memory_mb()),
        "covered_percent": round(100 * measures.covered, 2),
        "folds_percent": last["folds"],
        "log_jacobian_sd": last["log_jacobian_sd"],
        "inverse_error_mm": {"mean": measures.inverse_error[0], "max": measures.inverse_error[1]},
        "dice": _dice(measures, truth),
        "warnings": _warnings(y, x, work, measures),
    }
    if pair.rigid is not None:
        found = pair.rigid
        result["rigid"] = {"matrix_lps_mm": pair.transform.matrix.tolist(), "accepted": found.accepted,
                           "mutual_information": {"before": found.before, "after": found.metric}}  # fmt: skip
    if truth.fixed_landmarks is not None:
        result["tre_mm"] = {name: values["tre"] for name, values in measures.states.items()}
    if truth.known:
        result["measures"] = measures.states
    data: dict[str, Any] = plain(result)
    return data


def _dice(measures: Measures, truth: Truth) -> dict[str, Any]:
    def table(states: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
        return {s: {k[5:]: v for k, v in values.items() if k.startswith("dice/")} for s, values in states.items()}

    out: dict[str, Any] = {}
    if measures.segmentations:
        out["segmentations"] = table(measures.segmentations)
    if truth.fixed_labels is not None:
        out["labels"] = table(measures.states)
    return out


def _warnings(y: Volume, x: Volume, work: Working, measures: Measures) -> list[str]:
    """What should make a reader careful, in plain language."""
    from jssr.evaluate.metrics import plain_warnings

    pair = work.pair
    out = list(pair.warnings)
    shown = measures.states if any("dice" in k for k in list(measures.states.values())[-1]) else measures.segmentations
    first, last = list(measures.states.values())[0], list(measures.states.values())[-1]
    before, after = dict(first), dict(last)
    if shown:
        before |= list(shown.values())[0]
        after |= list(shown.values())[-1]
    rigid = (shown or {}).get("rigid", {})
    out += plain_warnings(after, before, measures.covered, rigid)
    made = work.alignment.synthesised
    if made is not None and not work.alignment.registered:
        ratio = copy_ratio(made, pair.moving, pair.fixed, pair.moving_mask * pair.fixed_mask)
        if ratio < COPIES_BELOW:
            out.append(
                "The generator copied the fixed image: what is synthesised is not the moving scan, and the alignment "
                "had nothing to go by."
            )
    shift = float(np.linalg.norm(pair.transform(y.grid.centre) - pair.start(y.grid.centre)))
    if shift > 50:
        out.append(f"The rigid pre-alignment moved the scan by {shift:.0f} mm. Check that the headers are right.")
    if y.grid.ndim == 2 and (unknown_spacing(y.grid) or unknown_spacing(x.grid)):
        out.append(
            "An image without a spacing: its millimetres are its pixels, and the longer sides of the two were taken to "
            "show as much of the patient."
        )
    for volume in (y, x) if y.grid.ndim == 3 else ():
        if modality_of(volume) != "ct":
            low, high = float(volume.data.min()), float(volume.data.max())
            out.append(
                f"{Path(volume.name).name}: intensities from {low:.4g} to {high:.4g} do not look like Hounsfield "
                "units; it was scaled by its own brightness, as MR is."
            )
    if measures.inverse_error[1] > float(y.grid.spacing.max()):
        out.append(f"The inverse is off by up to {measures.inverse_error[1]:.1f} mm, as a rule where the field folds.")
    return list(dict.fromkeys(out))


def _moved_dtype(moving: Volume) -> np.dtype[Any]:
    """The moving file's own integer type, where rounding to it is below a thousandth of the range; else float32."""
    spread = float(moving.data.max()) - float(moving.data.min())
    try:
        stored = stored_dtype(moving.name) if Path(moving.name).is_file() else np.dtype("float32")
    except Exception:  # a name that is no file after all
        stored = np.dtype("float32")
    return stored if np.issubdtype(stored, np.integer) and spread > 1000 else np.dtype("float32")
