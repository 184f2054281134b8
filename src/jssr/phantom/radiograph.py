"""A chest radiograph of the phantom: rays from a point through the patient onto a detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from jssr.core import field as ff
from jssr.core.volume import Points
from jssr.phantom.regions import Tissue
from jssr.phantom.thorax import Thorax

__all__ = ["THORAX_LABELS", "Exposure", "Pose", "Radiograph", "draw_exposure", "draw_pose", "expose", "values_of"]

T = Tissue
THORAX_LABELS = {"lung_right": 1, "lung_left": 2, "heart": 3}
WATER = 0.0195
"""Attenuation per mm at about 70 keV."""
_SIDE, _HIGH = 380.0, 12.0
"""mm: side of the square detector, and how far its middle is above the reference height."""
_DISTANCE = 1800.0
"""mm from the focus to the detector, which stands at the patient's chest: posterior to anterior."""
_LUNG, _HEART, _BELLY = (T.LUNG, T.LUNG_VESSEL), (T.HEART_BLOOD, T.AORTA), (T.LIVER, T.SPLEEN)
_SEEN_MM = {"lung": 32.0, "heart": 22.0, "belly": 26.0}
"""Path through the lungs that shows as lung, and through heart and belly that hides it, as readers outline lungs."""
_STEP_MM = 3.0


@dataclass(frozen=True)
class Pose:
    """How the patient stands: turned about the long axis and leaning (degrees), moved (mm), tube over the middle."""

    turn: float
    lean: float
    tilt: float
    shift: tuple[float, float, float]


@dataclass(frozen=True)
class Exposure:
    """How the picture is made: shares of scattered rays, noise, blur in pixels, and the curve from dose to grey."""

    photons: float
    scatter: float
    blur: float
    gamma: float
    window: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Radiograph:
    """Pixels (columns, rows): `image` 0..4095, bright where little passed; `labels` of THORAX_LABELS; landmarks in
    pixels (column, row)."""

    image: NDArray[np.uint16]
    labels: NDArray[np.uint8]
    landmarks: Points


def draw_pose(rng: np.random.Generator) -> Pose:
    """As the same patient stands on another day."""
    turn, lean, tilt = rng.normal(0, [3.0, 2.5, 2.5]).clip(-7, 7)
    x, z = rng.normal(0, [9, 11]).clip(-22, 22)
    return Pose(float(turn), float(lean), float(tilt), (float(x), float(rng.uniform(0, 30)), float(z)))


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """Machines and days differ."""
    low, high = float(rng.uniform(0.5, 3.0)), float(rng.uniform(97.0, 99.8))
    return Exposure(
        photons=float(np.exp(rng.uniform(np.log(3e3), np.log(3e4)))),
        scatter=float(rng.uniform(0.02, 0.25)),
        blur=float(rng.uniform(0.3, 0.8)),
        gamma=float(np.exp(rng.uniform(-0.3, 0.3))),
        window=(low, high),
    )


def values_of(hounsfield: NDArray[np.float32]) -> NDArray[np.float32]:
    """Attenuation per mm of each tissue code; bone attenuates more at these energies than its HU says."""
    hu = hounsfield.clip(-1000, None)
    hu[T.LUNG_VESSEL] = hu[T.HEART_BLOOD]  # in CT a voxel of a thin vessel is mostly lung
    return np.asarray(WATER * (1 + hu / 1000) * (1 + 1.6 * np.clip(hu - 100, 0, 400) / 400), dtype=np.float32)


def expose(
    thorax: Thorax, values: NDArray[np.float32], pose: Pose, how: Exposure, pixels: int, rng: np.random.Generator
) -> Radiograph:
    """Take a picture.

    Args:
        thorax: the patient.
        values: (256,) attenuation per mm of each tissue.
        pose, how: of `draw_pose`, `draw_exposure`.
        pixels: along each side of the detector.
        rng: of the noise.
    """
    codes = torch.from_numpy(thorax.tissue.astype(np.int64))
    tables = [values, *(np.isin(np.arange(256), [int(t) for t in part]) for part in (_LUNG, _HEART, _BELLY))]
    channels = torch.stack([torch.from_numpy(np.asarray(t, dtype=np.float32))[codes] for t in tables])[None]
    total = [_along_rays(channels, thorax, pose, pixels, part) for part in _slabs(pixels)]
    line, *paths = torch.cat(total, dim=1).numpy()
    lung, heart, belly = (p > s for p, s in zip(paths, _SEEN_MM.values(), strict=True))
    marks = _positions(thorax, pose, pixels)
    right = np.arange(pixels)[:, None] < marks["vertebra_6"][0]
    seen = lung & ~heart & ~belly
    labels = np.where(seen, np.where(right, 1, 2), np.where(heart & ~belly, 3, 0))
    points = Points(np.array(list(marks.values())), tuple(marks))
    return Radiograph(_picture(line, how, rng), labels.astype(np.uint8), points)


def _slabs(pixels: int) -> list[slice]:
    """Columns of the detector, some at a time: the points on their rays fit into memory."""
    return [slice(first, first + 32) for first in range(0, pixels, 32)]


def _rotation(pose: Pose) -> NDArray[np.float64]:
    """Of the standing patient, LPS."""
    out = np.eye(3)
    for (a, b), angle in (((0, 1), pose.turn), ((1, 2), pose.lean), ((0, 2), pose.tilt)):
        c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        turn = np.eye(3)
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
        out = out @ turn
    return out


def _along_rays(channels: torch.Tensor, thorax: Thorax, pose: Pose, pixels: int, columns: slice) -> torch.Tensor:
    """Integrals (C, columns, rows) over mm along the rays."""
    detector = -160.0
    depths = torch.arange(-150.0, 165.0, _STEP_MM)
    wide = _SIDE / pixels
    u = (torch.arange(pixels)[columns] - (pixels - 1) / 2) * wide
    v = _HIGH - (torch.arange(pixels) - (pixels - 1) / 2) * wide
    near = (_DISTANCE + detector - depths) / _DISTANCE  # how much of the detector's scale is left at a depth
    x = u[:, None, None] * near
    z = v[None, :, None] * near
    at = torch.stack(torch.broadcast_tensors(x, depths.expand(1, 1, -1), z), dim=-1)
    moved = (at - torch.tensor(pose.shift)) @ torch.from_numpy(_rotation(pose)).float()
    index = (moved - torch.from_numpy(thorax.grid.origin).float()) / float(thorax.grid.spacing[0])
    read = ff.sample(channels, index.movedim(-1, 0)[None], padding="zeros")
    return read[0].sum(dim=-1) * _STEP_MM


def _positions(thorax: Thorax, pose: Pose, pixels: int) -> dict[str, NDArray[np.float64]]:
    """Where landmarks fall on the detector, in pixels (column, row)."""
    detector = -160.0
    stand = thorax.landmarks.xyz @ _rotation(pose).T + np.array(pose.shift)
    scale = _DISTANCE / (_DISTANCE + detector - stand[:, 1])
    wide = _SIDE / pixels
    column = stand[:, 0] * scale / wide + (pixels - 1) / 2
    row = (_HIGH - stand[:, 2] * scale) / wide + (pixels - 1) / 2
    return dict(zip(thorax.landmarks.names, np.stack([column, row], axis=1), strict=True))


def _picture(line: NDArray[np.float32], how: Exposure, rng: np.random.Generator) -> NDArray[np.uint16]:
    """From attenuation to grey: scatter, quanta, the detector's blur, logarithm, window and curve."""
    passed = np.exp(-line)
    passed = passed + how.scatter * gaussian_filter(passed, line.shape[0] / 8, mode="nearest")
    quanta = rng.normal(passed, np.sqrt(passed / how.photons))
    dose = gaussian_filter(np.maximum(quanta, 1e-5), how.blur)
    dark = -np.log(dose)
    low, high = np.percentile(dark, how.window)
    share = ((dark - low) / max(high - low, 1e-6)).clip(0, 1) ** how.gamma
    return np.asarray(np.rint(share * 4095), dtype=np.uint16)
