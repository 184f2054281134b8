"""The core alone registers, segments, warps and converts; what needs an extra names the command that installs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from core_only import EXTRAS
from dicom_series import write_volume

import jssr
from jssr.errors import MissingExtraError, requires
from jssr.io.images import read_image

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def commands(cohort, weights, tmp_path_factory):
    """Commands by name, each with its exit code and its words, in a process without any extra."""
    out = tmp_path_factory.mktemp("core")
    case = cohort / "c0"
    write_volume(out / "series", read_image(case / "venous.nii.gz"))
    (out / "names.json").write_text('{"1": "liver", "2": "spleen"}')
    y, x = str(case / "venous.nii.gz"), str(case / "arterial.nii.gz")
    use = ["--checkpoint", str(weights)]
    field = str(out / "pair" / "displacement.nii.gz")
    words = {
        "help": ["--help"],
        "register": ["register", y, x, "-o", str(out / "pair"), *use],
        "align": ["align", str(case), "-o", str(out / "study"), *use, "--no-report"],
        "segment": ["segment", y, "-o", str(out / "organs.nii.gz"), *use],
        "warp": ["warp", x, "--transform", field, "--reference", y, "-o", str(out / "warped.nii.gz")],
        "convert": ["convert", field, "-o", str(out / "found.nrrd")],
        "dicom": ["segment", str(out / "series"), "-o", str(out / "no.nii.gz"), *use],
        "train": ["train", "jssr-compact", "--data", str(cohort), "-o", str(out / "run")],
        "viewer": ["view", str(out / "pair"), "--no-browser"],
        "phantom": ["phantom", str(out / "real"), "--from", y, str(case / "venous_labels.nii.gz"),
                    "--names", str(out / "names.json"), "--patients", "1"],
        "benchmark": ["benchmark", str(cohort), "--tool", "greedy", "-o", str(out / "table")],
        "cohort": ["align", str(cohort), "-o", str(out / "many"), *use],
        "x5": ["convert", field, "-o", str(out / "found.x5"), "--to", "x5"],
    }  # fmt: skip
    source = os.pathsep.join([str(Path(jssr.__file__).parents[1]), str(ROOT / "tests" / "support")])
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "core_only.py"), json.dumps(list(words.values()))],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(words, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("name", ["help", "register", "align", "segment", "warp", "convert"])
def test_core_commands_work_without_any_extra(commands, name):
    code, said = commands[name]
    assert code == 0, said


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_extra_is_told_with_its_command(commands, extra):
    code, said = commands[extra]
    assert code != 0
    assert f"pip install 'jssr[{extra}]' (in a clone: pip install '.[{extra}]')" in " ".join(said.split()), said


def test_a_missing_package_is_named():
    requires("dicom", "json")
    with pytest.raises(MissingExtraError, match=r"no_such_thing is not installed: pip install 'jssr\[dicom\]'"):
        requires("dicom", "json", "no_such_thing")


def test_the_core_has_few_dependencies_and_every_extra_is_declared():
    assert len(PROJECT["dependencies"]) <= 13  # the 13th, isal, has none of its own and saves a second a pair
    assert set(EXTRAS) | {"all"} <= set(PROJECT["optional-dependencies"])
    source = "\n".join(p.read_text() for p in (ROOT / "src" / "jssr").rglob("*.py"))
    used = set(re.findall(r'requires\("(\w+)"', source))
    assert used == set(EXTRAS)
