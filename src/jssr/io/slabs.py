"""Compressed NIfTI files written slab by slab, each channel packed by a thread of its own: nothing is held whole."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import SimpleITK as sitk
from isal import isal_zlib
from numpy.typing import NDArray

from jssr.core.bridges import to_sitk
from jssr.core.grid import Grid
from jssr.errors import OutputError
from jssr.io.files import BLOCK, LEVEL, THREADS, atomic_path
from jssr.io.itk import quiet

_GZIP = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""Of a member without name or time (RFC 1952)."""
_NIFTI = 352
_DIMS = 42
"""Where a NIfTI-1 header has its first size, 2 bytes each."""
_LONGEST = 2**15 - 1


def write_slabs(path: Path, grid: Grid, like: NDArray[Any], slabs: Iterable[NDArray[Any]], note: str = "") -> None:
    """Write an image or a vector image, atomically, as ITK would: the same voxels and header.

    Args:
        path: ends in .nii.gz.
        like: one voxel, (C, 1, ...), in the number type to write; more than one channel makes a vector image.
        slabs: (C, *shape of the grid but for the last axis, thickness), one after the other along the last axis.
        note: what goes into NIfTI's `descrip`.

    Raises:
        OutputError: NaN or infinity, a grid too long for the format, unwritable folder or full disk; what was at `path`
            stays.
    """
    if max(grid.shape) > _LONGEST:
        raise OutputError(f"{path}: expected at most {_LONGEST} voxels along an axis, got {max(grid.shape)}: use .nrrd")
    with atomic_path(path) as temporary, ExitStack() as stack:
        beside = [temporary.with_name(f"{temporary.name}.{c}") for c in range(1, len(like))]
        for name in beside:
            stack.callback(name.unlink, missing_ok=True)
        channels = [_Channel(stack.enter_context(name.open("w+b"))) for name in (temporary, *beside)]
        channels[0].begin(_header(temporary, grid, like, note))
        pool = stack.enter_context(ThreadPoolExecutor(min(THREADS, len(channels))))
        adding: list[Future[None]] = []
        for slab in slabs:  # the next one is made while this one is packed
            for done in adding:
                done.result()
            adding = [pool.submit(channel.add, slab[c], path) for c, channel in enumerate(channels)]
        for done in adding:
            done.result()
        _join(channels)


class _Channel:
    """The voxels of one channel, packed into a stream of its own."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.checksum, self.size = file, 0, 0
        self._pack = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -15)

    def begin(self, header: bytes) -> None:
        """Begin the member of gzip, of the first channel, with the header of the image."""
        self.file.write(_GZIP)
        self._add(header)

    def add(self, slab: NDArray[Any], path: Path) -> None:
        """Pack the voxels of a slab, (*shape of the grid but for the last axis, thickness).

        Raises:
            OutputError: NaN or infinity in what is to be written to `path`.
        """
        if slab.dtype.kind == "f" and not np.isfinite(slab).all():
            raise OutputError(f"{path}: not written, what was computed for it holds NaN or infinity")
        # The first axis is the fastest in the file.
        self._add(np.ascontiguousarray(slab.T).reshape(-1).view(np.uint8).data)

    def _add(self, voxels: bytes | memoryview) -> None:
        self.checksum, self.size = isal_zlib.crc32(voxels, self.checksum), self.size + len(voxels)
        self.file.write(self._pack.compress(voxels))

    def end(self, last: bool) -> None:
        # A full flush ends on a byte and forgets what was before, so that another stream can follow.
        self.file.write(self._pack.flush(isal_zlib.Z_FINISH if last else isal_zlib.Z_FULL_FLUSH))


def _join(channels: Sequence[_Channel]) -> None:
    """Make one member of gzip of them, in the file of the first: some readers take the first of several for all."""
    checksum = size = 0
    out = channels[0].file
    for channel in channels:
        channel.end(last=channel is channels[-1])
        if channel.file is not out:
            channel.file.seek(0)
            shutil.copyfileobj(channel.file, out, BLOCK)
        checksum = isal_zlib.crc32_combine(checksum, channel.checksum, channel.size)
        size += channel.size
    out.write(struct.pack("<II", checksum, size % 2**32))


def _header(path: Path, grid: Grid, like: NDArray[Any], note: str) -> bytes:
    """ITK's header of a NIfTI file: that of one voxel, with the sizes of the grid."""
    image = to_sitk(like, grid)
    if note:
        image.SetMetaData("ITK_FileNotes", note)
    one = path.with_name(path.name[: -len(".gz")])
    try:
        with quiet():
            sitk.WriteImage(image, str(one), useCompression=False)
        head = bytearray(one.read_bytes()[:_NIFTI])
    except RuntimeError as error:
        raise OutputError(f"{path}: could not be written completely: check whether the disk is full") from error
    finally:
        one.unlink(missing_ok=True)
    head[_DIMS : _DIMS + 2 * grid.ndim] = struct.pack(f"<{grid.ndim}h", *grid.shape)
    return bytes(head)
