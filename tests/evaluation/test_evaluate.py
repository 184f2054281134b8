"""`evaluate` from Python: what fails is named after all else is measured, and what is no evaluation is refused."""

import json
import shutil

import pytest

import jssr
from jssr.errors import JssrError, OutputError
from jssr.evaluation.evaluate import EvaluationOptions, evaluate, read_evaluation
from jssr.io.cohort import Case, Cohort
from jssr.recipes.load import load_recipe
from jssr.registration.model import load_model
from jssr.report.tables import read_csv


def test_a_pair_that_fails_is_named_when_all_others_are_measured(cohort, tmp_path):
    mine, out = tmp_path / "mine", tmp_path / "out"
    shutil.copytree(cohort, mine)
    bad = mine / "c1" / "arterial.nii.gz"
    good = bad.read_bytes()
    bad.write_bytes(b"no scan")
    seen = []

    def run():
        how = EvaluationOptions(split="all")
        return evaluate(Cohort.load(mine), load_model("rigid"), out, how, lambda *now: seen.append(now))

    with pytest.raises(JssrError, match=r"1 pair failed .* the first: c1, arterial: .*arterial.nii.gz"):
        run()
    assert seen == [(1, 2, "rigid: c0"), (2, 2, "rigid: c1")]
    assert {r.case for r in read_csv(out / "results.csv")} == {"c0"} and (out / "report.html").is_file()
    (mine / "c1" / "arterial.nii.gz").write_bytes(good)
    assert {r.case for r in run().results} == {"c0", "c1"}
    assert seen[2:] == [(2, 2, "rigid: c1")]  # c0 is not done again
    bad.write_bytes(b"no scan")
    (mine / "c0" / "arterial.nii.gz").write_bytes(b"no scan")
    with pytest.raises(JssrError, match="no pair could be measured; the first: c0, arterial"):
        evaluate(Cohort.load(mine), load_model("rigid"), tmp_path / "other", EvaluationOptions(split="all"))


def test_the_tables_say_which_row_has_instance_optimisation(cohort, tmp_path):
    options = EvaluationOptions(split="all", refine=1)
    evaluate(Cohort.load(cohort), load_model("discrete"), tmp_path / "refined", options)
    said = (tmp_path / "refined" / "tables.md").read_text()
    assert said.startswith("`discrete`: without instance optimisation. `discrete, refined`: with it. ")
    assert "The row `discrete` of `jssr benchmark` is `discrete, refined` here." in said
    evaluate(Cohort.load(cohort), load_model("rigid"), tmp_path / "rigid", EvaluationOptions(split="all"))
    assert "instance optimisation" not in (tmp_path / "rigid" / "tables.md").read_text()


def test_a_folder_without_an_evaluation_is_refused(tmp_path):
    (tmp_path / "results.csv").write_text("case,phase,method,structure,metric,value\na,b,c,,tre,1.0\n")
    for content in (None, "{", "[]", '{"recipe": "x"}'):
        if content is not None:
            (tmp_path / "evaluation.json").write_text(content)
        with pytest.raises(JssrError, match="holds no evaluation, or its evaluation.json is damaged"):
            read_evaluation(tmp_path)


def test_masks_of_the_cohort_and_knobs_are_used_and_noted(cohort, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(cohort, mine)
    patients = Cohort.load(mine)
    plain = patients.digest(patients.cases[0])
    for case in patients.cases:
        case.masks["venous"] = case.labels["venous"]
    patients.save()
    read = Cohort.load(mine)
    assert read.cases[0].masks == {"venous": "c0/venous_labels.nii.gz"} and read.digest(read.cases[0]) != plain
    out = tmp_path / "out"
    done = jssr.evaluate(read, system="rigid", split="all", out=out, rigid=False, smoothness=2.0, preset="ct-abdomen")
    assert {r.method for r in done.results} >= {"rigid, refined"}  # smoothness asks for an optimisation
    noted = json.loads((out / "evaluation.json").read_text())
    assert noted["smoothness"] == 2.0 and noted["preset"] == "ct-abdomen"
    assert noted["refine"] == load_recipe("discrete").inference.refine
    with pytest.raises(OutputError):  # another evaluation
        jssr.evaluate(read, system="rigid", split="all", out=out, rigid=False, smoothness=3.0)
    with pytest.raises(JssrError, match="preset xray: is for radiograph"):
        jssr.evaluate(read, split="all", out=tmp_path / "x", rigid=False, preset="xray")


def test_masks_of_a_phase_without_a_scan_are_refused():
    with pytest.raises(ValueError, match='case a has masks for phase "t2" but no image of it'):
        Case(id="a", images={"t1": "t1.nii.gz"}, masks={"t2": "m.nii.gz"})
