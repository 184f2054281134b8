"""Images read in a thread while something else begins: importing torch takes as long as reading two scans."""

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
    """Begin to read those images that are paths, one after the other in one thread: a `Reading` in place of each.

    Until the last one is there, nothing else may read images: ITK is kept quiet by a setting of the whole process.
    """
    pool = ThreadPoolExecutor(1, "read_ahead")
    try:
        return [Reading(one, pool.submit(_read, one)) if isinstance(one, (str, os.PathLike)) else one for one in images]
    finally:
        pool.shutdown(wait=False)


def _read(path: str | os.PathLike[str]) -> tuple[Volume, list[str]]:
    with collected() as told:
        volume = read_image(path)
    return volume, told
