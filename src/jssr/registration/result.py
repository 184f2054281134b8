"""The result of a registration: as objects and as files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from jssr.core.grid import Grid
from jssr.core.late import is_computed, late_tensor
from jssr.core.resampling import resample
from jssr.core.transform import Displacement, Transform
from jssr.core.volume import Volume
from jssr.io.files import output_folder, write_json
from jssr.io.images import stored_dtype, write_image
from jssr.io.provenance import Stopwatch, give_back, peak_memory_mib
from jssr.io.transforms import write_displacement
from jssr.preprocessing.start2d import from_start, placed
from jssr.registration.full_size import Working, fullsize
from jssr.registration.options import Known
from jssr.registration.outputs import OUTPUTS
from jssr.registration.schema import check_result
from jssr.registration.verdict import Verdict, verdict_of

if TYPE_CHECKING:
    from jssr.io.dicom.headers import Sources
    from jssr.report.html import AlignmentView

SHOWN = 1 << 24
"""Voxels of the largest grid on which a report shows a result that is computed in parts."""


@dataclass(frozen=True)
class Saving:
    """How a result is written, where that is not as usual.

    Attributes:
        dicom: the headers of the two series (`jssr.registration.dicom.sources_of`), for `jssr_dicom/`.
        name: of the moving scan, for what DICOM describes; its own by default.
        keep: also the two scans, as `kept_fixed.nii.gz` and `kept_moving.nii.gz`, and nothing of where they were.
        home: where the folder will be in the end, if that is elsewhere.
    """

    dicom: Sources | None = None
    name: str = ""
    keep: bool = False
    home: Path | None = None


@late_tensor("covered")
@dataclass(frozen=True, eq=False, repr=False)
class Registration:
    """A moving scan aligned to a fixed one.

    Attributes:
        fixed, moving: the scans as given.
        moved: the moving image on the fixed grid, in its own intensities; its minimum where it has no data.
        displacement: the full transform (rigid step included) on the fixed grid, fixed to moving space.
        inverse: its inverse on the moving grid.
        covered: (1, *fixed shape) bool, where the moving scan has data.
        synthesised: the moving scan, aligned, in the fixed scan's appearance, on the fixed grid; None where not made.
        fixed_segmentation, moved_segmentation: label maps on the fixed grid; None where not made.
        result: what `result.json` holds (`jssr.registration.schema.ResultModel`).
        states: numbers of each state ("initial", "rigid", "network", "refined") from known labels and landmarks.
        work: what was found on the working grid.
        known: the labels and landmarks that were given.
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
    known: Known = field(default_factory=Known)

    def __repr__(self) -> str:
        verdict = self.verdict
        told = "" if verdict is None else f": {verdict.line}"
        return f"<{type(self).__name__} of {self.moving.name} to {self.fixed.name}{told}>"

    @property
    def verdict(self) -> Verdict | None:
        """Whether it can be relied on: PASS, CHECK or FAIL, with reasons and the expected error in mm."""
        return verdict_of(self.result)

    @property
    def expected_error(self) -> Volume | None:
        """A map of the expected error, mm, on a coarse grid; 0 where nothing could be judged."""
        evidence = self.work.evidence
        return (
            None
            if evidence is None
            else Volume(evidence.expected.nan_to_num(), evidence.grid, "image", "expected error")
        )

    def save(self, out: str | os.PathLike[str], report: bool = True, how: Saving | None = None) -> Path:
        """Write the files of a result (docs/reference/result.md) into a folder: all of them or none.

        Files of an earlier result that this one does not make are removed.

        Args:
            out: the folder.
            report: also `report.html`.
            how: what else is wanted.

        Raises:
            OutputError: the folder cannot be written, or the disk is full; what was there stays.
            JssrError: `result` was changed, and is none any more.
        """
        how, watch = how or Saving(), Stopwatch()
        give_back()
        check_result(self.result, self.moving.name)
        with output_folder(out, OUTPUTS) as folder:
            # One file after the other, beside the report: each takes several times its memory.
            with watch.stage("write"), ThreadPoolExecutor(1) as pool:
                jobs = [pool.submit(job) for job in self._jobs(folder, how.keep)]
                if report:
                    self._report(folder / "report.html")
                if how.dicom is not None:
                    from jssr.registration.dicom import write_dicom

                    segmented = self.fixed_segmentation, self.moved_segmentation
                    name = how.name or Path(self.moving.name).name
                    found = self.result, self.moved, self.displacement, segmented
                    write_dicom(*found, how.dicom, folder / "jssr_dicom", name)
                for job in jobs:
                    job.result()
            seconds = {k: v for k, v in self.result["time_s"].items() if k != "total"}
            seconds |= {k: round(v, 3) for k, v in watch.seconds.items()}
            result = {
                **self.result,
                "time_s": seconds | {"total": round(sum(seconds.values()), 3)},
                "peak_memory_mib": round(peak_memory_mib()),
            }
            scans = {} if how.keep else {"fixed": self.fixed, "moving": self.moving}
            labels = {} if how.keep else {"fixed": self.known.fixed_labels, "moving": self.known.moving_labels}
            write_json(located(result, scans, how.home or Path(out), labels), folder / "result.json")
        return Path(out)

    def view(self, name: str = "", fixed_name: str = "") -> AlignmentView:
        """What the report shows of it, under these names for the scans."""
        segmented = self.fixed_segmentation, self.moved_segmentation
        known = self.known.fixed_labels, self.known.moving_labels
        fixed, fields = self.fixed, (self.displacement, self.moved, self.synthesised)
        if is_computed(self.displacement, "u"):
            fixed, fields = self._coarse()
        return view_of_result(self.result, fixed, self.moving, fields, known, segmented, name, fixed_name)

    def _coarse(self) -> tuple[Volume, tuple[Displacement, Volume, Volume | None]]:
        """What `view` shows of a scan that is too large for all of it to be held: every second voxel, or fewer."""
        step = math.ceil((self.fixed.grid.voxels / SHOWN) ** (1 / self.fixed.grid.ndim))
        every = (slice(None), *[slice(None, None, step)] * self.fixed.grid.ndim)
        data = self.fixed.data[every].contiguous()
        grid = Grid(tuple(data.shape[1:]), self.fixed.grid.affine @ np.diag([*[step] * self.fixed.grid.ndim, 1]))
        work = self.work
        made = fullsize(work.final, grid, self.moving, work.pair.grid, work.alignment, work.pair.fixed_limits)
        synthesised = None if made.synthesised is None else Volume(made.synthesised, grid)
        return self.fixed.with_data(data, grid), (
            made.displacement,
            self.moving.with_data(made.moved, grid),
            synthesised,
        )

    def _jobs(self, folder: Path, keep: bool) -> list[Callable[[], None]]:
        fields = {"displacement": self.displacement, "inverse": self.inverse}
        volumes = {
            "synthesised": self.synthesised,
            "fixed_segmentation": self.fixed_segmentation,
            "moved_segmentation": self.moved_segmentation,
            "expected_error": self.expected_error,
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
        from jssr.report.html import write_report

        title = f"{self.result['moving']['title']} aligned to {self.result['fixed']['title']}"
        shown = {k: v for k, v in self.result.items() if k not in ("dice", "warnings")}
        write_report(path, title=title, rows=[self.view()], provenance=shown)


def located(
    result: Mapping[str, Any],
    scans: Mapping[str, Volume],
    folder: Path,
    labels: Mapping[str, Volume | None] | None = None,
) -> dict[str, Any]:
    """A result with the relative paths from its folder to the scans ("fixed", "moving") and to their label maps: they
    hold wherever both are moved to."""
    out = dict(result)
    for what, volumes in (("path", scans), ("labels_path", labels or {})):
        for key, volume in volumes.items():
            path = None if volume is None else Path(volume.name)
            if path is not None and (path.exists() or path.parent.is_dir() and str(path.parent) != "."):
                out[key] = {**out[key], what: os.path.relpath(path, folder)}
    return out


def view_of_result(
    result: Mapping[str, Any],
    fixed: Volume,
    moving: Volume,
    made: tuple[Transform, Volume, Volume | None],
    known: tuple[Volume | None, Volume | None],
    segmented: tuple[Volume | None, Volume | None],
    name: str = "",
    fixed_name: str = "",
) -> AlignmentView:
    """What the report shows of a registration.

    Args:
        result: what its `result.json` holds.
        made: the transform, the moved and the synthesised scan.
        known: label maps of both scans that were given: what the numbers are of.
        segmented: label maps of the system, fixed and moved.
        name, fixed_name: for the scans; their titles by default.
    """
    from jssr.report.html import AlignmentView

    displacement, moved, synthesised = made
    field = displacement if isinstance(displacement, Displacement) else None
    fixed_seg, moved_seg, moving_seg = *segmented, None
    if known[0] is not None and known[1] is not None and field is not None:
        fixed_seg, moving_seg = known[0], placed(known[1], fixed.grid)
        moved_seg = resample(known[1], fixed.grid, field)
    before, rigid, after = _numbers(result)
    return AlignmentView(
        replace(fixed, name=fixed_name or result["fixed"].get("title", Path(fixed.name).name)),
        placed(moving, fixed.grid), moved, synthesised, fixed_seg, moved_seg, moving_seg,
        displacement=None if field is None else from_start(field, fixed.grid, moving.grid),
        metrics=after, metrics_before=before, metrics_rigid=rigid, warnings=result["warnings"],
        name=name or result["moving"].get("title", Path(moving.name).name), covered=result["covered_percent"] / 100,
        verdict=None if (told := verdict_of(result)) is None else (told.name, told.line),
        volumes=result.get("volumes") or {}, scans={key: result[key] for key in ("fixed", "moving")},
        own="labels" not in result["dice"] and "segmentations" in result["dice"],
    )  # fmt: skip


def _numbers(result: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """The measures of the first state, of the rigid step where a state follows it, and of the last, as the report
    takes them."""
    states: dict[str, dict[str, float | None]] = {
        name: {f"dice/{k}": v for k, v in values.items()}
        for name, values in result["dice"].get("labels", result["dice"].get("segmentations", {})).items()
    }
    for name, values in (result.get("metrics") or {}).items():
        states[name] = {**states.get(name, {}), **values}
    if not states:
        states = {"initial": {}, "network": {}}
    clean = {s: {k: float("nan") if v is None else v for k, v in values.items()} for s, values in states.items()}
    first, last = list(clean)[0], list(clean)[-1]
    before, after = clean[first], clean[last]
    rigid = clean.get("rigid", {}) if last != "rigid" else {}
    after |= {"folds": result["folds_percent"], "log_jacobian_sd": result["log_jacobian_sd"]}
    after |= {"seconds": result["time_s"]["total"], "peak_mb": result["peak_memory_mib"]}
    return before, rigid, after


def _moved_dtype(moving: Volume) -> np.dtype[Any]:
    """The moving file's own integer type, where rounding to it is below a thousandth of the range; else float32."""
    spread = float(moving.data.max()) - float(moving.data.min())
    try:
        stored = stored_dtype(moving.name) if Path(moving.name).is_file() else np.dtype("float32")
    except Exception:  # a name that is no file after all
        stored = np.dtype("float32")
    return stored if np.issubdtype(stored, np.integer) and spread > 1000 else np.dtype("float32")
