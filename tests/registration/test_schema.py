"""result.json follows its schema; the published schema is that of the code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError
from tiny_jssr import ball, ball_labels

import jssr
from jssr.errors import JssrError
from jssr.registration.model import load_model
from jssr.registration.reload import result_of
from jssr.registration.schema import GridInfo, ResultModel, StudyModel, json_schema, write_schema

PUBLISHED = Path(__file__).parents[2] / "docs" / "result.schema.json"


def test_the_published_schema_is_current(tmp_path):
    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == json_schema(), "run python -m jssr.registration.schema"
    assert json_schema()["title"] == "result.json of jssr"
    write_schema(tmp_path / "s.json")
    assert (tmp_path / "s.json").read_bytes() == PUBLISHED.read_bytes()


def test_what_is_written_follows_the_schema(weights, tmp_path):
    study = jssr.Study(
        "p1", {"venous": ball(name="v"), "arterial": ball((6, 0, 0), name="a").known_as("option", modality="ct")},
        {"venous": ball_labels(), "arterial": ball_labels((6, 0, 0))},
    )  # fmt: skip
    found = jssr.align(study, checkpoint=load_model(None, weights), rigid=False)
    before = json.dumps(found.registrations["arterial"].result, sort_keys=True)
    found.save(tmp_path, report=False)
    assert json.dumps(found.registrations["arterial"].result, sort_keys=True) == before  # saving changes no result
    whole = StudyModel.model_validate_json((tmp_path / "result.json").read_bytes())
    assert whole.phases["arterial"].modality_from == "option"
    one = ResultModel.model_validate_json((tmp_path / "arterial" / "result.json").read_bytes())
    assert one.schema_version == "1" and one.time_s["write"] > 0 and one.peak_memory_mib > 0
    assert (one.fixed.modality, one.fixed.modality_from, one.fixed.phase) == ("ct", "guess", "venous")
    assert one.fixed.grid.grid().same_as(ball().grid) and one.metrics is not None
    with pytest.raises(ValidationError):
        ResultModel.model_validate({**found.registrations["arterial"].result, "surprise": 1})


def test_a_grid_is_numbers_there_and_back():
    grid = jssr.Grid.of((3, 4, 5), (1, 2, 3), (4, 5, 6), [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    info = GridInfo.of(grid)
    assert info.shape == [3, 4, 5] and np.allclose(info.grid().affine, grid.affine)


def test_results_of_another_version_are_refused(tmp_path):
    (tmp_path / "result.json").write_text('{"fixed": {}}')
    with pytest.raises(JssrError, match="expected result.json of schema version 1, got an older one"):
        result_of(tmp_path)


@pytest.fixture(scope="module")
def aligned(weights, tmp_path_factory):
    """The folder of a study, and its alignment."""
    out = tmp_path_factory.mktemp("aligned")
    study = {"venous": ball(name="v"), "arterial": ball((6, 0, 0), name="a")}
    return out, jssr.align(study, checkpoint=weights, rigid=False, report=False, out=out)


def test_the_published_schema_takes_what_is_written(aligned):
    check = jsonschema.Draft202012Validator(json.loads(PUBLISHED.read_text(encoding="utf-8")))
    for path in ("result.json", "arterial/result.json"):
        content = json.loads((aligned[0] / path).read_text(encoding="utf-8"))
        check.validate(content)
        assert not check.is_valid({**content, "surprise": 1})


@pytest.mark.parametrize(
    "damage",
    [{"phases": 5}, {"phases": None}, {"phases": {".": {}}}, "up", "list", "deep", "version alone"],
    ids=str,
)
def test_a_damaged_result_is_refused(damage, aligned, tmp_path):
    content = json.loads((aligned[0] / "result.json").read_text(encoding="utf-8"))
    texts = {
        "up": json.dumps({**content, "phases": {"../ro": content["phases"]["arterial"]}}),
        "list": "[]", "deep": "[" * 100_000, "version alone": '{"schema_version": "1"}',
    }  # fmt: skip
    text = json.dumps({**content, **damage}) if isinstance(damage, dict) else texts[damage]
    one = (aligned[0] / "arterial" / "result.json").read_text(encoding="utf-8")
    for name, words in (("r", text), ("ro", one)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(words)
    with pytest.raises(JssrError) as error:
        jssr.load_result(tmp_path / "r")
    assert "older" not in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("change", [{"time_s": None}, {"moving": 3}, {"surprise": 1}])
def test_a_result_that_was_changed_is_not_saved(change, aligned, tmp_path):
    one = aligned[1].registrations["arterial"]
    with pytest.raises(JssrError, match="holds no result of jssr"):
        replace(one, result={**one.result, **change}).save(tmp_path / "o")
    assert not (tmp_path / "o").exists()
