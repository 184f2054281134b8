"""`jssr benchmark`: methods, table 1, table 2, resuming, what is refused."""

import csv
import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle import run, table
from processes_jobs import ended, process
from tiny_jssr import tiny_recipe

from jssr.core.processes import in_processes
from jssr.core.transform import Affine
from jssr.errors import CheckpointError, JssrError
from jssr.evaluation import alignment, methods
from jssr.evaluation.benchmark import BenchmarkOptions, benchmark
from jssr.io.cohort import Cohort
from jssr.io.images import read_image
from jssr.losses.descriptors import DESCRIPTORS
from jssr.metrics.pair import evaluate_pair
from jssr.recipes.config import Stage
from jssr.recipes.load import build_system
from jssr.recipes.project import recipe_of_file
from jssr.recipes.weights import save_weights
from jssr.registration.model import load_model
from jssr.report.tables import read_csv
from jssr.systems.base import System

pytestmark = pytest.mark.usefixtures("here", "few_steps")


def test_every_row_is_measured_alike_and_a_second_run_adds_to_the_first(cohort, weights, tools, tmp_path, monkeypatch):
    out = tmp_path / "out"
    words = ["benchmark", cohort, "-o", out, "--split", "all", "--tool", "oracle"]
    run(*words)
    first = table(out)
    assert [method for method, case in first if case == "c0"] == ["initial", "rigid", "oracle"]
    assert first["oracle", "c0"].values["dice/liver"] > 0.9 > first["initial", "c0"].values["dice/liver"]
    assert first["initial", "c0"].values["tre"] == pytest.approx(6.0, abs=0.01)
    assert first["oracle", "c0"].values["tre"] < 0.3
    assert first["oracle", "c0"].seconds > 0 and first["oracle", "c0"].values["folds"] == 0
    matrix = np.array(json.loads((out / "rigid" / "c0_arterial.json").read_text())["result"]["transform"])
    assert matrix.shape == (4, 4)

    was = (out / "cases" / "oracle" / "c0.json").stat().st_mtime_ns
    run(*words, "--run", weights, "--refined", weights, "--refine", 2, "--tool", "discrete", "--against", "oracle")
    second = table(out)
    assert (out / "cases" / "oracle" / "c0.json").stat().st_mtime_ns == was  # not done again
    assert {m for m, _ in second} == {"initial", "rigid", "tiny", "tiny + 2", "discrete", "oracle"}
    assert second["discrete", "c1"].seconds > second["rigid", "c1"].seconds > 0
    told = (out / "tables.md").read_text()
    assert "## Table 1" in told and "minus oracle" in told and "## Table 2" not in told
    assert "| pairs worse than rigid | Dice, liver | Dice, mean | TRE |" in told and "| discrete |" in told
    for name in ("figure4.png", "figure5_arterial.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_structures_and_similarities_have_tables_where_asked_for(cohort, tools, tmp_path):
    words = ["benchmark", cohort, "-o", tmp_path / "o", "--split", "test", "--tool", "oracle", "--similarity"]
    run(*words, "--structure", "liver")
    found = table(tmp_path / "o")
    before, after = (next(r for (m, _), r in found.items() if m == name) for name in ("initial", "oracle"))
    case = next(c for c in Cohort.load(cohort).cases if c.split == "test")
    y, x = (read_image(cohort / case.images[phase]) for phase in ("venous", "arterial"))
    alike = evaluate_pair(images=alignment.images_of(y, x, Affine.identity()))
    assert (before.values["mi"], before.values["ssim"]) == pytest.approx((alike["mi"], alike["ssim"]), abs=1e-6)
    itself = evaluate_pair(images=alignment.images_of(y, y, Affine.identity()))
    assert itself["ssim"] == pytest.approx(1) and itself["mi"] > alike["mi"]
    assert before.values["centre/liver"] > 3 > 1 > after.values["centre/liver"]
    told = (tmp_path / "o" / "tables.md").read_text()
    assert all(title in told for title in ("Centres apart (mm)", "MI (nats)", "SSIM (%)"))
    assert "did you mean 'liver'?" in run(*words, "--structure", "livre", code=1).stderr


def test_discrete_competes_with_several_descriptors():
    rows = methods.methods_of(peers=["discrete", "discrete:macmind"])[2:]
    assert [one.name for one in rows] == ["discrete", "discrete:macmind"]
    assert [methods.model_of(one.source).system.describe for one in rows] == [
        DESCRIPTORS["mind-ssc"],
        DESCRIPTORS["macmind"],
    ]
    with pytest.raises(JssrError, match="no descriptor 'mac'; there are mind-ssc, mind, macmind"):
        methods.methods_of(peers=["discrete:mac"])
    with pytest.raises(JssrError, match="macMIND describes 3D images"):
        methods.check_methods(rows, 2)


def test_discrete_competes_with_a_preset(cohort, monkeypatch):
    row = methods.methods_of(peers=["discrete:ct-lung"])[-1]
    assert row.identity()["preset"] == {"system": "discrete", "similarity": "lncc", "sliding": True}
    seen = []

    def solve(*given, settings, **more):
        seen.append(settings)
        return real(*given, settings=settings, **more)

    real = methods.solve
    monkeypatch.setattr(methods, "solve", solve)
    y, x = (read_image(cohort / "c0" / f"{phase}.nii.gz") for phase in ("venous", "arterial"))
    row.align(alignment.Scans(y, x))
    assert (seen[0].similarity, seen[0].sliding) == ("lncc", True)
    with pytest.raises(JssrError, match="preset xray: is for radiograph"):
        methods.methods_of(peers=["discrete:xray"])[-1].align(alignment.Scans(y, x))


def test_a_structure_that_no_pair_shows_is_told(cohort, tools, tmp_path):
    patients = Cohort.load(cohort)
    patients = patients.model_copy(update={"label_names": {**patients.label_names, 9: "liver_tumour"}})
    options = BenchmarkOptions(split="test", structures=("liver", "liver_tumour"))
    seen = []
    found = benchmark(patients, methods.methods_of(peers=["oracle"]), tmp_path, options, lambda *now: seen.append(now))
    told = (tmp_path / "tables.md").read_text()
    assert "liver_tumour (in the label maps of no pair)" in told and "liver (in the label" not in told
    assert seen == [(1, 3, "rigid: c1"), (2, 3, "initial: c1"), (3, 3, "oracle: c1")]
    assert [r.method for r in found.results] == ["initial", "rigid", "oracle"] and not found.failed


def test_the_rigid_alignment_is_found_once(cohort, tools, tmp_path, monkeypatch):
    calls = []
    real = alignment.rigid_align
    monkeypatch.setattr(alignment, "rigid_align", lambda y, x: calls.append(1) or real(y, x))
    run("benchmark", cohort, "-o", tmp_path / "o", "--split", "test", "--tool", "oracle", "--tool", "discrete")
    assert len(calls) == 1


def segmentor_alone(folder, name):
    """A run of V-Net alone, whose system is a project's file."""
    torch.manual_seed(1)
    file = Path(__file__).parents[2] / "projects/jssr/vnet.py"
    recipe_of_file(file)
    recipe = tiny_recipe(
        name=name,
        networks={"S": tiny_recipe().network.networks["S"]},
        system="vnet",
        project=str(file),
        stages=(Stage(name="s", steps=1, train={"main": ("S",)}, weights={"sup": 1.0}),),
        learning_rates={"S": 1e-3},
    )
    save_weights(folder / f"{name}.safetensors", build_system(recipe), recipe)
    return f"{file}:{folder / f'{name}.safetensors'}"


def test_table_two_sets_every_segmentor_against_every_generator(cohort, weights, tmp_path):
    alone = segmentor_alone(tmp_path, "alone")
    out = tmp_path / "out"
    words = ["benchmark", cohort, "-o", out, "--split", "test"]
    run(*words, "--synthesis", weights, "--synthesis", alone)
    with (out / "table2.csv").open() as file:
        found = {(r["method"], r["phase"]) for r in csv.DictReader(file) if r["metric"] == "dice"}
    on = {f"{s} on {g}" for s in ("tiny", "alone") for g in ("non-synthesis", "tiny")}
    assert found == {(m, p) for m in on for p in ("arterial", "venous")}
    told = (out / "tables.md").read_text()
    assert "### Segmentor: tiny" in told and "### Segmentor: alone" in told
    values = {(r.method, r.phase): r.values["dice/liver"] for r in read_csv(out / "table2.csv")}
    # The venous scan is never synthesised: its column is the same in every row, as in the paper.
    assert values["tiny on tiny", "venous"] == values["tiny on non-synthesis", "venous"]


def test_table_two_asks_the_moving_modalitys_segmentor_of_what_is_not_synthesised(
    cohort, weights, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(System, "segment_moving", lambda self, image: asked.append(1) or self.segment(image))
    run("benchmark", cohort, "-o", tmp_path / "o", "--split", "all", "--synthesis", weights)
    pairs = [phase for case in Cohort.load(cohort).cases for phase in case.images if phase != "venous"]
    assert len(asked) == len(pairs) > 0


def test_a_system_without_a_register_cannot_stand_in_table_one(cohort, tmp_path):
    alone = segmentor_alone(tmp_path, "v")
    said = run("benchmark", cohort, "-o", tmp_path / "o", "--run", alone, code=1)
    assert "has no register" in said.stderr
    said = run("register", cohort / "c0/venous.nii.gz", cohort / "c0/arterial.nii.gz", "-o", tmp_path / "p",
               "--checkpoint", alone, code=1)  # fmt: skip
    assert "has no register" in said.stderr and not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to compare"),
        (("--tool", "gone"), "gone cannot be used here: it_has_left is not installed"),
        (("--tool", "deads"), "is no peer"),
        (("--tool", "oracle", "--tool", "oracle"), "two methods are called 'oracle'"),
        (("--tool", "oracle", "--against", "oracel"), "did you mean 'oracle'"),
        (("--tool", "oracle", "--fixed", "delay"), "no 'delay'"),
        (("--tool", "oracle", "--split", "tests"), "unknown split"),
        (("--tool", "oracle", "--picture", "c7"), "c7"),
        (("--run", "nowhere.safetensors"), "nowhere"),
    ],
)
def test_what_cannot_run_is_refused_before_any_work(cohort, tools, tmp_path, words, said):
    out = tmp_path / "out"
    assert said in run("benchmark", cohort, "-o", out, *words, code=1).stderr
    assert not (out / "cases" / "initial").exists()


def test_names_that_would_be_taken_for_others_are_refused(cohort, weights, tools, tmp_path):
    words = ("benchmark", cohort, "-o", tmp_path / "o", "--split", "test")
    for name in ("oracle", "initial", "a on b", "x y", "x_y"):
        shutil.copy(weights, tmp_path / f"{name}.safetensors")
    for name in ("oracle", "initial", "a on b"):
        said = run(*words, "--run", tmp_path / f"{name}.safetensors", code=1).stderr
        assert f"{name!r} cannot be the name of a row" in said
    both = [word for name in ("x y", "x_y") for word in ("--run", tmp_path / f"{name}.safetensors")]
    assert "two methods are called 'x_y'" in run(*words, *both, code=1).stderr
    again = ("--synthesis", weights, "--synthesis", weights)
    assert "two runs of --synthesis have one name" in run(*words, *again, code=1).stderr


def test_names_of_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert methods.run_name("weights.safetensors") == tmp_path.name
    assert methods.run_name("runs/mine/weights.safetensors") == "mine"
    assert methods.run_name("runs/mine") == "mine"
    assert methods.run_name("projects/p/vnet.py:mine/weights.safetensors") == "mine"
    assert methods.Alignment("a/b + 3", "x").folder == "a_b_+_3"


def test_the_shipped_weights_have_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    methods.model_of.cache_clear()
    found = methods.methods_of(["jssr"], [], ["rigid"])
    assert [(one.name, one.source) for one in found[2:]] == [("jssr", "jssr")]  # rigid is always there
    assert found[2].identity()["weights"] == load_model("jssr").header["checksum"]
    methods.model_of.cache_clear()
    (tmp_path / "jssr").mkdir()  # a run of that name comes first
    with pytest.raises(CheckpointError):
        methods.methods_of(["jssr"])


def test_a_method_has_a_process_of_its_own():
    ((item, found),) = in_processes(process, [3], 1, apart=True)
    assert item == 3 and found != os.getpid()
    ((_, found),) = in_processes(process, [3], 1)
    assert found == os.getpid()


def test_a_worker_that_is_told_to_end_takes_no_other_case(tmp_path):
    with pytest.raises(JssrError, match="a worker process ended before its work was done"):
        list(in_processes(partial(ended, tmp_path), ["first", "second"], 1, apart=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "first cleaned"]
