"""How much training changes scans: the numbers of augmentation, and of deformations that pairs are made by."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Augment(BaseModel):
    """How much to change. Each `p_*` is a probability; intensities are in units of the normalised range -1..1,
    lengths in voxels, angles in degrees."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    p_affine: float = Field(0.8, ge=0, le=1, description="joint rotation, scale and shift of a pair")
    rotation: float = Field(8.0, ge=0, le=180, description="largest rotation about each axis, degrees")
    scale: tuple[float, float] = Field((0.85, 1.15), description="zoom, least and most")
    shift: float = Field(6.0, ge=0, description="largest shift along each axis, voxels")
    flip: bool = Field(False, description="also mirror left and right; organs then change sides")
    p_elastic: float = Field(0.3, ge=0, le=1, description="joint smooth deformation")
    elastic: float = Field(3.0, ge=0, description="its standard deviation, voxels, at control points")
    elastic_spacing: float = Field(24.0, gt=0, description="distance of its control points, voxels")
    p_moving: float = Field(0.3, ge=0, le=1, description="a rigid motion of the moving scan alone")
    moving_rotation: float = Field(2.5, ge=0, le=180)
    moving_shift: float = Field(2.0, ge=0)
    p_moving_elastic: float = Field(0.0, ge=0, le=1, description="a smooth deformation of the moving scan alone")
    p_intensity: float = Field(0.7, ge=0, le=1, description="contrast, brightness and gamma, each scan by itself")
    contrast: float = Field(0.12, ge=0, lt=1)
    brightness: float = Field(0.08, ge=0)
    gamma: float = Field(0.2, ge=0, description="largest |log| of the exponent")
    p_remap: float = Field(0.0, ge=0, le=1, description="bend the grey scale of pairs")
    p_remap_supervised: float = Field(0.6, ge=0, le=1, description="bend the grey scale of supervised scans")
    remap: float = Field(0.5, ge=0, le=1, description="how far: 0 not at all, 1 any monotone curve")
    p_noise: float = Field(0.5, ge=0, le=1)
    noise: float = Field(0.10, ge=0, description="largest standard deviation of white noise")
    p_correlated: float = Field(0.3, ge=0, le=1)
    correlated: float = Field(0.08, ge=0, description="largest standard deviation of noise over several voxels")
    grain: tuple[float, float] = Field((2.0, 5.0), description="of that noise, voxels, least and most")
    p_blur: float = Field(0.15, ge=0, le=1)
    blur: float = Field(0.9, ge=0, description="largest sigma in the plane, voxels")
    p_slices: float = Field(0.2, ge=0, le=1, description="thick slices along the last axis")
    slices: float = Field(2.5, ge=1, description="how many voxels thick at most")
    p_cut: float = Field(0.25, ge=0, le=1, description="shorten the field of view along the last axis")
    cut: float = Field(0.25, ge=0, lt=0.5, description="largest part taken off either end")


class Deform(BaseModel):
    """How far. Lengths are pixels of an image of `pixels` along its side, and scale with the image; the paper does not
    state the size of its images, for which its numbers are taken to hold at 256.

    Magnitudes are drawn from least to most, their signs at random.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    pixels: int = Field(256, gt=0)
    shift: tuple[float, float] = Field((25.0, 40.0), description="along one axis, towards either end")
    rotation: tuple[float, float] = Field((20.0, 180.0), description="degrees")
    rotation_step: float = Field(5.0, gt=0, description="degrees between the rotations that are drawn")
    bend: tuple[float, float] = Field((1.0, 15.0), description="of the control points of a cubic B-spline, each axis")
    control_points: float = Field(64.0, gt=0, description="distance of the control points")
    most_dice: float = Field(0.7, gt=0, le=1, description="overlap of the masks that a deformation must leave below")
    p_mild: float = Field(0.0, ge=0, le=1, description="share of pairs deformed as two visits differ, at any overlap")
    mild_bend: tuple[float, float] = Field((1.0, 15.0), description="`bend` of mild pairs")
    mild_shift: tuple[float, float] = Field((0.0, 12.0), description="along either axis")
    mild_rotation: tuple[float, float] = Field((0.0, 10.0))
    mild_zoom: float = Field(0.0, ge=0, description="largest |log| of the magnification of mild pairs")
    p_same: float = Field(0.0, ge=0, le=1, description="share of pairs that are one image twice")
