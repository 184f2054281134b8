"""The names of a label map's values: from its own header, or from a file of names as other programs write it.

| file | what |
| --- | --- |
| `.nii`, `.nii.gz` | an XML extension with `<Label Key="5">spleen</Label>` (caret; TotalSegmentator) |
| `.seg.nrrd`, `.nrrd` | `Segment0_Name`, `Segment0_LabelValue` (3D Slicer) |
| `.json` | `{"5": "spleen"}`, `{"spleen": 5}`, `label_names` of `cohort.json`, `labels` of nnU-Net's `dataset.json` |
| `.ctbl`, `.txt`, `.ctab`, `.label` | colour tables of 3D Slicer and FreeSurfer, ITK-SNAP's label descriptions |
| `.csv`, `.tsv` | a header row, a column of values (`LabelValue`, `label`, `index`) and one of names (`name`) |

The background, 0, has no name.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from numbers import Integral
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from jssr.core.notes import tell
from jssr.errors import ImageError
from jssr.io.files import write_json
from jssr.io.header import sop_class
from jssr.io.itk import WRITABLE

_EXTENSIONS_AT = 348  # where the header of a NIfTI-1 file ends
_SECOND = 540  # and that of a NIfTI-2 file
_LONGEST = 1 << 22
_NAMING = {f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("66.4", "66.7", "481.3")}  # of DICOM, with names of their own
_TABLE = re.compile(r"\s*(-?\d+)\s+(\S+)\s+\d+\s+\d+\s+\d+(\s+\d+)?\s*$")
_SNAP = re.compile(r'\s*(-?\d+)(\s+[\d.]+){6}\s+"(.*)"\s*$')
_VALUES, _NAMES = ("labelvalue", "label_value", "value", "index", "label", "id"), ("name", "structure", "label_name")


def read_label_names(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read value -> name from a file of names, or from the header of a label map.

    Raises:
        ImageError: missing or unreadable file, no names in it, or two names for one value.
    """
    path = Path(path)
    ending = path.suffix.lower()
    try:
        if ending == ".json":
            names = _from_json(path)
        elif path.name.lower().endswith((".nii", ".nii.gz")):
            names = _from_nifti(path)
        elif ending == ".nrrd":
            names = _from_nrrd(path)
        elif ending in (".csv", ".tsv"):
            names = _from_columns(path)
        else:
            names = _from_table(path)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, ValueError, TypeError, EOFError, zlib.error, struct.error, ElementTree.ParseError) as error:
        raise ImageError(f"{path}: the names of the labels cannot be read ({type(error).__name__}: {error})") from error
    if not names:
        raise ImageError(f"{path}: holds no label names; give them with a file of names (JSON, .txt, .ctbl, .csv)")
    return names


def names_given(given: Mapping[int, str] | str | os.PathLike[str]) -> dict[int, str]:
    """Value to name, as a user gives it: by value, or as a file of names.

    Raises:
        ImageError: neither, or a file that cannot be read.
    """
    if isinstance(given, (str, os.PathLike)):
        return read_label_names(given)
    if not isinstance(given, Mapping) or not all(
        isinstance(value, Integral) and isinstance(name, str) for value, name in given.items()
    ):
        raise ImageError(f'label_names: expected names by value, as {{5: "liver"}}, or a file of names, got {given!r}')
    return {int(value): name for value, name in given.items()}


def tell_unused(names: Mapping[int, str], labels: NDArray[Any], given: object, what: str) -> None:
    """Tell where names that a user gave name none of a label map's values.

    Args:
        given: the file of names, or the names.
        what: name of the map, for the message.
    """
    held = [int(value) for value in np.unique(labels) if value != 0]
    if held and not set(held) & set(names):
        shown = ", ".join(map(str, held[:6])) + (" ..." if len(held) > 6 else "")
        file = given if isinstance(given, (str, os.PathLike)) else "label_names"
        tell(f"{file}: names none of the values of {what} ({shown}).")


def own_names(labels: str | os.PathLike[str]) -> dict[int, str]:
    """Value to name, as the JSON beside a label map (of `jssr segment`) or else its own header has them; empty where
    neither does."""
    path = Path(labels)
    beside = names_beside(path)
    if beside.is_file():
        with suppress(ImageError):
            return read_label_names(beside)
    return names_in_header(path)


def names_in_header(path: Path) -> dict[int, str]:
    """Value to name, as an image file's own header has them; empty where it has none."""
    if path.is_file() and path.name.lower().endswith((".nii", ".nii.gz", ".nrrd")):
        with suppress(ImageError):
            return read_label_names(path)
    if path.is_file() and sop_class(path) in _NAMING:
        from jssr.io.dicom.label_maps import names_in

        with suppress(ImageError):
            return names_in(path)
    return {}


def write_label_names(names: Mapping[int, str], labels: Path) -> None:
    """Write the names of a label map's values beside it, as JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    write_json({str(value): name for value, name in names.items()}, names_beside(labels))


def names_beside(labels: Path) -> Path:
    """Where the names of a label map lie, as JSON."""
    return labels.with_name(f"{_stem(labels)}.json")


def _stem(path: Path) -> str:
    return next((path.name[: -len(end)] for end in WRITABLE if path.name.lower().endswith(end)), path.stem)


def by_name(names: Mapping[int, str]) -> dict[str, tuple[int, ...]]:
    """Name to values: values of one name are one structure."""
    out: dict[str, tuple[int, ...]] = {}
    for value, name in names.items():
        out[name] = (*out.get(name, ()), value)
    return out


def _unique(pairs: Iterable[tuple[int, str]]) -> dict[int, str]:
    out: dict[int, str] = {}
    for value, name in pairs:
        name = name.strip()
        if value == 0 or not name:
            continue
        if out.get(value, name) != name:
            raise ValueError(f"two names for the value {value}: {out[value]!r} and {name!r}")
        out[value] = name
    return out


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON without a key of two values, of which Python would keep the last."""
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out and out[key] != value:
            raise ValueError(f"{key!r} is there twice: {out[key]!r} and {value!r}")
        out[key] = value
    return out


def _from_json(path: Path) -> dict[int, str]:
    content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    for key in ("label_names", "labels"):
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    if content and all(isinstance(v, (int, list)) and not isinstance(v, bool) for v in content.values()):
        # nnU-Net's regions are lists of values, and overlap: only what is one value is a label.
        content = {
            k: v if isinstance(v, int) else v[0] for k, v in content.items() if isinstance(v, int) or len(v) == 1
        }
        return _unique((int(v), str(k)) for k, v in content.items())
    if not all(isinstance(v, str) for v in content.values()):
        raise ValueError("expected value to name, or name to value")
    return _unique((int(k), v) for k, v in content.items())


def _from_columns(path: Path) -> dict[int, str]:
    text = path.read_text(encoding="utf-8-sig")
    rows = csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    columns = {(c or "").strip().lower(): c for c in rows.fieldnames or []}
    value = next((columns[c] for c in _VALUES if c in columns), None)
    name = next((columns[c] for c in _NAMES if c in columns), None)
    if value is None or name is None:
        raise ValueError("expected a column LabelValue and a column Name in the first row")
    return _unique((int(row[value]), row[name] or "") for row in rows)


def _from_table(path: Path) -> dict[int, str]:
    if path.stat().st_size > _LONGEST:
        raise ValueError("too long for a table of names")
    found: list[tuple[int, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if match := _SNAP.match(line):
            found.append((int(match[1]), match[3]))
        elif match := _TABLE.match(line):
            found.append((int(match[1]), match[2]))
        else:
            raise ValueError(f"line {number} is none of a colour table's: {line.strip()[:40]!r}")
    return _unique(found)


def _from_nrrd(path: Path) -> dict[int, str]:
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        if not file.read(4).startswith(b"NRRD"):
            raise ValueError("not a NRRD file")
        while line := file.readline(65536).rstrip(b"\r\n"):
            key, _, value = line.decode("utf-8", "replace").partition(":=")
            fields[key.strip()] = value.strip()
    names, places = [], set()
    for key, name in fields.items():
        if match := re.fullmatch(r"Segment(\d+)_Name", key):
            value = fields.get(f"Segment{match[1]}_LabelValue", str(int(match[1]) + 1))
            place = fields.get(f"Segment{match[1]}_Layer", "0"), value
            if place in places:
                raise ValueError(f"two segments of the value {value}")
            places.add(place)
            names.append((int(value), name))
    if len({layer for layer, _ in places}) > 1:
        raise ValueError("its segments lie in several layers, as they overlap: export them as one label map")
    return _unique(names)


def _from_nifti(path: Path) -> dict[int, str]:
    with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb") as file:
        header = file.read(_EXTENSIONS_AT + 4)
        if len(header) < _EXTENSIONS_AT + 4:
            raise ValueError("shorter than a NIfTI header")
        order = "<" if struct.unpack("<i", header[:4])[0] in (_EXTENSIONS_AT, _SECOND) else ">"
        if struct.unpack(f"{order}i", header[:4])[0] == _SECOND:
            header += file.read(_SECOND - _EXTENSIONS_AT)
            data_at = struct.unpack(f"{order}q", header[168:176])[0]
        else:
            data_at = struct.unpack(f"{order}f", header[108:112])[0]
        if header[-4] == 0:
            return {}
        block = file.read(int(np.clip(data_at - len(header), 0, _LONGEST)))
    names: dict[int, str] = {}
    at = 0
    while at + 8 <= len(block):
        size, _ = struct.unpack(f"{order}ii", block[at : at + 8])
        if size < 8:
            break
        names.update(_from_xml(block[at + 8 : at + size]))
        at += size
    return names


def _from_xml(text: bytes) -> dict[int, str]:
    text = text.rstrip(b"\0 \n")
    # No entities: a label table needs none, and they are how XML bombs are built.
    if b"<Label" not in text or b"<!ENTITY" in text:
        return {}
    table = ElementTree.fromstring(text)
    return _unique((int(e.get("Key", "0")), e.text or "") for e in table.iter("Label"))
