"""Small commands start without torch, and `jssr register` reads its scans before torch is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_series import write_volume

import jssr
from jssr.core.transform import Affine, Displacement
from jssr.io.images import read_grid, read_image
from jssr.io.transforms import write_affine, write_displacement

HEAVY = ("torch", "matplotlib", "scipy", "monai", "lightning_fabric", "itk", "sympy")
"""What takes long to import and none of these commands needs."""
RUN = """
import json, sys
from jssr.cli import main
try:
    main(sys.argv[2:])
except SystemExit as end:
    print(json.dumps([end.code or 0, [name for name in json.loads(sys.argv[1]) if name in sys.modules]]))
"""
FIRST = """
import os, sys
def opened(event, given):
    if event == "open" and str(given[0]) == sys.argv[1]:
        os.write(1, b"late" if "torch.nn" in sys.modules else b"early")
        os._exit(0)
sys.addaudithook(opened)
from jssr.cli import main
main(sys.argv[2:])
"""


def python(code: str, *words: object) -> str:
    """What a new process prints."""
    source = {**os.environ, "PYTHONPATH": str(Path(jssr.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, env=source, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def files(cohort, tmp_path_factory):
    """A field and an affine transform between the scans of a case, and a DICOM study whose phases are named."""
    out = tmp_path_factory.mktemp("start")
    fixed = cohort / "c0" / "venous.nii.gz"
    grid = read_grid(fixed)
    write_displacement(Displacement.from_millimetres(np.full((*grid.shape, 3), 1.5), grid), out / "even.nii.gz")
    wave = np.sin(np.arange(grid.shape[0]) / 3.0)[:, None, None, None] * np.ones((*grid.shape, 3))
    write_displacement(Displacement.from_millimetres(wave, grid), out / "field.nii.gz")
    matrix = np.eye(4)
    matrix[:3, 3] = 3, 0, -2
    write_affine(Affine(matrix), out / "affine.tfm")
    for number, phase in enumerate(("venous", "arterial"), start=1):
        scan = read_image(cohort / "c0" / f"{phase}.nii.gz")
        write_volume(out / "study" / phase, scan, SeriesDescription=phase, SeriesNumber=number)
    return {
        "OUT": out, "FIELD": out / "field.nii.gz", "EVEN": out / "even.nii.gz", "AFFINE": out / "affine.tfm",
        "STUDY": out / "study", "FIXED": fixed, "MOVING": cohort / "c0" / "arterial.nii.gz",
        "POINTS": cohort / "c0" / "venous_landmarks.csv",
    }  # fmt: skip


def words_of(line: str, files: dict[str, Path]) -> list[str]:
    """A command's words, with the files' names in place of theirs."""
    out = []
    for word in line.split():
        name, slash, rest = word.partition("/")
        out.append(f"{files[name]}{slash}{rest}" if name in files else word)
    return out


@pytest.mark.parametrize(
    "line",
    [
        "info",
        "info register-compact --json",
        "series STUDY",
        "convert FIELD -o OUT/field.h5",
        "convert EVEN -o OUT/even.tfm",
        "convert AFFINE -o OUT/back.tfm --inverse",
        "convert FIELD AFFINE -o OUT/both.nii.gz",
        "convert AFFINE -o OUT/affine.nii.gz --fixed FIXED",
        "convert AFFINE --to flirt --fixed FIXED --moving MOVING -o OUT/flirt.mat",
        "warp POINTS --transform FIELD --to moving -o OUT/there.csv",
        "warp POINTS --transform FIELD --to fixed -o OUT/back.fcsv",
    ],
)
def test_small_commands_need_no_torch(line, files):
    code, imported = json.loads(python(RUN, json.dumps(HEAVY), *words_of(line, files)).splitlines()[-1])
    assert (code, imported) == (0, [])


def test_the_check_sees_torch(files):
    line = "warp MOVING --transform FIELD -o OUT/moved.nii.gz --kind image"
    code, imported = json.loads(python(RUN, json.dumps(HEAVY), *words_of(line, files)).splitlines()[-1])
    assert code == 0 and imported == ["torch"]


@pytest.mark.parametrize("system", ["rigid", "discrete"])
def test_register_of_files_needs_no_scipy_dicom_or_plots(system, files):
    line = f"register FIXED MOVING -o OUT/plain --system {system} --threads 1"
    unused = ["nibabel", "pydicom", "highdicom", "requests", "matplotlib", "pandas", "itk", "lightning_fabric", "monai",
              "torchmetrics", "torch._dynamo", "sympy", "scipy"]  # fmt: skip
    code, imported = json.loads(python(RUN, json.dumps(unused), *words_of(line, files)).splitlines()[-1])
    assert (code, imported) == (0, [])
    assert (files["OUT"] / "plain" / "report.html").is_file()


def test_register_reads_its_scans_while_torch_is_imported(files):
    line = "register FIXED MOVING -o OUT/pair --system rigid --threads 1"
    assert python(FIRST, files["FIXED"], *words_of(line, files)) == "early"
