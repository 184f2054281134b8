"""Jobs for other processes, in a file that imports nothing: a test's own file would import torch and more there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def process(_: object) -> int:
    """The process that does it."""
    return os.getpid()


def ended(folder: Path, item: str) -> None:
    """Be told to end in the middle of the work."""
    (folder / item).touch()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    finally:
        (folder / f"{item} cleaned").touch()
