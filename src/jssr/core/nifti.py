"""Where a NIfTI image lies: one rule for its two transforms, its spacing and its units.

| codes | what is taken |
| --- | --- |
| sform above 0 | the sform, whatever the qform's code: nibabel's `get_best_affine` and FSL do so |
| sform 0, qform above 0 | the qform |
| both 0 | the spacing alone, axes along the world's, voxel 0 at the origin (as ITK; nibabel centres the grid) |

ITK has another rule: it prefers the transform whose code is 1 (scanner), and of a sheared sform it takes the qform.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jssr.core.nifti_header import NiftiHeader, qform_of, sform_of
from jssr.errors import ImageError

Matrix = NDArray[np.float64]
APART = 0.05
"""Of the smallest voxel: nearer than this at every corner two transforms are one; qforms are float32 quaternions."""
SHEARED = 1e-3
"""Cosine between two axes, as `Grid` has it."""
_SPACINGS = 0.01
"""By so much of itself a spacing may differ from the length of the sform's column."""
_UNITS = {0: ("", 1.0), 1: ("metres", 1000.0), 2: ("", 1.0), 3: ("micrometres", 0.001)}
_PLAUSIBLE = 0.005, 50.0
"""mm, of a voxel of a header that counts in other units: beyond, the unit is wrong."""


def place_of(header: NiftiHeader, name: str, tilted: bool = False) -> tuple[Matrix, tuple[str, ...]]:
    """The affine of a NIfTI header, (4, 4), voxel index to LPS millimetres, and warnings in words.

    Args:
        header: of NIfTI-1 or NIfTI-2; what it lacks of three axes counts as one voxel.
        name: of the file.
        tilted: give a sheared sform as it is, if two of its axes are perpendicular, as of a tilted gantry.

    Raises:
        ImageError: a sheared, singular or damaged transform, or a unit that cannot be.
    """
    codes = int(header["sform_code"]), int(header["qform_code"])
    spacing = np.abs(_three(header["pixdim"][1:4], int(header["dim"][0])))
    sform = sform_of(header) if codes[0] > 0 else None
    qform = _qform(header, name, needed=sform is None) if codes[1] > 0 else None
    warnings: list[str] = []
    upright = True
    if sform is not None:
        upright = _check(sform, qform, header, name, tilted)
        warnings += _differences(sform, qform, spacing, header, name)
        affine = sform
    elif qform is not None:
        affine = qform
    else:
        affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
        warnings.append(
            f"{name}: its NIfTI header has no place (the codes of sform and qform are 0): only its spacing counts, and "
            "directions and sides of the patient are a guess."
        )
    scale, told = _scale(header, affine, name)
    affine = np.diag([-scale, -scale, scale, 1.0]) @ affine
    return _perpendicular(affine) if upright else affine, (*warnings, *told)


def _three(values: NDArray[np.generic], axes: int) -> Matrix:
    """Spacings of three axes: of those that are missing 1."""
    out = np.ones(3)
    count = min(3, axes)
    out[:count] = values[:count]
    return out


def _qform(header: NiftiHeader, name: str, needed: bool) -> Matrix | None:
    try:
        found = qform_of(header)
    except ValueError as error:  # a quaternion longer than 1, a sign or a spacing that is none
        if needed:
            raise ImageError(f"{name}: its qform is damaged ({error}): correct the header or export again") from None
        return None
    if needed and not np.isfinite(found).all():
        raise ImageError(f"{name}: its qform holds NaN or infinity: correct the header or export again")
    return found if np.isfinite(found).all() else None


def _check(sform: Matrix, qform: Matrix | None, header: NiftiHeader, name: str, tilted: bool) -> bool:
    """Whether the axes of an sform are perpendicular. Refuse one that no grid can have, nor slices of a `tilted`
    gantry."""
    steps = np.linalg.norm(sform[:3, :3], axis=0)
    if not np.isfinite(sform).all() or (steps <= 0).any() or abs(np.linalg.det(sform[:3, :3] / steps)) < 1e-6:
        raise ImageError(
            f"{name}: its sform (code {int(header['sform_code'])}) is no transform of a volume: correct it, or set its "
            "code to 0 where the qform is right"
        )
    axes = sform[:3, :3] / steps
    cosines = np.abs(axes.T @ axes - np.eye(3))
    cosine = float(cosines.max())
    if tilted and cosine > SHEARED and cosines[np.triu_indices(3, 1)].min() <= SHEARED:
        return False
    if cosine > SHEARED:
        beside = ""
        if qform is not None:
            beside = f"; the qform is upright and lies up to {_apart(sform, qform, header):.1f} mm from it"
        raise ImageError(
            f"{name}: its axes are not perpendicular: the sform (code {int(header['sform_code'])}) is sheared "
            f"by {np.degrees(np.arcsin(min(1.0, cosine))):.1f} degrees, as of a tilted gantry{beside}. Resample it "
            "upright first (dcm2niix does, in its _Tilt files), or set the sform's code to 0 where it is no place "
            "of the patient"
        )
    return True


def _differences(sform: Matrix, qform: Matrix | None, spacing: Matrix, header: NiftiHeader, name: str) -> list[str]:
    """Words on how the sform contradicts what else the header has."""
    steps = np.linalg.norm(sform[:3, :3], axis=0)
    if qform is not None and (apart := _apart(sform, qform, header)) > APART * float(steps.min()):
        return [
            f"{name}: its sform (code {int(header['sform_code'])}) and its qform (code {int(header['qform_code'])}) "
            f"put it in two places, up to {apart:.3g} mm apart; the sform is taken."
        ]
    if qform is None and (np.abs(steps - spacing) > _SPACINGS * steps).any():
        return [
            f"{name}: the spacing in its header ({_times(spacing)} mm) is not that of its sform ({_times(steps)} mm); "
            "the sform is taken."
        ]
    return []


def _apart(one: Matrix, other: Matrix, header: NiftiHeader) -> float:
    """How far apart two affines put the corners of a grid, at most, in mm."""
    last = _three(header["dim"][1:4], int(header["dim"][0])) - 1
    corners = np.array([[*corner, 1.0] for corner in np.ndindex(2, 2, 2)]) * [*last, 1.0]
    scale = _UNITS.get(int(header["xyzt_units"]) & 7, ("", 1.0))[1]
    return scale * float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max())


def _scale(header: NiftiHeader, affine: Matrix, name: str) -> tuple[float, list[str]]:
    """Millimetres in the header's unit, and words where it is another one."""
    code = int(header["xyzt_units"]) & 7
    if code not in _UNITS:
        return 1.0, [f"{name}: the unit of its spacing (code {code}) is none of NIfTI's; millimetres are taken."]
    unit, scale = _UNITS[code]
    if scale == 1.0:
        return scale, []
    voxel = np.linalg.norm(affine[:3, :3], axis=0) * scale
    if voxel.min() < _PLAUSIBLE[0] or voxel.max() > _PLAUSIBLE[1]:
        raise ImageError(
            f"{name}: its header counts in {unit}, so that a voxel measures {_times(voxel)} mm: correct xyzt_units "
            "(2 is mm)"
        )
    return scale, [f"{name}: its header counts in {unit}: a voxel is taken as {_times(voxel)} mm."]


def _perpendicular(affine: Matrix) -> Matrix:
    """With exactly perpendicular axes, the nearest ones: float32 and other programs leave them almost so."""
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / steps
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-9:
        u, _, v = np.linalg.svd(axes)
        affine = affine.copy()
        affine[:3, :3] = (u @ v) * steps
    return affine


def _times(values: Matrix) -> str:
    return " x ".join(f"{value:.3g}" for value in values)
