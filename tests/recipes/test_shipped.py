"""Names of weights: what ships, and what a file of the user's bears."""

from __future__ import annotations

import pytest

from jssr.errors import CheckpointError
from jssr.recipes.shipped import shipped_weights, weights_at


def test_a_file_that_bears_a_systems_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert weights_at("jssr") == shipped_weights("jssr")
    (tmp_path / "jssr").mkdir()
    assert weights_at("jssr").resolve() == (tmp_path / "jssr").resolve()
    assert weights_at("body-compact") == shipped_weights("segmentor")
    assert str(weights_at("elsewhere")) == "elsewhere" and str(weights_at("no/jssr")) == "no/jssr"


@pytest.mark.parametrize(("system", "words"), [("jsr", "did you mean 'jssr'"), ("discrete", "no weights ship")])
def test_a_system_without_weights_is_told(system, words):
    with pytest.raises(CheckpointError, match=words):
        shipped_weights(system)
