"""Whether what a DICOM file announces fits into it: a library takes memory for whatever a damaged one announces.

Needs no library, so that a core without the extra `dicom` has it.

Source: PS3.5, sections 7.1 (data elements), 7.5 (sequences) and A.4 (fragments of pixels).
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from jssr.errors import ImageError

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_ENDS, _ENDS = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
"""Types with four bytes of length after two that are reserved."""
_IMPLICIT, _BIG, _DEFLATED = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"
_DEEPEST = 32
_SIZES = ((0x0028, 0x0010), (0x0028, 0x0011), (0x0028, 0x0100))
"""Rows, columns and bits allocated."""
_SAMPLES, _FRAMES, _PIXELS = (0x0028, 0x0002), (0x0028, 0x0008), (0x7FE0, 0x0010)


class _Unfit(Exception):
    """An element that ends behind the file, or is none."""


def check_elements(path: Path) -> None:
    """Make sure that every element of a DICOM file ends within it, and that its pixels fill its rows and columns.

    Raises:
        ImageError: one does not, or what stands in its place is no element; too few pixels.
    """
    if path.stat().st_size < 132:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            at, syntax = _after_group_2(data)
            if syntax != _DEFLATED:
                order = ">" if syntax == _BIG else "<"
                walk = _Walk(data, order, syntax == _IMPLICIT or not _typed(data, at))
                walk.elements(at, len(data), 0)
                _check_pixels(path, walk)
        except (_Unfit, struct.error, IndexError):
            raise ImageError(
                f"{path}: is damaged or truncated, the lengths of its DICOM elements do not fit its "
                f"{path.stat().st_size} bytes; copy or export it again"
            ) from None


def _after_group_2(data: mmap.mmap) -> tuple[int, bytes]:
    """Where the data set begins, and its transfer syntax."""
    at, syntax = 132 if data[128:132] == b"DICM" else 0, b""
    walk = _Walk(data, "<", False)
    while at + 8 <= len(data) and data[at : at + 2] == b"\x02\x00":
        tag, _, start, length = walk.element(at)
        if tag == (2, 0x10):
            syntax = data[start : start + length].rstrip(b"\0 ")
        at = start + length
    return at, syntax


def _typed(data: mmap.mmap, at: int) -> bool:
    """Whether an element names its type."""
    kind = data[at + 4 : at + 6]
    return kind.isalpha() and kind.isupper()


def _check_pixels(path: Path, walk: _Walk) -> None:
    """Refuse uncompressed grey pixels that do not fill their size."""
    if _PIXELS not in walk.top or not set(_SIZES) <= walk.top.keys():
        return
    length = walk.top[_PIXELS][1]
    rows, columns, bits = (walk.whole(tag) for tag in _SIZES)
    frames = bytes(walk.value(_FRAMES)).strip(b"\0 ") or b"1"
    if length == _UNDEFINED or (_SAMPLES in walk.top and walk.whole(_SAMPLES) != 1) or not frames.isdigit():
        return
    due = (rows * columns * bits * int(frames) + 7) // 8
    if length < due:
        raise ImageError(
            f"{path}: is damaged or truncated, it has {length} of {due} bytes of pixels; copy or export it again"
        )


class _Walk:
    """Steps from element to element."""

    def __init__(self, data: mmap.mmap, order: str, implicit: bool) -> None:
        self.data, self.order, self.implicit = data, order, implicit
        self.top: dict[tuple[int, int], tuple[int, int]] = {}
        """Where the values of the outermost data set begin, and their lengths."""

    def value(self, tag: tuple[int, int]) -> bytes:
        """The bytes of an element; none of one that is not there."""
        start, length = self.top.get(tag, (0, 0))
        return self.data[start : start + length]

    def whole(self, tag: tuple[int, int]) -> int:
        """A whole number of two bytes; 0 where there is none."""
        found = self.value(tag)
        return int(struct.unpack(f"{self.order}H", found[:2])[0]) if len(found) >= 2 else 0

    def element(self, at: int) -> tuple[tuple[int, int], bytes, int, int]:
        """Tag, type, where the value begins and its length."""
        group, number = struct.unpack_from(f"{self.order}HH", self.data, at)
        kind, start = b"", at + 8
        if group == 0xFFFE or self.implicit:
            length = struct.unpack_from(f"{self.order}I", self.data, at + 4)[0]
        else:
            kind = self.data[at + 4 : at + 6]
            if kind in _LONG:
                start = at + 12
                length = struct.unpack_from(f"{self.order}I", self.data, at + 8)[0]
            else:
                length = struct.unpack_from(f"{self.order}H", self.data, at + 6)[0]
        if length != _UNDEFINED and start + length > len(self.data):
            raise _Unfit
        return (group, number), kind, start, length

    def elements(self, at: int, end: int, depth: int) -> int:
        """Walk a data set; gives where it ends."""
        while at < end:
            if end - at < 8 or self.data[at : at + 8] == bytes(8):
                if any(self.data[at:end]):
                    raise _Unfit
                return end  # zeros that fill a block
            tag, kind, start, length = self.element(at)
            if tag == _ITEM_ENDS:
                return start
            if tag[0] == 0xFFFE or (not self.implicit and not kind.isalpha()):
                raise _Unfit
            if not depth:
                self.top[tag] = start, length
            # PS3.5 6.2.2: an unknown type of undefined length holds a sequence without types.
            plain = kind == b"UN" and length == _UNDEFINED
            inside = _Walk(self.data, "<", True) if plain else self
            at = inside.items(start, depth) if length == _UNDEFINED else start + length
        return at

    def items(self, at: int, depth: int) -> int:
        """Walk a sequence, or fragments of pixels, of undefined length; gives where it ends."""
        if depth > _DEEPEST:
            raise _Unfit
        while True:
            tag, _, start, length = self.element(at)
            if tag == _ENDS:
                return start
            if tag != _ITEM:
                raise _Unfit
            at = self.elements(start, len(self.data), depth + 1) if length == _UNDEFINED else start + length
