"""`evaluate` from Python: what fails is named after all else is measured, and what is no evaluation is refused."""

import shutil

import pytest

from jssr.errors import JssrError
from jssr.evaluation.evaluate import EvaluationOptions, evaluate, read_evaluation
from jssr.io.cohort import Cohort
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
