"""What stands behind the rows of a benchmark: whose numbers they are, how they were made, what failed."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import ORACLE, run, table
from tiny_jssr import tiny_recipe

from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.errors import WorkerError
from jssr.evaluation import methods, runner
from jssr.io.cohort import Case, Cohort
from jssr.io.images import write_image
from jssr.peers import PEERS
from jssr.recipes.load import build_system
from jssr.recipes.weights import save_weights

pytestmark = pytest.mark.usefixtures("few_steps")


def test_another_cohort_does_not_mix_in(cohort, tools, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(cohort, mine)
    words = ("-o", tmp_path / "o", "--split", "test", "--tool", "oracle")
    run("benchmark", mine, *words)
    os.utime(mine / "c1" / "arterial.nii.gz")  # a copy has another time
    run("benchmark", mine, *words)
    shutil.copy(mine / "c1" / "venous.nii.gz", mine / "c1" / "arterial.nii.gz")
    assert "c1.json: holds results that differ in scans" in run("benchmark", mine, *words, code=1).stderr
    other = run("benchmark", mine, "-o", tmp_path / "o", "--split", "all", "--tool", "oracle", code=1).stderr
    assert "holds results that differ in split" in other
    (tmp_path / "o" / "benchmark.json").write_text("{")  # nobody knows of what its numbers are
    assert "choose another folder" in run("benchmark", mine, *words, code=1).stderr


def test_a_pair_that_fails_is_left_out_told_and_tried_again(cohort, tools, tmp_path, monkeypatch):
    mine, out = tmp_path / "mine", tmp_path / "o"
    shutil.copytree(cohort, mine)
    bad = mine / "c1" / "arterial.nii.gz"
    good = bad.read_bytes()
    bad.write_bytes(b"no scan")

    def gives_up(fixed, moving, rigid, threads):
        raise RuntimeError("no | luck")

    monkeypatch.setitem(PEERS, "moody", replace(ORACLE, name="moody", run=gives_up))
    words = ("benchmark", mine, "-o", out, "--split", "all", "--tool", "oracle", "--tool", "moody")
    first = run(*words)
    assert "warning: oracle failed on c1, arterial" in first.stderr
    assert "warning: moody failed on c0, arterial: RuntimeError: no | luck" in first.stderr
    assert {case for _, case in table(out)} == {"c0"} and ("moody", "c0") not in table(out)
    told = (out / "tables.md").read_text()
    assert (
        "## What failed, and is in no mean" in told and r"| moody | c0 | arterial | RuntimeError: no \| luck |" in told
    )

    bad.write_bytes(good)  # mended: only what failed is done again, and other scans are no obstacle
    monkeypatch.setitem(PEERS, "moody", replace(ORACLE, name="moody"))
    was = (out / "cases" / "oracle" / "c0.json").stat().st_mtime_ns
    assert "failed" not in run(*words).stderr
    assert (out / "cases" / "oracle" / "c0.json").stat().st_mtime_ns == was
    assert {(m, c) for m, c in table(out)} >= {("moody", "c0"), ("moody", "c1"), ("oracle", "c1")}
    assert "What failed" not in (out / "tables.md").read_text()


def test_where_every_pair_fails_the_first_reason_is_the_error(cohort, tools, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(cohort, mine)
    for case in ("c0", "c1"):
        (mine / case / "arterial.nii.gz").write_bytes(b"no scan")
    said = run("benchmark", mine, "-o", tmp_path / "o", "--split", "all", "--tool", "discrete", code=1).stderr
    assert "no pair could be measured; the first: " in said and "arterial.nii.gz" in said


def test_the_tables_say_how_the_rows_were_made(cohort, weights, tools, tmp_path):
    out = tmp_path / "o"
    run("benchmark", cohort, "-o", out, "--split", "all", "--tool", "oracle", "--refined", weights, "--threads", 1)
    told = (out / "tables.md").read_text()
    checksum = methods.model_of(str(weights)).header["checksum"]
    assert f"| tiny + 20 | weights {checksum[:16]}, 20 steps of refinement | 1 threads, " in told
    assert "| oracle | knows | 1 threads, " in told and f"torch {torch.__version__}" in told
    assert "2 patients, 2 pairs." in told and "The smallest p that the test can give: 0.5 of 2 patients." in told


def test_a_cohort_without_truth_says_what_is_not_measured(cohort, tools, tmp_path):
    bare = Cohort.load(cohort)
    for case in bare.cases:
        case.labels.clear()
        case.landmarks.clear()
    shutil.copytree(cohort, tmp_path / "bare")
    bare.save(tmp_path / "bare")
    run("benchmark", tmp_path / "bare", "-o", tmp_path / "o", "--split", "all", "--tool", "oracle")
    told = (tmp_path / "o" / "tables.md").read_text()
    assert "Not measured: overlap and distances" in told and "landmark error" in told and "Time (s)" in told


def test_radiographs_without_a_spacing_are_told_in_pixels(tools, tmp_path, monkeypatch):
    def still(fixed, moving, start, threads):
        return start

    monkeypatch.setitem(PEERS, "still", replace(ORACLE, name="still", run=still, dims=(2,)))
    picture = torch.zeros(1, 40, 40)
    picture[:, 10:30, 12:20] = 200.0
    visits = ("visit1", "visit2")
    case = Case(id="r", images={v: f"{v}.png" for v in visits}, labels={v: f"{v}_mask.png" for v in visits})
    for phase in visits:
        write_image(Volume(picture, Grid.of((40, 40)), name=phase), tmp_path / f"{phase}.png", np.uint8)
        write_image(Volume(picture > 0, Grid.of((40, 40)), "labels"), tmp_path / f"{phase}_mask.png", np.uint8)
    Cohort(name="films", reference_phase="visit1", cases=[case], label_names={1: "lungs"}, root=tmp_path).save()
    out = tmp_path / "o"
    assert (
        "pixels of the fixed one" in run("benchmark", tmp_path, "-o", out, "--split", "all", "--tool", "still").stdout
    )
    assert "what the tables call mm are pixels" in (out / "tables.md").read_text()


def test_a_process_that_crashes_fails_its_case_alone(cohort, tools, tmp_path, monkeypatch):
    calls = []

    def crashes(job, items, workers, apart=False):
        for case in items:
            calls.append((case.id, len(items)))
            if job.args[0].method.name == "oracle" and case.id == "c0":
                raise WorkerError("a worker ended")
            yield case, job(case)

    monkeypatch.setattr(runner, "in_processes", crashes)
    words = ("benchmark", cohort, "-o", tmp_path / "o", "--split", "all", "--tool", "oracle")
    assert "oracle failed on c0, arterial: its process ended" in run(*words).stderr
    assert {(m, c) for m, c in table(tmp_path / "o") if m == "oracle"} == {("oracle", "c1")}
    assert calls[-3:] == [("c0", 2), ("c0", 1), ("c1", 1)]


def test_a_row_is_measured_in_a_process_of_its_own(cohort, tmp_path, monkeypatch):
    own = runner.in_processes

    def rigid_apart(job, items, workers, apart=False):  # the other rows would start six processes more
        here = ((item, job(item)) for item in items)
        return own(job, items, workers, apart=apart) if job.args[0].method.name == "rigid" else here

    monkeypatch.setattr(runner, "in_processes", rigid_apart)
    run("benchmark", cohort, "-o", tmp_path / "o", "--split", "all", "--tool", "discrete", "--workers", 2)
    made = json.loads((tmp_path / "o" / "cases" / "rigid" / "c0.json").read_text())["result"]["measured"]
    assert (made["processes"], made["threads"]) == (2, 1)
    assert {case for method, case in table(tmp_path / "o") if method == "rigid"} == {"c0", "c1"}


def test_numbers_that_nobody_described_are_not_adopted(cohort, tools, tmp_path):
    words = ("benchmark", cohort, "-o", tmp_path / "o", "--split", "test", "--tool", "oracle")
    run(*words)
    (tmp_path / "o" / "cases" / "oracle" / "c1.json").write_text("{")
    assert "c1.json: is damaged; delete it" in run(*words, code=1).stderr
    shutil.rmtree(tmp_path / "o" / "cases" / "oracle")
    (tmp_path / "o" / "benchmark.json").write_text("{")
    assert "choose another folder" in run(*words, code=1).stderr


def test_weights_that_change_while_a_benchmark_runs_end_it(cohort, weights, tools, tmp_path, monkeypatch):
    mine = tmp_path / "mine" / "tiny.safetensors"
    mine.parent.mkdir()
    shutil.copy(weights, mine)
    real = runner._all_done

    def train_then_run(job, todo, options):
        if job.method.name == "tiny":
            torch.manual_seed(77)
            save_weights(mine, build_system(tiny_recipe()), tiny_recipe())
            methods.model_of.cache_clear()  # as in a process of its own
        return real(job, todo, options)

    monkeypatch.setattr(runner, "_all_done", train_then_run)
    said = run("benchmark", cohort, "-o", tmp_path / "o", "--split", "test", "--run", mine, code=1).stderr
    assert "weights of tiny changed while this ran" in said


def test_a_replaced_scan_gets_a_rigid_alignment_of_its_own(cohort, tools, tmp_path):
    mine, out = tmp_path / "mine", tmp_path / "o"
    shutil.copytree(cohort, mine)
    labels = mine / "c1" / "arterial_labels.nii.gz"
    good = labels.read_bytes()
    labels.write_bytes(b"no labels")  # found rigidly, and not measured
    words = ("benchmark", mine, "-o", out, "--split", "all", "--tool", "oracle")
    run(*words)
    file = out / "rigid" / "c1_arterial.json"
    old = json.loads(file.read_text())
    old["result"]["transform"][0][3] = 50.0  # what the scan that was here before may have had
    file.write_text(json.dumps(old))
    labels.write_bytes(good)
    shutil.copy(mine / "c0" / "arterial.nii.gz", mine / "c1" / "arterial.nii.gz")
    run(*words)
    assert abs(json.loads(file.read_text())["result"]["transform"][0][3]) < 20


def test_a_damaged_rigid_alignment_is_found_anew(cohort, tools, tmp_path):
    words = ("benchmark", cohort, "-o", tmp_path / "o", "--split", "test", "--tool", "oracle")
    run(*words)
    file = tmp_path / "o" / "rigid" / "c1_arterial.json"
    good = json.loads(file.read_text())["result"]["transform"]
    for damage in ("", "[]", '{"result": {}}', json.dumps({"result": {"transform": [[0.0] * 4] * 4, "warnings": []}})):
        file.write_text(damage)
        assert "failed" not in run(*words, "--tool", "discrete").stderr
        shutil.rmtree(tmp_path / "o" / "cases" / "discrete")
        assert np.allclose(json.loads(file.read_text())["result"]["transform"], good, atol=1e-3), damage


def test_a_rigid_alignment_of_an_earlier_version_is_found_anew(cohort, tools, tmp_path):
    words = ("benchmark", cohort, "-o", tmp_path / "o", "--split", "test", "--tool", "oracle")
    run(*words)
    file = tmp_path / "o" / "rigid" / "c1_arterial.json"
    now = json.loads(file.read_text())
    old = {**now, "key": {"scans": now["key"]["scans"]}, "result": {"transform": now["result"]["transform"]}}
    file.write_text(json.dumps(old))  # without what is kept today
    assert "failed" not in run(*words, "--tool", "discrete").stderr
    assert json.loads(file.read_text())["key"] == now["key"]


def test_numbers_of_other_weights_are_not_shown_as_a_runs_own(cohort, weights, tools, tmp_path):
    mine = tmp_path / "mine" / "tiny.safetensors"
    mine.parent.mkdir()
    shutil.copy(weights, mine)
    words = ("benchmark", cohort, "-o", tmp_path / "o", "--split", "test")
    run(*words, "--run", mine, "--synthesis", mine)
    torch.manual_seed(77)
    save_weights(mine, build_system(tiny_recipe()), tiny_recipe())
    methods.model_of.cache_clear()
    assert "differ in weights" in run(*words, "--run", mine, code=1).stderr
    assert "differ in weights" in run(*words, "--synthesis", mine, code=1).stderr
