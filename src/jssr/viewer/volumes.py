"""The volumes that the viewer shows of one registration, all on the fixed grid, as bytes for the browser."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jssr.core.grid import Grid
from jssr.core.resampling import resample
from jssr.core.transform import Displacement
from jssr.core.volume import Volume, volume_of
from jssr.errors import JssrError
from jssr.io.images import write_image
from jssr.preprocessing.modality import modality_of
from jssr.registration.reload import result_of, view_of
from jssr.report.html import key_figures
from jssr.report.planes import jacobian_volumes, window_of
from jssr.report.view import AlignmentView

_CHANGE = (-0.7, 0.7)
"""Logarithm of the change of volume that the colours reach: half and double."""
_KEPT = 8
"""Volumes kept as bytes: a CT of 512 x 512 x 100 is 50 MB."""


def phases_of(folder: Path) -> list[str]:
    """The moving scans of a result: phases of a study, or one without a name."""
    return list(result_of(folder).get("phases", ())) or [""]


class Scans:
    """One registration as the viewer shows it: what `register` wrote, or a phase's folder of what `align` wrote."""

    def __init__(self, folder: Path, phase: str = "") -> None:
        reference_phase = str(result_of(folder.parent)["reference_phase"]) if phase else ""
        self.view: AlignmentView = view_of(folder, phase, reference_phase)
        self.result = result_of(folder)
        if self.view.fixed.grid.ndim != 3:
            raise JssrError(f"{folder}: a result of 2D images; the viewer shows volumes, report.html shows these")
        view = self.view
        self._made: OrderedDict[str, bytes] = OrderedDict()
        images = {"fixed": view.fixed, "moved": view.moved, "synthesised": view.synthesised}
        self._images = {name: image for name, image in images.items() if image is not None}
        labels = {"fixed": view.fixed_seg, "moved": view.moved_seg}
        self._labels = {name: volume for name, volume in labels.items() if volume is not None}
        field = self.view.displacement
        self._reach = None if field is None else round(float(np.linalg.norm(field.millimetres(), axis=-1).max()), 1)

    @property
    def grid(self) -> Grid:
        return self.view.fixed.grid

    def describe(self) -> dict[str, Any]:
        """Everything but the voxels, as plain data."""
        moving = self.view.moving_before
        images = {name: self._display(volume) for name, volume in self._images.items()}
        images["before"] = self._display(moving)
        return {
            "name": self.view.name,
            "fixed": Path(self.view.fixed.name).name,
            "shape": list(self.grid.shape),
            "spacing": [round(float(s), 4) for s in self.grid.spacing],
            "affine_lps": self.grid.affine.tolist(),
            "images": images,
            "labels": {name: self._names() for name in self._labels},
            "maps": {} if self._reach is None else {"displacement": [0, self._reach], "jacobian": list(_CHANGE)},
            "figures": key_figures(self.view),
            "warnings": list(self.view.warnings),
        }

    def bytes_of(self, name: str) -> bytes:
        """A volume for the browser: `fixed.raw`, `before.raw`, `moved.raw`, `synthesised.raw` (int16, x fastest),
        `canvas.nii` (nothing, on the fixed grid), `fixed_labels.nii`, `moved_labels.nii`, `displacement.nii` (mm)
        and `jacobian.nii` (its logarithm); a KeyError for any other."""
        if name not in self._made:
            stem, _, kind = name.rpartition(".")
            self._made[name] = self._make(stem, kind)
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        self._made.move_to_end(name)
        return self._made[name]

    def _make(self, stem: str, kind: str) -> bytes:
        moving, field = self.view.moving_before, self.view.displacement
        if kind == "raw" and stem == "before":
            return _raw(resample(moving, self.grid, fill=float(moving.data.min())), *_scale(moving))
        if kind == "raw" and stem in self._images:
            return _raw(self._images[stem], *_scale(self._images[stem]))
        if kind == "nii" and stem == "canvas":
            return _nifti(volume_of(np.zeros(self.grid.shape, np.uint8), self.grid, "labels"))
        if kind == "nii" and stem.endswith("_labels") and stem[:-7] in self._labels:
            return _nifti(self._labels[stem[:-7]])
        if kind == "nii" and field is not None and stem == "displacement":
            return _nifti(volume_of(np.linalg.norm(field.millimetres(), axis=-1).astype(np.float32), self.grid))
        if kind == "nii" and field is not None and stem == "jacobian":
            return _nifti(_change(field))
        raise KeyError(f"{stem}.{kind}")

    def _display(self, volume: Volume) -> dict[str, Any]:
        slope, intercept = _scale(volume)
        low, high = window_of(volume)
        return {"slope": slope, "intercept": intercept, "low": low, "high": high, "ct": modality_of(volume) == "ct"}

    def _names(self) -> dict[str, str]:
        return {str(i): name for i, name in enumerate(self.result.get("structures", ()), start=1)}


def _change(field: Displacement) -> Volume:
    """The log Jacobian, kept within what the colours reach: beyond it the viewer would draw nothing."""
    log_det, folds = jacobian_volumes(field)
    low, high = (0.999 * v for v in _CHANGE)
    return log_det.with_data(torch.where(folds.data > 0, low, log_det.data.clamp(low, high)))


def _scale(volume: Volume) -> tuple[float, float]:
    """Slope and intercept that bring an image into 16 bits: 1 and 0 for whole numbers that fit as they are."""
    low, high = float(volume.data.min()), float(volume.data.max())
    if low >= -32768 and high <= 32767 and high - low > 1000:
        return 1.0, 0.0
    return max(high - low, 1e-12) / 65000.0, (low + high) / 2


def _raw(volume: Volume, slope: float, intercept: float) -> bytes:
    values = (volume.data[0] - intercept) / slope
    return values.round().clamp(-32768, 32767).to(torch.int16).numpy().astype("<i2").tobytes(order="F")


def _nifti(volume: Volume) -> bytes:
    if volume.data.dtype == torch.bool:
        volume = volume.with_data(volume.data.to(torch.uint8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.nii"
        write_image(volume, path)
        return path.read_bytes()
