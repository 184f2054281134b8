"""X5, the HDF5 files of nitransforms (drafted for BIDS): fixed to moving, RAS millimetres.

Source: nitransforms 25.1, `nitransforms/io/x5.py`, `linear.py` and `nonlinear.py`. A field holds shifts
("displacements") or positions ("deformations") on the grid of its domain.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jssr._version import __version__
from jssr.core.bridges import affine_in
from jssr.core.grid import Grid, GridError
from jssr.core.transform import Affine, Displacement, Transform
from jssr.errors import OutputError, TransformError, requires
from jssr.io.files import atomic_path
from jssr.io.transforms.base import FLIP, RAS, Images, Matrix, checked_matrix, indices

if TYPE_CHECKING:
    import h5py

ENDING = ".x5"
HDF5 = b"\x89HDF\r\n\x1a\n"


def recognises(path: Path) -> bool:
    """Whether a file's name is X5's and its content HDF5."""
    with path.open("rb") as file:
        return path.suffix.lower() == ENDING and file.read(len(HDF5)) == HDF5


def read_x5(path: Path, images: Images) -> Transform:
    """The one transform of an X5 file."""
    requires("x5", "h5py")
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("Format") != "X5" or "TransformGroup" not in file:
                raise TransformError(f"{path}: is HDF5, but no X5 of nitransforms: name another --from")
            group = file["TransformGroup"]
            if len(group) != 1:
                raise TransformError(f"{path}: expected one transform, got {len(group)}: write each to its own file")
            return _read(next(iter(group.values())), path)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, GridError) as error:
        raise TransformError(f"{path}: is not a readable X5 file, or is truncated ({error})") from error


def _read(node: h5py.Group, path: Path) -> Transform:
    kind, values = node.attrs["Type"], np.asarray(node["Transform"], dtype=np.float64)
    if not np.isfinite(values).all():
        raise TransformError(f"{path}: holds NaN or infinite numbers")
    if kind == "linear":
        return Affine(RAS @ checked_matrix(values, path) @ RAS)
    what = node.attrs.get("Representation")
    if kind != "nonlinear" or what not in ("displacements", "deformations"):
        raise TransformError(f"{path}: is an X5 of type {kind}, {what}; linear ones and dense fields are read")
    domain = node["Domain"]
    shape = tuple(int(s) for s in np.asarray(domain["Size"]))
    if values.shape != (*shape, 3):
        raise TransformError(f"{path}: holds {values.shape}, expected a field on its domain, {(*shape, 3)}")
    grid = Grid(shape, affine_in(np.asarray(domain["Mapping"]), "RAS"))
    vectors = values * FLIP
    return Displacement.from_millimetres(
        vectors - grid.world(indices(grid)) if what == "deformations" else vectors, grid
    )


def write_x5(transform: Transform, path: Path, images: Images) -> None:
    """Write a matrix, or a field on the fixed grid, as nitransforms reads them."""
    requires("x5", "h5py")
    import h5py

    values: Matrix
    if isinstance(transform, Affine):
        entry = {"Type": "linear", "SubType": "affine", "Representation": "matrix"}
        values, grid = RAS @ transform.matrix @ RAS, images.fixed
    elif isinstance(transform, Displacement):
        entry = {"Type": "nonlinear", "SubType": "densefield", "Representation": "displacements"}
        values, grid = transform.millimetres() * FLIP, transform.grid
    else:
        raise TransformError(f"{path}: an X5 field needs the fixed grid: name the fixed image with --fixed")
    try:
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            _fill(file, entry, values, grid)
    except OSError as error:
        raise OutputError(f"{path}: could not be written completely: check whether the disk is full") from error


def _fill(file: h5py.File, entry: dict[str, Any], values: Matrix, grid: Grid | None) -> None:
    file.attrs["Format"], file.attrs["Version"] = "X5", np.uint16(1)
    node = file.create_group("TransformGroup").create_group("0")
    for key, value in {**entry, "Metadata": json.dumps({"WrittenBy": f"jssr {__version__}"})}.items():
        node.attrs[key] = value
    node.attrs["ArrayLength"] = 1
    node.create_dataset("Transform", data=values)
    node.create_dataset("DimensionKinds", data=np.asarray(["space"] * 3 + ["vector"], dtype="S"))
    if grid is not None:
        domain = node.create_group("Domain")
        domain.attrs["Coordinates"] = "cartesian"
        domain.create_dataset("Grid", data=np.uint8(1))
        domain.create_dataset("Size", data=np.asarray(grid.shape))
        domain.create_dataset("Mapping", data=affine_in(grid.affine, "RAS"))
