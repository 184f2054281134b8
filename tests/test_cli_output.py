"""How commands take options as objects, and what they print: tables, one JSON document, or nothing; exit codes."""

from __future__ import annotations

import inspect
import json
import logging
import subprocess
import sys
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Literal

import pytest
import typer
from dicom_series import write_volume
from tiny_jssr import ball, tiny_recipe
from typer.testing import CliRunner

from jssr.api.evaluation import Measured
from jssr.cli import app
from jssr.cli.options import Options, arg, command, opt
from jssr.cli.session import Session
from jssr.core.transform import Affine
from jssr.evaluation.runner import Failure
from jssr.io.transforms import write_affine
from jssr.metrics.results import CaseResult


@dataclass(frozen=True, kw_only=True)
class Speed(Options):
    """How fast."""

    steps: int = opt(3, "How many.", min=1)
    kind: Literal["walk", "run"] | None = opt(None, "Of steps.")
    loud: bool = opt(False, "With noise.")


@dataclass(frozen=True, kw_only=True)
class Place(Options):
    """Where."""

    place: str = arg("Where to.")
    far: int = opt(MISSING, "How far.", "-f", "--distance")


def test_a_group_of_options_becomes_options_and_comes_back_as_an_object():
    seen = []

    @command
    def go(place: Place, speed: Speed) -> None:
        """Go somewhere."""
        seen.append((place, speed))

    assert list(inspect.signature(go).parameters) == ["place", "far", "steps", "kind", "loud"]
    program = typer.Typer()
    program.command()(go)
    runner = CliRunner()
    assert runner.invoke(program, ["home", "-f", "2", "--steps", "5", "--kind", "run", "--loud"]).exit_code == 0
    assert runner.invoke(program, ["home", "--distance", "1"]).exit_code == 0
    assert runner.invoke(program, ["home"]).exit_code == 2
    fast = Speed(steps=5, kind="run", loud=True)
    assert seen == [(Place(place="home", far=2), fast), (Place(place="home", far=1), Speed())]
    assert fast.given() == {"steps": 5, "kind": "run", "loud": True} and Speed().given() == {"steps": 3, "loud": False}
    assert runner.invoke(program, ["home", "-f", "1", "--steps", "0"]).exit_code == 2
    shown = runner.invoke(program, ["--help"]).output
    assert "Go somewhere." in shown and "How many." in shown and "--kind" in shown
    assert "--loud" in shown and "--no-loud" not in shown


def test_two_groups_with_one_name_are_refused():
    def go(first: Speed, second: Speed) -> None: ...

    with pytest.raises(TypeError, match="two options are called 'steps'"):
        command(go)


@pytest.fixture(scope="module")
def place(tmp_path_factory, cohort, weights):
    """What commands need: a transform, a result, a DICOM study, a recipe, a prepared cohort."""
    root = tmp_path_factory.mktemp("output")
    write_affine(Affine.identity(), root / "t.tfm")
    write_volume(root / "dicom" / "a", ball(), SeriesNumber=1, SeriesDescription="venous")
    words = ["register", *pair(cohort), "-o", root / "pair", "--checkpoint", weights, "--no-rigid", "--no-report"]
    call(words)
    recipe = tiny_recipe(patch=[16, 16, 16], checkpoint_every=0, picture_every=0, monitor_every=0)
    (root / "tiny.json").write_text(recipe.model_dump_json())
    call(["prepare", cohort, "-o", root / "ready", "--recipe", root / "tiny.json", "--workers", 1, "--no-rigid"])
    return root


def pair(cohort):
    return cohort / "c0" / "venous.nii.gz", cohort / "c0" / "arterial.nii.gz"


def call(words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output + result.stderr
    return result


def commands(place, cohort, weights, out: Path):
    """Each command that shows something, by name."""
    use = ("--checkpoint", weights)
    y, x = pair(cohort)
    labels = cohort / "c0" / "arterial_labels.nii.gz"
    return {
        "register": (y, x, "-o", out, "--no-rigid", *use),
        "align": (cohort / "c0", "-o", out, "--no-rigid", "--no-report", *use),
        "series": (place / "dicom",),
        "segment": (y, "-o", out / "organs.nii.gz", *use),
        "synthesise": (x, y, "-o", out / "made.nii.gz", "--no-rigid", *use),
        "warp": (labels, "--transform", place / "t.tfm", "--reference", y, "-o", out / "l.nii.gz"),
        "convert": (place / "t.tfm", "-o", out / "t.txt"),
        "check": (cohort,),
        "prepare": (cohort, "-o", out, "--recipe", place / "tiny.json", "--workers", 1, "--no-rigid"),
        "train": (place / "tiny.json", "--data", place / "ready", "-o", out, "--accelerator", "cpu"),
        "evaluate": (cohort, "-o", out, "--no-rigid", *use),
        "report": (place / "pair",),
        "info": (weights,),
    }


EXPECTED = {
    "register": "folds_percent", "align": "phases", "segment": "label_names", "synthesise": "written", "warp": "space",
    "convert": "written", "check": "ok", "prepare": "cases", "train": "weights", "evaluate": "results",
    "report": "written", "info": "system",
}  # fmt: skip
"""A key of each command's JSON; `series` gives a list."""


@pytest.mark.parametrize("name", ["series", *EXPECTED])
def test_json_is_one_document_and_quiet_is_silent(name, place, cohort, weights, tmp_path):
    words = commands(place, cohort, weights, tmp_path / "out")[name]
    data = json.loads(call([name, *words, "--json"]).stdout)
    assert data[0]["phase"] == "venous" if name == "series" else EXPECTED[name] in data
    if name != "train":  # it would refuse the folder now
        assert call([name, *words, "--quiet"]).stdout == ""


def test_json_of_a_result_is_the_file(place, cohort, weights, tmp_path):
    words = commands(place, cohort, weights, tmp_path / "out")["register"]
    shown = json.loads(call(["register", *words, "--json"]).stdout)
    assert shown == json.loads((tmp_path / "out" / "result.json").read_text())


def test_json_of_a_benchmark_and_its_failures(tmp_path, monkeypatch):
    row = CaseResult("c0", "arterial", "rigid", {"tre": float("nan")})
    done = Measured(tmp_path, [row], [], failed=[Failure("greedy", "c1", "arterial", "crashed")])
    monkeypatch.setattr("jssr.api.evaluation.benchmark", lambda *args, **options: done)
    result = call(["benchmark", tmp_path, "-o", tmp_path, "--run", "jssr", "--json"])
    data = json.loads(result.stdout)
    assert data["results"][0]["values"] == {"tre": None} and data["failed"][0]["reason"] == "crashed"
    assert "warning: greedy failed on c1, arterial: crashed" in result.stderr


def test_warnings_stay_on_stderr(cohort, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("jssr.registration.model.Model.doubt", lambda *args: "looks like MR")
    words = ("segment", pair(cohort)[0], "-o", tmp_path / "o.nii.gz", "--checkpoint", weights, "--quiet")
    result = call(words)
    assert result.stdout == "" and result.stderr == "warning: looks like MR\n"


def test_exit_codes_are_as_documented(place, cohort, tmp_path):
    assert "exit codes" in call(["--help"]).stdout.lower()
    page = (Path(__file__).parents[1] / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    assert all(f"| {code} |" in page for code in (0, 1, 2, 3, 130))
    call(["info", tmp_path / "none.safetensors"], code=1)
    call(["info", "--nonsense"], code=2)
    call(["align", cohort / "c0", "-o", tmp_path / "o", "--phase", "nothing"], code=2)


def test_the_modality_of_a_phase_is_an_option(cohort, weights, tmp_path):
    words = ("align", cohort / "c0", "-o", tmp_path / "o", "--checkpoint", weights, "--no-rigid", "--no-report")
    call([*words, "--modality", "arterial=mr"])
    moving = json.loads((tmp_path / "o" / "arterial" / "result.json").read_text())["moving"]
    assert moving["modality"] == "mr" and moving["modality_from"] == "option"
    assert "expected ct, mr, us or radiograph" in call([*words, "--modality", "arterial=pet"], code=2).stderr
    assert "did you mean 'arterial'" in call([*words, "--modality", "arteriel=mr"], code=1).stderr


def test_lightnings_notes_are_for_verbose_alone():
    notes = logging.getLogger("lightning_fabric.utilities.rank_zero")
    Session()
    assert not notes.isEnabledFor(logging.INFO)
    Session(verbose=True)
    assert notes.isEnabledFor(logging.INFO)
    Session()


def test_sigterm_ends_as_cleanly_as_ctrl_c():
    code = (
        "import os, signal, jssr.cli as c\n"
        "c.keep_freed_memory = lambda: os.kill(os.getpid(), signal.SIGTERM)\n"
        "c.main(['info'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 143 and done.stderr.startswith("error: ended by SIGTERM")
