"""Whether the voxels that the header of a MetaImage or an NRRD file promises are there: no memory is taken for more.

Source: MetaIO's documentation, "MetaImage tags"; the NRRD format's definition, "encoding", "data file", "byte skip".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from isal import isal_zlib

from jssr.errors import ImageError

DEFLATED = 1032
"""Of deflate (gzip, zlib): no byte unpacks to more (https://zlib.net/zlib_tech.html)."""
_META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
_META_PLACE = {
    "ElementSpacing": 1, "ElementSize": 1, "Offset": 1, "Origin": 1, "Position": 1, "CenterOfRotation": 1,
    "TransformMatrix": 2, "Rotation": 2, "Orientation": 2,
}  # fmt: skip
"""Fields of as many numbers as there are axes, or as its square."""
_NRRD_BYTES = {"char": 1, "short": 2, "int": 4, "longlong": 8, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
               "float": 4, "double": 8}  # fmt: skip
_TYPE = re.compile(r"^(un)?signed|^u(?=\w)|_t$|(?<=short|glong)int$")
"""What NRRD's names of types may have beside the width: "unsigned short int", "uint16_t"."""
_LONGEST = 1 << 20
"""Bytes of a header."""
_BLOCK = 1 << 14
"""Bytes unpacked at once, to 16 MB at most."""
_GZIP = b"\x1f\x8b"


def room_lacking(size: int, due: int, packed: bool) -> str:
    """Why a file cannot hold the bytes that its header promises, in words; "" where it can.

    Args:
        size: bytes of the file that can be voxels; of gzip all of it.
        packed: they are deflated.
    """
    room = size * DEFLATED if packed else max(0, size)
    held = f"its {size} packed bytes hold at most {room}" if packed else f"it has {room}"
    return "" if room >= due else f"is truncated, {held} of {due} bytes of voxels; copy it again"


def check_unpacked(path: Path, data: Path, start: int, due: int) -> None:
    """Unpack voxels and drop them: ITK reads deflated ones that break off, or whose checksum is wrong.

    Args:
        data: the file that holds them, zlib or gzip, from its byte `start` on.
        due: bytes that they unpack to; 0 where that is not known.

    Raises:
        ImageError: damaged, or fewer bytes.
    """
    length = 0
    try:
        with data.open("rb") as file:
            file.seek(start)
            block = file.read(_BLOCK)
            while block and not (due and length >= due):
                stream = isal_zlib.decompressobj(wbits=31 if block[:2] == _GZIP else 15)
                while not stream.eof:
                    if not block:
                        raise ImageError(f"{path}: is truncated, its compressed data break off; copy it again")
                    length += len(stream.decompress(block))
                    block = file.read(_BLOCK)
                block = stream.unused_data + block
    except isal_zlib.error as error:  # type: ignore[misc]
        raise ImageError(f"{path}: its compressed data are damaged; copy it again") from error
    if length < due:
        raise ImageError(f"{path}: is truncated, it has {length} of {due} bytes of voxels; copy it again")


def spacing_wrong(spacing: Sequence[float]) -> str:
    """Why a spacing is none, in words; "" where it is positive."""
    if all(math.isfinite(s) and s > 0 for s in spacing):
        return ""
    shown = " x ".join(f"{s:g}" for s in spacing)
    return f"has a spacing of {shown} mm in its header; it must be positive: correct it"


def _refuse(path: Path, *words: str) -> None:
    for one in words:
        if one:
            raise ImageError(f"{path}: {one}")


def _meta_fields(path: Path, file: IO[bytes]) -> dict[str, str]:
    """The fields of a MetaImage's header; the file then stands where it ends."""
    fields: dict[str, str] = {}
    for _ in range(200):
        line = file.readline(4096)
        key, equals, value = (part.strip() for part in line.decode("latin-1").partition("="))
        if not equals:
            break
        if fields.setdefault(key, value) != value:
            raise ImageError(f"{path}: has a damaged header, {key} twice; copy or export it again")
        if key == "ElementDataFile":
            break
    if not {"NDims", "DimSize", "ElementDataFile", "ElementType"} <= fields.keys():
        raise ImageError(f"{path}: is not a MetaImage, in spite of its name, or is truncated")
    return fields


def check_meta(path: Path, file: IO[bytes], header_only: bool) -> None:
    """Check a MetaImage; `header_only` does not unpack its voxels.

    Raises:
        ImageError: none, a damaged header, a spacing that is not positive, or fewer voxels than promised.
    """
    fields = _meta_fields(path, file)
    try:
        size, axes = [int(s) for s in fields["DimSize"].split()], int(fields["NDims"])
        spacing = [float(s) for s in fields.get("ElementSpacing", fields.get("ElementSize", "1")).split()]
        packed, channels = int(fields.get("CompressedDataSize", 0)), int(fields.get("ElementNumberOfChannels", 1))
        placed = {key: [float(v) for v in fields[key].split()] for key in _META_PLACE if key in fields}
    except ValueError as error:
        raise ImageError(f"{path}: has a damaged header ({error}); copy or export it again") from error
    if not size or min(size) < 1 or len(size) != axes or channels < 1 or packed < 0:
        raise ImageError(f"{path}: has a damaged header (size {size} of {axes} axes); copy or export it again")
    _refuse(path, spacing_wrong(spacing))
    for key, found in placed.items():
        if len(found) != axes ** _META_PLACE[key] or not all(map(math.isfinite, found)):
            raise ImageError(f"{path}: has a damaged header ({key} {found}); copy or export it again")
    kind = fields["ElementType"].removeprefix("MET_").removesuffix("_ARRAY").replace("UCHAR", "CHAR")
    each = _META_BYTES.get(kind.replace("USHORT", "SHORT").replace("UINT", "INT").replace("ULONG", "LONG"), 0)
    local = fields["ElementDataFile"].upper() == "LOCAL"
    data = path if local else path.parent / fields["ElementDataFile"]
    if not local and ("%" in data.name or data.name.upper() == "LIST"):
        return  # one file a slice: left to ITK
    if not data.is_file():
        raise ImageError(f"{path}: its data file {data.name} is missing beside it")
    start = file.tell() if local else 0
    deflated = fields.get("CompressedData", "").lower().startswith("t")
    due = math.prod(size) * each * channels
    there = data.stat().st_size - start
    _refuse(path, room_lacking(there, due, deflated), room_lacking(there, packed, False))
    if deflated and not header_only:
        check_unpacked(path, data, start, due)


def nrrd_fields(file: IO[bytes]) -> dict[str, str]:
    """The fields of an NRRD header, keys in small letters; the file then stands where the header ends."""
    fields: dict[str, str] = {}
    while file.tell() < _LONGEST:
        line = file.readline(65536).decode("latin-1").strip()
        if not line:
            break
        key, colon, value = line.partition(":")
        if colon and not value.startswith("=") and not line.startswith("#"):
            fields[key.strip().lower()] = value.strip()
    return fields


def check_nrrd(path: Path, file: IO[bytes], header_only: bool) -> None:
    """Check an NRRD file; `header_only` does not unpack its voxels.

    Raises:
        ImageError: none, a damaged header, or fewer voxels than promised.
    """
    if file.read(4) != b"NRRD":
        raise ImageError(f"{path}: is not a NRRD image, in spite of its name, or is truncated")
    fields = nrrd_fields(file)
    try:
        size, axes = [int(s) for s in fields["sizes"].split()], int(fields["dimension"])
    except (KeyError, ValueError) as error:
        raise ImageError(f"{path}: has a damaged header ({error}); copy or export it again") from error
    if not size or min(size) < 1 or len(size) != axes:
        raise ImageError(f"{path}: has a damaged header (sizes {size}); copy or export it again")
    name = fields.get("data file", fields.get("datafile", ""))
    if name and (name.upper().startswith("LIST") or "%" in name):
        return  # one file a slice: left to ITK
    data = path.parent / name if name else path
    if not data.is_file():
        raise ImageError(f"{path}: its data file {data.name} is missing beside it")
    encoding = fields.get("encoding", "raw").lower()
    if encoding in ("bz2", "bzip2"):
        return  # without a bound
    each = _NRRD_BYTES.get(_TYPE.sub("", fields.get("type", "").lower().replace(" ", "")), 1)
    packed = encoding in ("gz", "gzip")
    text = encoding in ("txt", "text", "ascii", "hex")
    start, due = 0 if name else file.tell(), math.prod(size) * (1 if text else each)
    _refuse(path, room_lacking(data.stat().st_size - start, due, packed))
    if packed and not header_only and "byte skip" not in fields and "line skip" not in fields:
        check_unpacked(path, data, start, due)
