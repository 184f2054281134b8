"""`jssr warp`: a transform applied to an image, a label map or points."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jssr.cli import options as opt

if TYPE_CHECKING:
    from jssr.core.grid import Grid
    from jssr.core.transform import Transform
    from jssr.core.volume import Volume

__all__ = ["warp"]


class To(StrEnum):
    fixed = "fixed"
    moving = "moving"


class Kind(StrEnum):
    auto = "auto"
    image = "image"
    labels = "labels"


def warp(
    source: Annotated[
        Path, typer.Argument(help="Image, label map or CSV of points (name,x,y,z; LPS mm).", metavar="INPUT")
    ],
    transform: Annotated[
        Path, typer.Option("--transform", help="displacement.nii.gz, deformation.dcm, ITK's .tfm .txt .mat .h5.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write; points need .csv.")],
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Image whose grid the result takes. See above for the default.")
    ] = None,
    to: Annotated[To, typer.Option("--to", help="The space in which the result lies.")] = To.fixed,
    kind: Annotated[
        Kind, typer.Option("--kind", help="Labels keep their numbers; auto: whole numbers from 0, at most 128 of them.")
    ] = Kind.auto,
    verbose: opt.Verbose = False,
) -> None:
    """Apply a transform to an image, a label map or points.

    T takes points of the fixed space to the moving space. `--to` says where the RESULT lies, whatever the input is.

    --to fixed: INPUT belongs to the moving scan. An image is pulled onto the fixed grid (--reference; by default the
    grid of the displacement field); points are carried by the inverse of T.

    --to moving: INPUT belongs to the fixed scan. An image is pulled through the inverse of T onto the moving scan's
    grid (--reference is needed); points are carried by T itself.

    Example: jssr warp arterial_labels.nii.gz --transform aligned/displacement.nii.gz -o moved_labels.nii.gz
    """
    opt.prepare_session(None, verbose)
    from jssr.core.transform import move_points, resample
    from jssr.errors import OutputError, TransformError
    from jssr.io.points import read_points, write_points
    from jssr.io.transforms import read_transform

    points = source.suffix.lower() == ".csv"
    if points != (out.suffix.lower() == ".csv"):
        raise OutputError(f"{out}: {'points are written as .csv' if points else 'an image is written as .nii.gz'}")
    found = read_transform(transform)
    if points:
        write_points(move_points(read_points(source), found, to.value), out)
        opt.console().print(f"points in {to.value} space written to {out}")
        return
    from jssr.io.images import write_image

    volume, kept = _read(source, kind, out.suffix.lower() == ".png")
    if found.ndim != volume.grid.ndim:
        raise TransformError(f"{transform}: is a {found.ndim}D transform, and {source} is {volume.grid.ndim}D")
    grid = _grid(found, reference, to)
    write_image(resample(volume, grid, _pull(found, grid, to)), out, kept)
    opt.console().print(f"{volume.kind} in {to.value} space written to {out}")


def _read(source: Path, kind: Kind, picture: bool) -> tuple[Volume, str | None]:
    """The volume, and the number type to write it in."""
    import numpy as np

    from jssr.io.images import read_image, stored_dtype

    # Whole numbers are read as labels first: an empty label map is none the worse, an image of one value is refused.
    whole = kind is Kind.auto and source.is_file() and np.issubdtype(stored_dtype(source), np.integer)
    image = read_image(source, "labels" if whole or kind is Kind.labels else "image")
    if kind is Kind.auto:
        values = np.unique(image.array)
        counted = values[0] >= 0 and len(values) <= 128 and bool((values == np.rint(values)).all())
        if counted != (image.kind == "labels"):
            image = read_image(source, "labels" if counted else "image")
    if not source.is_file() or image.kind == "labels":
        return image, None
    stored = stored_dtype(source)
    spread = float(image.data.max()) - float(image.data.min())
    return image, str(stored) if np.issubdtype(stored, np.integer) and (spread > 1000 or picture) else "float32"


def _grid(transform: Transform, reference: Path | None, to: To) -> Grid:
    from jssr.core.transform import Chain, Displacement
    from jssr.errors import ImageError, TransformError
    from jssr.io.images import read_grid, read_image

    if reference is not None:
        grid = read_grid(reference) if reference.is_file() else read_image(reference).grid
        if grid.ndim != transform.ndim or min(grid.shape) < 2:
            told = f"{grid.ndim}D, of shape {grid.shape}"
            raise ImageError(f"{reference}: is {told}; a {transform.ndim}D image is due, as the transform is")
        return grid
    first = transform.parts[0] if isinstance(transform, Chain) else transform
    if to is To.fixed and isinstance(first, Displacement):
        return first.grid
    side = "moving" if to is To.moving else "fixed"
    raise TransformError(f"--to {to.value} needs --reference IMAGE here: the {side} scan, whose grid the result takes")


def _pull(transform: Transform, grid: Grid, to: To) -> Transform:
    """What pulls the input onto `grid`: T itself to the fixed space, its inverse to the moving space."""
    from jssr.core.transform import Chain, Displacement

    if to is To.fixed:
        return transform
    if isinstance(transform, Chain):
        # Each part's inverse on its own grid; the last part's must cover the moving grid.
        return transform.inverse()
    return transform.inverse(grid) if isinstance(transform, Displacement) else transform.inverse()
