"""The command line: what the commands do, in one process and with tiny scans."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_jssr import ball, ball_labels, tiny_recipe
from typer.testing import CliRunner

import jssr
from jssr.cli import app
from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.core.volume import Points
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_image, write_image
from jssr.io.points import read_points
from jssr.io.transforms import write_affine

COMMANDS = (
    "demo", "phantom", "check", "prepare", "train", "register", "align", "segment", "synthesise", "warp", "evaluate",
    "benchmark", "report", "info",
)  # fmt: skip


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    assert f"Example: jssr {command}" in run(command, "--help").output


def test_the_program_itself_needs_no_torch_for_help():
    # The one test in a process of its own: the entry point, its exit code, and how little it imports.
    code = "import sys; from jssr.cli import main\ntry: main(['--help'])\nfinally: print('torch' in sys.modules)"
    source = str(Path(jssr.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": source}
    )
    assert done.returncode == 0 and done.stdout.strip().endswith("False") and "register" in done.stdout


def test_register_and_report(cohort, weights, tmp_path):
    case = cohort / "c0"
    labels = ("--fixed-labels", case / "venous_labels.nii.gz", "--moving-labels", case / "arterial_labels.nii.gz")
    run("register", case / "venous.nii.gz", case / "arterial.nii.gz", "-o", tmp_path / "out", "--checkpoint", weights,
        "--no-rigid", *labels)  # fmt: skip
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert 0 < result["dice"]["labels"]["initial"]["liver"] < 1
    (tmp_path / "out" / "report.html").unlink()
    run("report", tmp_path / "out")
    assert "arterial.nii.gz" in (tmp_path / "out" / "report.html").read_text()


def test_align_measures_what_lies_beside_the_scans(cohort, weights, tmp_path):
    shown = run(
        "align", cohort / "c0", "-o", tmp_path / "out", "--checkpoint", weights, "--no-rigid", "--no-report"
    ).output
    assert "arterial" in shown and "TRE" in shown and "liver" in shown
    assert (tmp_path / "out" / "arterial" / "displacement.nii.gz").is_file()
    table = (tmp_path / "out" / "results.csv").read_text()
    assert "study" not in table and "c0,arterial,initial,,tre,6.0" in table


def test_segment_and_synthesise(cohort, weights, tmp_path):
    y, x = cohort / "c0" / "venous.nii.gz", cohort / "c0" / "arterial.nii.gz"
    run("segment", y, "-o", tmp_path / "organs.nii.gz", "--checkpoint", weights)
    assert read_image(tmp_path / "organs.nii.gz", "labels").grid.same_as(read_image(y).grid)
    run("synthesise", x, y, "-o", tmp_path / "folder", "--checkpoint", weights, "--no-rigid")
    assert read_image(tmp_path / "folder" / "synthesised.nii.gz").grid.same_as(read_image(y).grid)


def test_evaluate_takes_the_system_that_register_takes(cohort, tmp_path):
    words = ("-o", tmp_path / "e", "--split", "test", "--refine", 0)
    assert "system: discrete" in run("evaluate", cohort, *words).stdout
    assert json.loads((tmp_path / "e" / "evaluation.json").read_text())["system"] == "discrete"


def test_evaluate_takes_another_descriptor_and_does_not_mix_it_with_the_first(cohort, tmp_path):
    words = ("evaluate", cohort, "-o", tmp_path / "e", "--split", "test", "--system", "discrete", "--refine", 0)
    run(*words)
    assert "differ in descriptor" in run(*words, "--descriptor", "macmind", code=1).stderr
    run(*words[:2], "-o", tmp_path / "m", *words[4:], "--descriptor", "macmind")
    first, second = (
        [
            row.split(",")[-1]
            for row in (tmp_path / folder / "results.csv").read_text().splitlines()
            if ",discrete," in row
        ]
        for folder in "em"
    )
    assert len(first) == len(second) > 0 and first != second


def test_evaluate_of_the_rigid_step_alone_has_its_row_once(cohort, tmp_path):
    run("evaluate", cohort, "-o", tmp_path / "e", "--split", "test", "--system", "rigid")
    rows = [line.split(",") for line in (tmp_path / "e" / "results.csv").read_text().splitlines()[1:]]
    assert {row[2] for row in rows} == {"initial", "rigid"}
    assert len({tuple(row[:5]) for row in rows}) == len(rows)


def test_evaluate_writes_tables_and_resumes(cohort, weights, tmp_path):
    words = ("evaluate", cohort, "-o", tmp_path / "out", "--split", "test", "--checkpoint", weights, "--no-rigid")
    run(*words)
    table = (tmp_path / "out" / "results.csv").read_text()
    for row in ("c1,arterial,initial,,tre,4.0", "c1,arterial,tiny,,folds", "c1,arterial,segmentor,liver,dice",
                'c1,arterial,"segmentor, synthesised",liver,dice', "c1,venous,segmentor,liver,dice"):  # fmt: skip
        assert row in table
    assert "initial" in (tmp_path / "out" / "tables.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "tiny on balls, test" in page and "c1, arterial: fixed, moving, moved" in page
    # A case that is done is not done again.
    case = tmp_path / "out" / "cases" / "tiny" / "c1.json"
    case.write_text(case.read_text().replace('"tre": 4.0', '"tre": 5.0'))
    run(*words)
    assert "c1,arterial,initial,,tre,5.0" in (tmp_path / "out" / "results.csv").read_text()
    (tmp_path / "out" / "report.html").unlink()
    run("report", tmp_path / "out")
    assert "initial" in (tmp_path / "out" / "report.html").read_text()
    assert "differ in refine" in run(*words, "--refine", "3", code=1).stderr


def test_warp_images_labels_and_points(cohort, tmp_path):
    shift = np.eye(4)
    shift[:3, 3] = (6.0, 0.0, 0.0)
    write_affine(Affine(shift), tmp_path / "t.tfm")
    case = cohort / "c0"
    moving, fixed = case / "arterial_labels.nii.gz", case / "venous_labels.nii.gz"
    # T(p) = p + 6 takes the fixed ball to the moving one: the moving labels, pulled, are the fixed ones.
    run("warp", moving, "--transform", tmp_path / "t.tfm", "-o", tmp_path / "l.nii.gz", "--reference", fixed)
    moved, goal = read_image(tmp_path / "l.nii.gz", "labels"), read_image(fixed, "labels")
    assert (moved.data != goal.data).float().mean() < 0.005
    run(
        "warp",
        fixed,
        "--transform",
        tmp_path / "t.tfm",
        "-o",
        tmp_path / "m.nii.gz",
        "--reference",
        moving,
        "--to",
        "moving",
    )
    assert (
        read_image(tmp_path / "m.nii.gz", "labels").data != read_image(moving, "labels").data
    ).float().mean() < 0.005
    for to, source, x in (("moving", "venous", 6.0), ("fixed", "arterial", 0.0)):
        run(
            "warp",
            case / f"{source}_landmarks.csv",
            "--transform",
            tmp_path / "t.tfm",
            "-o",
            tmp_path / "p.csv",
            "--to",
            to,
        )
        assert np.allclose(read_points(tmp_path / "p.csv").xyz, [[x, 0, 0], [x, 8, 0]], atol=1e-3)
    assert (
        "needs --reference"
        in run("warp", moving, "--transform", tmp_path / "t.tfm", "-o", tmp_path / "q.nii.gz", code=1).stderr
    )


def test_check_and_prepare_and_train(cohort, tmp_path):
    assert "0 errors" in run("check", cohort).output
    words = ("check", cohort, "--recipe", "macjnet-compact", "--set", "preprocessing.moving=arterial")
    run(*words)
    run(*words, "--set", "training.labelled=0", code=1)
    more = ("--set", 'network.structures=["liver","aorta"]')
    assert "label_names lacks aorta" in run(*words, *more, code=1).output  # one of its structures is not here
    assert "cannot be built" in run(*words, "--set", "training.patch=[2,2,2]", code=1).stderr
    assert "no case has a phase t1" in run(*words[:-2], code=1).stderr
    recipe = tmp_path / "tiny.json"
    recipe.write_text(
        tiny_recipe(patch=[32, 32, 16], checkpoint_every=0, picture_every=0, monitor_every=0).model_dump_json()
    )
    run("prepare", cohort, "-o", tmp_path / "ready", "--recipe", recipe, "--workers", "1", "--no-rigid")
    run("train", recipe, "--data", tmp_path / "ready", "-o", tmp_path / "run", "--set", "training.stages.align.steps=2",
        "--accelerator", "cpu")  # fmt: skip
    again = run("train", recipe, "--data", tmp_path / "ready", "-o", tmp_path / "more", "--set",
                "training.stages.align.steps=1", "--accelerator", "cpu",
                *("--start-from", tmp_path / "run") * 2).output  # fmt: skip
    assert again.count("begin with the weights of") == 2
    onward = run("train", recipe, "--data", tmp_path / "ready", "-o", tmp_path / "more", "--resume", "--start-from",
                 tmp_path / "nowhere", "--accelerator", "cpu").output  # fmt: skip
    assert "continues from its own state" in " ".join(onward.split()) and "begin with the weights" not in onward
    told = json.loads(run("info", tmp_path / "more", "--json").output)["data"]["started from"]
    assert told == [str(tmp_path / "run")] * 2
    assert "run jssr prepare" in run("train", recipe, "--data", tmp_path / "ready", "-o", tmp_path / "other", "--set",
                                     "preprocessing.spacing=[3,4,4]", code=1).stderr  # fmt: skip
    scan = read_image(tmp_path / "ready" / "c1" / "arterial.nii.gz")
    affine = scan.grid.affine.copy()
    affine[0, 3] += 8  # the same shape and spacing, elsewhere
    write_image(replace(scan, grid=Grid(scan.grid.shape, affine)), Path(scan.name), np.int16)
    assert (
        "lies on another grid than the case's venous scan; run jssr prepare"
        in run("train", recipe, "--data", tmp_path / "ready", "-o", tmp_path / "other", code=1).stderr
    )
    write_image(scan, Path(scan.name), np.int16)
    labels = read_image(tmp_path / "ready" / "c1" / "arterial_labels.nii.gz")
    write_image(replace(labels, grid=Grid(scan.grid.shape, affine)), Path(labels.name), np.uint8)
    assert (
        "arterial_labels.nii.gz: lies on another grid than its image"
        in run("train", recipe, "--data", tmp_path / "ready", "-o", tmp_path / "other", code=1).stderr
    )
    shown = run("info", tmp_path / "run" / "weights.safetensors").output
    assert "tiny" in shown and "liver, spleen" in shown
    assert json.loads(run("info", tmp_path / "run", "--json").output)["system"] == "jssr"
    assert "spacing (mm)" in shown and "pixels a side" not in shown
    flat = run("info", "jrsnet").output
    assert "pixels a side" in flat and "spacing (mm)" not in flat


@pytest.mark.parametrize("shape", [["20", "18", "10"], ["20,18,10"]])
def test_phantom_hands_its_options_on(shape, tmp_path, monkeypatch):
    # The patients themselves take seconds and are tested with the phantom.
    made, more = {}, {}

    def write(out, patients, seed, *, population, phases, workers, on_study, paired, anatomy, shape=None):
        made.update(out=out, patients=patients, seed=seed, population=population, shape=shape, phases=phases)
        more.update(paired=paired, anatomy=anatomy)
        case = Case(id="p0001", images={"venous": "v.nii.gz"})
        return Cohort(name="c", reference_phase="venous", cases=[case], root=tmp_path)

    monkeypatch.setattr("jssr.phantom.writer.write_cohort", write)
    shown = run("phantom", tmp_path, "--patients", "3", "--seed", "5", "--shape", *shape, "--phases", "t1, venous")
    assert "1 patients" in shown.output
    assert made == {"out": tmp_path, "patients": 3, "seed": 5, "population": "target", "shape": (20, 18, 10),
                    "phases": ("t1", "venous")}  # fmt: skip
    assert more == {"paired": False, "anatomy": "abdomen"}
    run("phantom", tmp_path, "--patients", "1", "--anatomy", "pelvis", "--phases", "ct,t2", "--paired")
    assert more == {"paired": True, "anatomy": "pelvis"}
    assert (made["shape"], made["phases"]) == (None, ("ct", "t2"))  # the anatomy's own shape
    assert (
        "unknown phase 'venous'" in run("phantom", tmp_path, "--anatomy", "pelvis", "--phases", "venous", code=1).stderr
    )


def test_phantom_from_a_real_ct_reads_the_names_of_its_organs(cohort, tmp_path, monkeypatch):
    made = {}

    def write(out, ct, labels, names, studies, seed, phases, *, workers, on_study):
        made.update(names=names, studies=studies, phases=phases)
        return Cohort.load(cohort)

    monkeypatch.setattr("jssr.phantom.recolour.write_recoloured", write)
    (tmp_path / "names.json").write_text('{"1": "liver"}')
    case = cohort / "c0"
    run("phantom", tmp_path / "out", "--from", case / "venous.nii.gz", case / "venous_labels.nii.gz", "--patients", "2",
        "--names", tmp_path / "names.json")  # fmt: skip
    assert made == {"names": {1: "liver"}, "studies": 2, "phases": ("non-contrast", "arterial", "venous", "delay")}


def test_demo_prints_the_table_and_writes_the_report(weights, cohort, tmp_path, monkeypatch):
    from jssr.phantom.study import Study

    images = {"venous": ball(), "arterial": ball((6, 0, 0))}
    labels = {"venous": ball_labels(), "arterial": ball_labels((6, 0, 0))}
    points = {p: Points(np.array([[x, 0.0, 0]]), ("a",)) for p, x in (("venous", 0.0), ("arterial", 6.0))}
    patient = Study("p0001", "venous", images, labels, points, {}, {1: "liver", 16: "liver_tumour"})
    monkeypatch.setattr("jssr.phantom.study.make_study", lambda seed, index: patient)
    shown = run("demo", "-o", tmp_path / "demo", "--checkpoint", weights).output
    assert "arterial" in shown and re.search(r"TRE \(mm\)\W+6\.00\b", shown)
    assert (tmp_path / "demo" / "report.html").is_file() and (tmp_path / "demo" / "p0001" / "venous.nii.gz").is_file()
    run("demo", "-o", tmp_path / "shipped")  # without a choice: what segments and synthesises
    result = json.loads((tmp_path / "shipped" / "arterial" / "result.json").read_text())
    assert result["system"] == "jssr" and result["weights"]["file"] == "shipped jssr-compact.safetensors"
    assert (tmp_path / "shipped" / "arterial" / "synthesised.nii.gz").is_file()


def test_warp_takes_an_empty_label_map(tmp_path):
    labels = ball_labels()
    write_image(labels.with_data(labels.data * 0), tmp_path / "none.nii.gz")
    write_affine(Affine.identity(), tmp_path / "t.tfm")
    run("warp", tmp_path / "none.nii.gz", "--transform", tmp_path / "t.tfm", "--reference", tmp_path / "none.nii.gz",
        "-o", tmp_path / "moved.nii.gz")  # fmt: skip
    assert read_image(tmp_path / "moved.nii.gz", "labels").array.max() == 0


def test_segment_writes_the_names_of_its_labels(weights, tmp_path):
    write_image(ball(), tmp_path / "scan.nii.gz", np.int16)
    run("segment", tmp_path / "scan.nii.gz", "--checkpoint", weights, "-o", tmp_path / "organs.nii.gz")
    assert json.loads((tmp_path / "organs.json").read_text()) == {"1": "liver", "2": "spleen"}
    said = run("segment", tmp_path / "scan.nii.gz", "--checkpoint", weights, "-o", tmp_path / "o.nii.gz", "--json")
    labels = read_image(tmp_path / "organs.nii.gz", "labels")
    voxel = np.prod(labels.grid.spacing) / 1000
    sizes = {name: float((labels.array == v).sum() * voxel) for v, name in ((1, "liver"), (2, "spleen"))}
    found = json.loads(said.stdout)["sizes"]
    assert found == {name: pytest.approx(size, abs=0.06) for name, size in sizes.items() if size}


MEMORY = """
import subprocess, sys
import numpy as np
from jssr.cli.memory import keep_freed_memory

def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1024

kept = sys.argv[1] == "keep" and keep_freed_memory()
before = held()
array = np.ones(2**24)  # 128 MiB
del array
print(held() - before)
if kept:  # a worker inherits it
    print(subprocess.run([sys.executable, __file__, "inherit"], capture_output=True, text=True).stdout)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of the GNU C library")
def test_freed_memory_is_kept_here_and_in_workers(tmp_path):
    (tmp_path / "memory.py").write_text(MEMORY)
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    env["PYTHONPATH"] = str(Path(jssr.__file__).parents[1])

    def held(how):
        run = subprocess.run(
            [sys.executable, tmp_path / "memory.py", how], check=True, capture_output=True, text=True, env=env
        )
        return [float(word) for word in run.stdout.split()]

    assert held("plain")[0] < 20
    assert len(kept := held("keep")) == 2 and min(kept) > 100


def test_a_system_without_training_is_not_trained(cohort, tmp_path):
    said = run("train", "discrete", "--data", cohort, "-o", tmp_path / "run", code=1)
    assert "has nothing to train" in said.stderr and not (tmp_path / "run").exists()
