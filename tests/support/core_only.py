"""Runs commands where the packages of all extras cannot be imported: `python core_only.py '[["info"], ...]'` prints
[[exit code, what it said], ...] as JSON."""

from __future__ import annotations

import contextlib
import importlib.abc
import io
import json
import sys

EXTRAS = {
    "train": ("lightning_fabric", "tensorboard", "omegaconf", "monai"),
    "viewer": ("starlette", "uvicorn", "python_multipart", "multipart"),
    "dicom": ("pydicom", "highdicom", "dicomanonymizer"),
    "benchmark": ("ants", "picsl_greedy", "convexAdam", "statsmodels"),
    "phantom": ("skimage",),
    "cohort": ("distributed", "pyarrow"),
    "x5": ("h5py",),
}
"""Modules of each extra."""


class Blocked(importlib.abc.MetaPathFinder):
    """Finds no module of an extra."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] in {name for names in EXTRAS.values() for name in names}:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def run(words: list[str]) -> tuple[int, str]:
    from jssr.cli import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            return code, said.getvalue()
    return 0, said.getvalue()


if __name__ == "__main__":
    sys.meta_path.insert(0, Blocked())
    sys.stdout.write(json.dumps([run(words) for words in json.loads(sys.argv[1])]) + "\n")
