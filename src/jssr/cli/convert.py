"""`jssr convert`: transforms from other programs and to them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jssr.cli import options as opt

if TYPE_CHECKING:
    from jssr.core.grid import Grid
    from jssr.core.transform import Transform

__all__ = ["convert"]


class Source(StrEnum):
    auto = "auto"
    itk = "itk"
    elastix = "elastix"
    flirt = "flirt"
    fnirt = "fnirt"
    niftyreg = "niftyreg"


class Target(StrEnum):
    itk = "itk"
    flirt = "flirt"
    niftyreg = "niftyreg"


def convert(
    sources: Annotated[
        list[Path], typer.Argument(help="Transforms; a point of the fixed space goes through the first one first.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="A field (.nii.gz .nrrd .mha) or a matrix (.tfm .txt .mat .h5).")
    ],
    of: Annotated[
        Source,
        typer.Option("--from", help="auto: ITK, ANTs and Slicer; elastix's parameters and NiftyReg's fields tell."),
    ] = Source.auto,
    to: Annotated[Target, typer.Option("--to", help="itk: what ITK, ANTs, Slicer and jssr read.")] = Target.itk,
    fixed: Annotated[
        Path | None, typer.Option("--fixed", help="The fixed image: for FSL, and as the grid of a field.")
    ] = None,
    moving: Annotated[Path | None, typer.Option("--moving", help="The moving image: for FSL.")] = None,
    inverse: Annotated[
        bool, typer.Option("--inverse", help="Turn the map round; a field then lies on --moving's grid.")
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

    grids = {name: _grid_of(path) for name, path in (("fixed", fixed), ("moving", moving)) if path is not None}
    parts = [_read(source, of, grids) for source in sources]
    if len({part.ndim for part in parts}) > 1:
        raise TransformError(f"{', '.join(str(s) for s in sources)}: are of 2D and of 3D")
    whole = parts[0] if len(parts) == 1 else Chain(*parts)
    if inverse:
        whole = whole.inverse(grids.get("moving"))
        grids = {name: grids[other] for name, other in (("fixed", "moving"), ("moving", "fixed")) if other in grids}
    _write(whole, out, to, grids)
    opt.console().print(f"written to {out}")


def _grid_of(path: Path) -> Grid:
    from jssr.io.images import read_grid, read_image

    return read_grid(path) if path.is_file() else read_image(path).grid


def _both(grids: dict[str, Grid], what: str) -> tuple[Grid, Grid]:
    from jssr.errors import TransformError

    if len(grids) < 2:
        raise TransformError(f"{what} depends on both images: name them with --fixed and --moving")
    return grids["fixed"], grids["moving"]


def _read(source: Path, of: Source, grids: dict[str, Grid]) -> Transform:
    from jssr.errors import TransformError
    from jssr.io import foreign
    from jssr.io.transforms import read_transform

    if not source.is_file():
        raise TransformError(f"{source}: no such file")
    if of is Source.flirt:
        return foreign.read_flirt(source, *_both(grids, "FLIRT's matrix"))
    if of is Source.fnirt:
        return foreign.read_fnirt(source, *_both(grids, "FNIRT's field"))
    if of is Source.elastix or (of is Source.auto and foreign.is_elastix(source)):
        return foreign.read_elastix(source)
    if of in (Source.auto, Source.niftyreg) and foreign.is_niftyreg_field(source):
        return foreign.read_niftyreg_field(source)
    return foreign.read_niftyreg(source) if of is Source.niftyreg else read_transform(source)


def _write(whole: Transform, out: Path, to: Target, grids: dict[str, Grid]) -> None:
    from jssr.core.transform import Affine, Chain, Displacement
    from jssr.errors import OutputError, TransformError
    from jssr.io import foreign
    from jssr.io.itk import WRITABLE
    from jssr.io.transforms import write_affine, write_displacement

    parts = whole.parts if isinstance(whole, Chain) else (whole,)
    linear = whole
    if len(parts) > 1 and all(isinstance(part, Affine) for part in parts):
        linear = Affine.identity(whole.ndim)
        for part in parts:
            linear = Affine(part.matrix @ linear.matrix)  # type: ignore[attr-defined]
    if to is not Target.itk:
        if not isinstance(linear, Affine):
            raise TransformError(f"{out}: only matrices are written for {to.value}, and this map bends")
        matrix = (
            foreign.niftyreg_of(linear)
            if to is Target.niftyreg
            else foreign.flirt_of(linear, *_both(grids, "FLIRT's matrix"))
        )
        foreign.write_matrix(matrix, out)
        return
    if not out.name.lower().endswith(WRITABLE):
        if not isinstance(linear, Affine):
            raise OutputError(f"{out}: this map bends; write it as a field, with a name that ends in .nii.gz")
        write_affine(linear, out)
        return
    first = parts[0]
    grid = grids.get("fixed") or (first.grid if isinstance(first, Displacement) else None)
    if grid is None:
        raise TransformError(f"{out}: a field needs a grid: name the image that it shall lie on with --fixed")
    write_displacement(whole.displacement(grid), out)
