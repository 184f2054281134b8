"""Images read in threads while something else begins: importing torch takes as long as reading two scans."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from jssr.core.notes import collected, tell
from jssr.core.volume import Volume
from jssr.io.images import read_image


class Reading:
    """An image that is being read.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: str | os.PathLike[str], found: Future[tuple[Volume, list[str]]]) -> None:
        self.path, self._found = path, found

    def volume(self) -> Volume:
        """The image, once it is read; what is to be known of it is told here.

        Raises:
            ImageError: as `read_image`.
        """
        volume, words = self._found.result()
        tell(*words)
        return volume


def read_ahead(*images: Any) -> list[Any]:
    """Begin to read those images that are paths: a `Reading` in place of each. NIfTI files are read at the same time,
    others one after the other: they are read by ITK, which is kept quiet by settings of the whole process."""
    paths = [one for one in images if isinstance(one, (str, os.PathLike))]
    beside = all(os.fspath(one).lower().endswith((".nii", ".nii.gz")) for one in paths)
    pool = ThreadPoolExecutor(max(1, len(paths)) if beside else 1, "read_ahead")
    try:
        return [Reading(one, pool.submit(_read, one)) if isinstance(one, (str, os.PathLike)) else one for one in images]
    finally:
        pool.shutdown(wait=False)


def _read(path: str | os.PathLike[str]) -> tuple[Volume, list[str]]:
    with collected() as told:
        volume = read_image(path)
    return volume, told
