"""The path of `fixed`: the files that the fixed scan passes through from the command to the written file are recorded
while a pair is registered, and are those that docs/architecture.md lists."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from tiny_jssr import ball
from typer.testing import CliRunner

import jssr
from jssr.cli import app
from jssr.cli.options import Options
from jssr.core import late
from jssr.core.volume import Volume
from jssr.io.images import write_image
from jssr.registration.result import Registration

ROOT = Path(jssr.__file__).parent
DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"
MOST = 12


class Recorder:
    """Files of the package in whose functions the fixed scan arrives: its path, its volume, or an object that holds it;
    until the result is written.

    Its volume is known by its name and its grid: resampled to another grid it is no longer the fixed scan. `entries`
    are (file that calls, file that is called), in order; calls within one file do not count.
    """

    def __init__(self, path):
        self.path, self.grid, self.files, self.entries = path, None, [], []
        self.written = False

    def is_fixed(self, value):
        if isinstance(value, os.PathLike):
            return Path(value) == self.path
        if isinstance(value, Volume):
            if value.name == str(self.path) and self.grid is None:
                self.grid = value.grid
            return value.name == str(self.path) and value.grid is self.grid
        held = getattr(value, "__dict__", {})
        known = (Volume, os.PathLike) if isinstance(value, Options) else Volume
        return any(isinstance(one, known) and self.is_fixed(one) for one in held.values())

    def __call__(self, frame, event, _):
        code = frame.f_code
        if event not in ("call", "return") or self.written or not code.co_filename.startswith(str(ROOT)):
            return
        if event == "return":
            self.written = code is Registration.save.__code__
            return
        given = {
            name: frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        }
        if isinstance(given.get("self"), (Volume, Options)) or code.co_filename == late.__file__:
            return  # what a scan, or the options of a command, does by itself, its field `data` too
        if "name" in given:  # what it is called in messages
            given.pop("name")
        if not any(self.is_fixed(value) for value in given.values()):
            return
        here = str(Path(code.co_filename).relative_to(ROOT))
        above = frame.f_back
        while above is not None and not above.f_code.co_filename.startswith(str(ROOT)):
            above = above.f_back
        caller = "" if above is None else str(Path(above.f_code.co_filename).relative_to(ROOT))
        if caller != here:
            self.entries.append((caller, here))
        if here not in self.files:
            self.files.append(here)


def documented():
    section = DOCUMENT.read_text(encoding="utf-8").partition("## The path of `fixed`")[2].partition("\n## ")[0]
    return re.findall(r"^\d+\. `([\w/]+\.py)`", section, re.MULTILINE)


@pytest.fixture(scope="module")
def recorded(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("path")
    for name, volume in (("fixed", ball()), ("moving", ball((6, 0, 0)))):
        write_image(volume, folder / f"{name}.nii.gz")
    recorder = Recorder(folder / "fixed.nii.gz")
    arguments = ["register", str(folder / "fixed.nii.gz"), str(folder / "moving.nii.gz"), "-o", str(folder / "out")]
    arguments += ["--checkpoint", str(weights), "--no-report", "--refine", "1"]
    sys.setprofile(recorder)
    try:
        done = CliRunner().invoke(app, arguments)
    finally:
        sys.setprofile(None)
    assert done.exit_code == 0, done.output
    assert recorder.written and (folder / "out" / "moved.nii.gz").is_file()
    return recorder


def test_the_document_lists_the_files_that_the_fixed_scan_passes_through(recorded):
    assert recorded.files == documented()


def test_they_are_few(recorded):
    assert len(recorded.files) <= MOST


def test_none_is_entered_from_two_files(recorded):
    entered = {}
    for caller, here in recorded.entries:
        entered.setdefault(here, set()).add(caller)
    assert {here: callers for here, callers in entered.items() if len(callers) > 1} == {}
