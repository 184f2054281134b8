"""Finished work: what is found again, what is done again, what is refused."""

import pytest

from jssr.cohorts.store import Store, same_settings
from jssr.errors import OutputError

KEY = {"weights": "abc", "spacing": (3.0, 3.0)}


def test_an_item_is_found_while_its_key_is_the_same(tmp_path):
    store = Store(tmp_path, "{}/case.json")
    assert store.find("c0", KEY) is None
    store.keep("c0", KEY, {"value": float("inf")})
    assert store.find("c0", KEY) == {"value": float("inf")} and (tmp_path / "c0" / "case.json").is_file()
    assert store.find("c0", {**KEY, "weights": "other"}) is None
    store.forget("c0")
    assert store.find("c0", KEY) is None


def test_what_failed_is_reported_and_done_again(tmp_path):
    store = Store(tmp_path)
    store.keep("c0", KEY, [1], {"late": "no luck"})
    assert store.find("c0", KEY) is None and store.result("c0") == [1]
    assert store.failures("c0") == {"late": "no luck"}
    store.check("c0", {"weights": "other"})  # what failed may change
    store.keep("c0", KEY, [1, 2])
    assert store.find("c0", KEY) == [1, 2] and store.failures("c0") == {}


def test_a_lost_file_makes_its_item_undone(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "scan.nii").write_text("x")
    store.keep("c0", KEY, 1, files=["scan.nii"])
    assert store.find("c0", KEY) == 1
    (tmp_path / "scan.nii").unlink()
    assert store.find("c0", KEY) is None


def test_another_key_is_refused_by_name_and_so_is_damage(tmp_path):
    store = Store(tmp_path)
    store.check("c0", KEY)
    store.keep("c0", KEY, 1)
    store.check("c0", KEY)
    with pytest.raises(OutputError, match="c0.json: holds results that differ in weights; choose another folder"):
        store.check("c0", {**KEY, "weights": "other"})
    store.file("c0").write_text("[")
    assert store.find("c0", KEY) is None
    with pytest.raises(OutputError, match="is damaged; delete it"):
        store.check("c0", KEY)


def test_the_settings_of_a_folder_stay(tmp_path):
    same_settings(tmp_path / "run.json", {"split": "test"})
    same_settings(tmp_path / "run.json", {"split": "test"})
    with pytest.raises(OutputError, match="differ in split"):
        same_settings(tmp_path / "run.json", {"split": "all"})
