"""The program ends at once, and nothing of what it should do before is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import jssr
from jssr.cli import program

PROGRAM = """
import atexit, sys, threading, time
from jssr.cli import program

class Held:
    def __del__(self):
        print("taken apart")

def main():
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    print("command")
    {more}
    raise SystemExit({code})

held = Held()
atexit.register(print, "registered")
program.main = main
program.run()
"""


def ended(*words: str, code: object = 4, more: str = "") -> tuple[int, list[str]]:
    """The exit code, and what was printed into a pipe."""
    source = {**os.environ, "PYTHONPATH": str(Path(jssr.__file__).parents[1])}
    source.pop("PYTHONUNBUFFERED", None)
    text = PROGRAM.format(code=code, more=more)
    done = subprocess.run([sys.executable, "-c", text, *words], capture_output=True, text=True, env=source, check=False)
    return done.returncode, done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(("code", "told"), [(0, 0), (None, 0), (4, 4), (143, 143)])
def test_a_command_ends_at_once_with_its_code_its_output_its_threads_and_what_is_registered(code, told):
    assert ended("register", code=code) == (told, ["command", "thread", "registered"])


def test_others_end_as_python_does():
    whole = ["command", "thread", "registered", "taken apart"]
    assert ended("train") == (4, whole)
    assert ended("--config", "mine.toml", "register") == (4, whole)


def test_a_profiler_sees_the_end(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jssr", "register"])
    sys.setprofile(lambda *_: None)
    try:
        assert not program._may_end_at_once()
    finally:
        sys.setprofile(None)


def test_what_python_says_of_an_output_that_is_closed_is_left_to_it():
    assert ended("register", more="time.sleep(0.4); sys.stdout.flush(); sys.stdout.close()")[0] == 4


def test_refused_files_give_their_code(tmp_path):
    source = {**os.environ, "PYTHONPATH": str(Path(jssr.__file__).parents[1])}
    words = ["-m", "jssr", "convert", str(tmp_path / "none.nii.gz"), "-o", str(tmp_path / "out.tfm")]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=source, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: ")
