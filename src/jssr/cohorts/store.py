"""Finished work in a folder, one file for each item: a run begun again does what is missing.

The file of an item holds its key (what it was made of: content of the scans, weights, options), what failed and why,
and its result. It is written at once or not at all. An item is done while its key is the same, nothing of it failed,
and the files that belong to it are there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jssr.errors import OutputError
from jssr.io.files import atomic_path, write_json
from jssr.io.provenance import provenance


@dataclass(frozen=True)
class Store:
    """A folder of finished items; `pattern` is the file of an item in it."""

    folder: Path
    pattern: str = "{}.json"

    def file(self, item: str) -> Path:
        """Where an item is kept."""
        return self.folder / self.pattern.format(item)

    def find(self, item: str, key: Mapping[str, Any]) -> Any:
        """The result of an item that is done; None where it is missing, failed, damaged or made of something else."""
        record = read_settings(self.file(item))
        if not record or record.get("failed") or record.get("key") != _plain(key):
            return None
        here = all((self.folder / name).is_file() for name in record.get("files", ()))
        return record.get("result") if here else None

    def check(self, item: str, key: Mapping[str, Any]) -> None:
        """Refuse an item that is done and was made of something else than it would be made of now, or nobody knows of
        what."""
        if not self.file(item).is_file():
            return
        record = read_settings(self.file(item))
        if "key" not in record:
            raise OutputError(f"{self.file(item)}: is damaged; delete it to have it done again")
        if not record.get("failed"):
            _check(self.file(item), record["key"], key)

    def keep(
        self,
        item: str,
        key: Mapping[str, Any],
        result: Any,
        failed: Mapping[str, str] | None = None,
        files: Sequence[str] = (),
    ) -> None:
        """Write what became of an item made of `key`: its result as plain data, and the reasons of parts that failed.

        An item with failed parts, or without one of its other `files` (relative to the folder), is done again.
        """
        record = {"key": _plain(key), "failed": dict(failed or {}), "files": list(files), "result": result}
        with atomic_path(self.file(item)) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def forget(self, item: str) -> None:
        self.file(item).unlink(missing_ok=True)

    def result(self, item: str) -> Any:
        """The result of an item, finished or in part; None where there is none."""
        return read_settings(self.file(item)).get("result")

    def failures(self, item: str) -> dict[str, str]:
        """Parts of an item that failed, each with the reason."""
        return dict(read_settings(self.file(item)).get("failed") or {})


def read_settings(file: Path) -> dict[str, Any]:
    """A JSON object of a file; empty where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def same_settings(file: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings that a folder's results share, with where they were made, or refuse where they differ."""
    if file.is_file():
        _check(file.parent, read_settings(file), settings)
    write_json({**settings, "provenance": provenance("cpu", False)}, file)


def _check(place: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [name for name, value in _plain(now).items() if before.get(name) != value]
    if changed:
        raise OutputError(f"{place}: holds results that differ in {', '.join(changed)}; choose another folder")


def _plain(key: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: tuples are lists."""
    return dict(json.loads(json.dumps(key)))
