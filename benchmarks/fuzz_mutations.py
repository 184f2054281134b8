"""How `benchmarks/fuzz.py` damages a file: bytes, fields of headers, text, JSON, arrays, attributes of DICOM, names."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pydicom
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

Random = np.random.Generator
Change = Callable[[Path, Random], str]
"""Damages the file in place and gives the words for it."""
WORDS = (
    "0",
    "-1",
    "1e400",
    "nan",
    "inf",
    "99999999999",
    "1e-300",
    "1e38",
    "",
    "abc",
    "1,5",
    "-0.0",
    "[]",
    "\u00fc",
    "1 2",
)
FLOATS = (0.0, -1.0, float("nan"), float("inf"), 1e-30, 1e30, -1e30)
WHOLE = (0, -1, 1, 2, 3, 7, 8, 127, 255, -32768, 32767, 2**31 - 1, 2**62)
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    "",
    "abc",
    "../../etc",
    [],
    {},
    [1, "a", None],
    {"a": {"b": []}},
    "NaN",
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
ENDINGS = (
    ".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mnc", ".hdr", ".dcm", ".png", ".tif", ".csv", ".json",
    ".txt", ".tfm", ".mat", ".h5", ".x5", ".xfm", ".pts", ".fcsv", ".toml", ".yaml", ".safetensors", ".pt", "", ".JSON",
)  # fmt: skip


def pick(random: Random, values: Any) -> Any:
    return values[int(random.integers(len(values)))]


def ending_of(path: Path) -> str:
    """The part of a name that chooses the format."""
    name = path.name.lower()
    return next((e for e in (".nii.gz", ".mrk.json", ".seg.nrrd") if name.endswith(e)), path.suffix.lower())


# Any file


def flip(path: Path, random: Random) -> str:
    """Up to 20 bytes, half of the time in the first 400."""
    data = bytearray(path.read_bytes())
    within = min(len(data), 400) if random.random() < 0.5 else len(data)
    for at in random.integers(0, within, int(random.integers(1, 21))) if within else ():
        data[at] = int(random.integers(256))
    path.write_bytes(data)
    return "bytes changed"


def cut(path: Path, random: Random) -> str:
    data = path.read_bytes()
    path.write_bytes(data[: int(random.integers(0, max(1, len(data))))])
    return "cut"


def double(path: Path, random: Random) -> str:
    data = path.read_bytes()
    at, length = int(random.integers(0, max(1, len(data)))), int(random.integers(1, 400))
    path.write_bytes(data + data if random.random() < 0.4 else data[: at + length] + data[at:])
    return "doubled"


def lose(path: Path, random: Random) -> str:
    data = path.read_bytes()
    at = int(random.integers(0, max(1, len(data))))
    path.write_bytes(data[:at] + data[at + int(random.integers(1, 200)) :])
    return "bytes taken out"


def empty(path: Path, random: Random) -> str:
    path.write_bytes(b"" if random.random() < 0.5 else b"\0" * int(random.integers(1, 2000)))
    return "empty or zeros"


# Text, and headers that are text


def _head(data: bytes, ending: str) -> int:
    """Where a header of text ends."""
    if ending.endswith(("nrrd", ".nhdr")):
        return data.find(b"\n\n") % (len(data) + 1)
    if ending in (".mha", ".mhd"):
        at = data.find(b"ElementDataFile")
        return data.find(b"\n", at) % (len(data) + 1) if at >= 0 else len(data)
    return len(data)


def number(path: Path, random: Random) -> str:
    """One number of the text becomes something odd."""
    data = path.read_bytes()
    end = _head(data, ending_of(path))
    found = list(_NUMBER.finditer(data[:end]))
    if not found:
        return cut(path, random)
    one, word = pick(random, found), pick(random, WORDS)
    path.write_bytes(data[: one.start()] + word.encode() + data[one.end() :])
    return f"a number became {word!r}"


def lines(path: Path, random: Random) -> str:
    """A line is taken out, doubled, moved, or cut at a sign."""
    data = path.read_bytes()
    end = _head(data, ending_of(path))
    rows = data[:end].split(b"\n")
    at, other = (int(v) for v in random.integers(0, len(rows), 2))
    how = pick(random, ("out", "twice", "swapped", "short", "joined"))
    if how == "out":
        del rows[at]
    elif how == "twice":
        rows.insert(other, rows[at])
    elif how == "swapped":
        rows[at], rows[other] = rows[other], rows[at]
    elif how == "short":
        rows[at] = rows[at][: int(random.integers(0, len(rows[at]) + 1))]
    else:
        rows[at : at + 2] = [b" ".join(rows[at : at + 2])]
    path.write_bytes(b"\n".join(rows) + data[end:])
    return f"a line {how}"


def word(path: Path, random: Random) -> str:
    """Two words of the text change places, or one becomes another."""
    data = path.read_bytes()
    end = _head(data, ending_of(path))
    found = list(re.finditer(rb"[A-Za-z_]{2,}", data[:end]))
    if not found:
        return flip(path, random)
    one, other = pick(random, found), pick(random, found)
    new = other.group() if random.random() < 0.6 else bytes(random.integers(33, 255, 6).astype(np.uint8))
    path.write_bytes(data[: one.start()] + new + data[one.end() :])
    return "a word changed"


# JSON


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found.append((value, key))
        _places(value[key], found)
    return found


def tree(path: Path, random: Random) -> str:
    """A key is taken out, renamed or given a value of another type."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return _change(content, path, random) if _places(content, []) else cut(path, random)


def _change(content: Any, path: Path, random: Random) -> str:
    inside, key = pick(random, _places(content, []))
    how = pick(random, ("out", "value", "value", "name", "root"))
    if how == "root" and random.random() < 0.2:
        content = pick(random, VALUES)
    elif how == "out":
        del inside[key]
    elif how == "name" and isinstance(inside, dict):
        inside[str(pick(random, ("", "x", "meta", "1", "\u00e9")))] = inside.pop(key)
    else:
        how = "value"
        inside[key] = pick(random, VALUES)
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"JSON: {how} at {key!r}"


# NIfTI


def field(path: Path, random: Random) -> str:
    """One or two fields of the header."""
    data = path.read_bytes()
    packed = data[:2] == b"\x1f\x8b"
    plain = bytearray(gzip.decompress(data) if packed else data)
    kind = Nifti2Header if struct.unpack("<i", plain[:4])[0] == 540 else Nifti1Header
    layout, names = kind.template_dtype, []
    for _ in range(int(random.integers(1, 3))):
        name = str(pick(random, (*layout.names, "dim", "pixdim", "dim", "pixdim", "srow_x", "quatern_b", "vox_offset")))
        dtype, at = layout.fields[name][:2]
        one = dtype.subdtype[0] if dtype.subdtype else dtype
        if one.kind == "S":
            plain[at : at + one.itemsize] = bytes(random.integers(0, 256, one.itemsize).astype(np.uint8))
        else:
            at += one.itemsize * int(random.integers(dtype.itemsize // one.itemsize))
            value = pick(random, FLOATS) if one.kind == "f" else pick(random, WHOLE)
            if one.kind != "f":
                limits = np.iinfo(one)
                value = max(int(limits.min), min(int(limits.max), value))
            plain[at : at + one.itemsize] = np.array(value, one).tobytes()
        names.append(name)
    path.write_bytes(gzip.compress(bytes(plain), 1) if packed else bytes(plain))
    return f"header: {', '.join(names)}"


def values(path: Path, random: Random) -> str:
    """Other voxels, a type or axes that no scan of the kind has."""
    image = nib.load(path)
    array = np.asarray(image.dataobj).astype(np.float32)
    how = pick(
        random, ("nan", "inf", "constant", "huge", "zero", "slice", "4D", "halves", "tiny", "complex", "one", "rgb")
    )
    if how in ("nan", "inf", "huge"):
        array.flat[:: int(random.integers(1, 999))] = {"nan": np.nan, "inf": -np.inf, "huge": 3e38}[how]
    elif how in ("constant", "zero"):
        array[:] = 5.0 * (how == "constant")
    elif how == "slice":
        array = array[:, :, :1]
    elif how == "4D":
        array = np.stack([array] * 3, axis=3)
    elif how == "halves":
        array = array + 0.5
    elif how == "tiny":
        array = array[:2, :3, :2]
    elif how == "one":
        array = array[:1, :1, :1]
    elif how == "complex":
        array = array.astype(np.complex64)
    if how == "rgb":
        coloured = np.zeros(array.shape[:3], dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
        nib.save(nib.Nifti1Image(coloured, image.affine), path)
    else:
        nib.save(nib.Nifti1Image(array, image.affine), path)
    return f"voxels: {how}"


# DICOM


def attribute(path: Path, random: Random) -> str:
    """One or two attributes of a file, at any depth, are taken out or changed."""
    found = pydicom.dcmread(path)
    every = [(found.file_meta, e) for e in found.file_meta] + [(ds, e) for ds, e in _elements(found)]
    images = [one for one in every if one[1].tag.group in (0x0028, 0x0020, 0x3004, 0x3006)]
    told = []
    for _ in range(int(random.integers(1, 3))):
        inside, element = pick(random, images if images and random.random() < 0.6 else every)
        if element.tag not in inside:
            continue
        told.append(element.keyword or str(element.tag))
        if random.random() < 0.3:
            del inside[element.tag]
        else:
            _odd(element, random)
    try:
        with pydicom.config.disable_value_validation():
            found.save_as(path)
    except Exception:  # what pydicom does not write, a scanner does not either
        return cut(path, random)
    return f"DICOM: {', '.join(told)}"


def _elements(ds: pydicom.Dataset) -> list[tuple[pydicom.Dataset, pydicom.DataElement]]:
    out = []
    for element in ds:
        out.append((ds, element))
        if element.VR == "SQ":
            for one in element.value:
                out += _elements(one)
    return out


def _odd(element: pydicom.DataElement, random: Random) -> None:
    with pydicom.config.disable_value_validation():
        if element.VR in ("US", "UL", "SS", "SL", "AT"):
            element.value = int(pick(random, (0, 1, 2, 7, 8, 255, 32767, 65535 if element.VR[0] == "U" else -1)))
        elif element.VR in ("DS", "IS"):
            text = pick(random, ("0", "-1", "nan", "1e30", "abc", "", "1\\2", "99999999", "1e-30"))
            element._value = text
        elif element.VR in ("FD", "FL"):
            element.value = float(pick(random, FLOATS))
        elif element.VR in ("OB", "OW", "OF", "UN"):
            element.value = bytes(element.value)[: 2 * int(random.integers(0, 1 + len(element.value) // 2))]
        elif element.VR == "SQ":
            element.value = [] if random.random() < 0.6 else [*element.value, *element.value]
        else:
            element.value = pick(
                random, ("", "abc", "1.2.3", "MONOCHROME1", "RGB", "9" * 70, "\u00fc^\u00e9", "ISO_IR 192")
            )


# Weights


def weights(path: Path, random: Random) -> str:
    """The header of a safetensors file, with its length set right."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    if random.random() < 0.5:
        inner = json.loads(header["__metadata__"]["jssr"])
        holder, key = pick(random, _places(inner, []))
        holder[key] = pick(random, VALUES)
        header["__metadata__"]["jssr"] = json.dumps(inner)
        told = f"header of jssr: {key!r}"
    else:
        holder, key = pick(random, _places(header, []))
        holder[key] = pick(random, VALUES)
        told = f"header: {key!r}"
    made = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(made)) + made + data[8 + length :])
    return told


# HDF5


def nodes(path: Path, random: Random) -> str:
    """A data set or an attribute of HDF5 is taken out, or gets other numbers or another shape."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = str(pick(random, names))
        node = file[name]
        how = pick(random, ("out", "nan", "shape", "text", "attribute"))
        if how == "attribute" and len(node.attrs):
            key = str(pick(random, list(node.attrs)))
            if random.random() < 0.5:
                del node.attrs[key]
            else:
                node.attrs[key] = pick(random, ("abc", 0, -1.0, [1, 2, 3]))
        elif how == "out" or not isinstance(node, h5py.Dataset):
            del file[name]
        else:
            old = node[()]
            del file[name]
            if how == "text" or not isinstance(old, np.ndarray) or old.dtype.kind not in "fiu":
                file[name] = "abc"
            elif how == "nan":
                file[name] = np.full(old.shape, np.nan)
            else:
                file[name] = old.reshape(-1)[: int(random.integers(0, old.size))]
    return f"HDF5: {how} at {name}"


# A folder


def slices(path: Path, random: Random) -> str:
    """A file of a folder is damaged, taken out, doubled, or joined by one of another kind."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    one, how = pick(random, files), pick(random, ("attribute", "attribute", "every", "bytes", "out", "twice", "other"))
    if how == "attribute":
        return attribute(one, random)
    if how == "every":
        seed = int(random.integers(2**31))
        return [attribute(p, np.random.default_rng(seed)) for p in files][0] + " of every slice"
    if how == "bytes":
        return pick(random, (flip, cut, lose, empty, double))(one, random)
    if how == "out":
        for gone in files[:: int(random.integers(1, 9))]:
            gone.unlink()
    elif how == "twice":
        shutil.copy(one, path / "again.dcm")
    else:
        (path / pick(random, ("notes.txt", "x.dcm", "DICOMDIR"))).write_bytes(
            bytes(random.integers(0, 256, 300).astype(np.uint8))
        )
    return f"slices: {how}"


BYTES: tuple[Change, ...] = (flip, cut, double, lose, empty)
TEXT: tuple[Change, ...] = (number, number, lines, word)
OF: dict[str, tuple[Change, ...]] = {
    ".nii": (field, field, field, field, values, values), ".nii.gz": (field, field, field, field, values, values),
    ".hdr": (field, field), ".json": (tree, tree, tree, *TEXT), ".mrk.json": (tree, tree, *TEXT),
    ".dcm": (attribute,) * 6, ".safetensors": (weights,) * 4, ".h5": (nodes,) * 3, ".x5": (nodes,) * 3,
    ".mnc": (nodes,) * 3, ".png": (), ".jpg": (), ".tif": (), ".mat": (), ".raw": (), ".img": (), ".pt": (),
}  # fmt: skip
"""By ending, beside the changes of bytes; all others are text, or have a header that is."""


def damage(path: Path, others: list[Path], random: Random) -> tuple[Path, str]:
    """Damage a file or a folder; gives where it is now, and what was done.

    Args:
        others: valid files of other kinds, for what is put in its place.
    """
    if path.is_dir():
        return path, slices(path, random)
    if random.random() < 0.08:
        other = pick(random, others)
        shutil.copy(other, path)
        return path, f"the content of {other.name}"
    if random.random() < 0.05:
        new = path.with_name("renamed" + pick(random, ENDINGS))
        return path.rename(new), f"renamed {new.name}"
    own = OF.get(ending_of(path), TEXT)
    change = pick(random, (*own, *BYTES[: 2 if own else 5], *((double, lose, empty) if random.random() < 0.3 else ())))
    try:
        return path, change(path, random)
    except Exception:  # a library that does not write what was asked for
        return path, cut(path, random)
