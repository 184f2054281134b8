"""`jssr convert`: transforms from other programs and to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jssr.cli import options as opt
from jssr.io.formats import check_format, readable, writable

if TYPE_CHECKING:
    from jssr.core.grid import Grid

__all__ = ["convert"]

_FROM = f"One of {', '.join(readable())}; auto goes by content and ending."
_TO = f"One of {', '.join(writable())}; itk is read by ITK, ANTs, Slicer and jssr."


def convert(
    sources: Annotated[
        list[Path], typer.Argument(help="Transforms; a point of the fixed space goes through the first one first.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="A field (.nii.gz .nrrd .mha) or a matrix (.tfm .txt .mat .h5).")
    ],
    of: Annotated[str, typer.Option("--from", help=_FROM, metavar="FORMAT")] = "auto",
    to: Annotated[str, typer.Option("--to", help=_TO, metavar="FORMAT")] = "itk",
    fixed: Annotated[
        Path | None, typer.Option("--fixed", help="The fixed image: for FSL, and as the grid of a field.")
    ] = None,
    moving: Annotated[Path | None, typer.Option("--moving", help="The moving image: for FSL.")] = None,
    inverse: Annotated[
        bool, typer.Option("--inverse", help="Invert the transform; a field then lies on --moving's grid.")
    ] = False,
    verbose: opt.Verbose = False,
) -> None:
    """Bring transforms from other programs into one file, or to other programs.

    What is written maps fixed to moving space, LPS millimetres, as everything here does. ANTs writes a warp and an
    affine: name them in this order.

    Example: jssr convert out1Warp.nii.gz out0GenericAffine.mat -o displacement.nii.gz

    Example: jssr convert TransformParameters.1.txt -o displacement.nii.gz

    Example: jssr convert flirt.mat --from flirt --fixed fixed.nii.gz --moving moving.nii.gz -o affine.tfm
    """
    opt.prepare_session(None, verbose)
    from jssr.core.transform import Chain
    from jssr.errors import TransformError
    from jssr.io.transforms import Images, read_any, write_any

    check_format(to, writable())
    images = Images(*(None if path is None else _grid_of(path) for path in (fixed, moving)))
    parts = [read_any(source, of, images) for source in sources]
    if len({part.ndim for part in parts}) > 1:
        raise TransformError(f"{', '.join(str(s) for s in sources)}: are of 2D and of 3D")
    found = parts[0] if len(parts) == 1 else Chain(*parts)
    if inverse:
        found, images = found.inverse(images.moving), images.swapped()
    write_any(found, out, to, images)
    opt.console().print(f"written to {out}")


def _grid_of(path: Path) -> Grid:
    from jssr.io.images import read_grid, read_image

    return read_grid(path) if path.is_file() else read_image(path).grid
