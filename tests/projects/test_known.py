"""Recipes whose register knows bodies already, and tables over several seeds."""

from __future__ import annotations

import sys

import pytest
import torch
from project_files import PROJECTS, project

from jssr.metrics.results import CaseResult
from jssr.recipes.load import build_system, load_recipe
from jssr.recipes.shipped import weights_at
from jssr.recipes.weights import load_system


@pytest.mark.parametrize(
    ("file", "network"),
    [
        ("macjnet/macjnet_known.py", "Phi"),
        ("macjnet/macjnet_known_register.py", "Phi"),
        ("dual/dual_known.py", "M"),
    ],
)
def test_the_register_of_a_recipe_fits_the_weights_that_ship(file, network):
    system = build_system(load_recipe(PROJECTS / file))
    shipped, _, _ = load_system(weights_at("register-compact"))
    system.get_submodule(network).load_state_dict(shipped.get_submodule("Phi").state_dict())


def test_the_dual_register_begins_as_the_one_that_ships(tmp_path, monkeypatch):
    begin = project("dual_begin", "dual/begin.py")
    monkeypatch.setattr(sys, "argv", ["begin.py", str(tmp_path / "begin.safetensors")])
    begin.main()
    made, _, header = load_system(tmp_path / "begin.safetensors")
    shipped, _, _ = load_system(weights_at("register-compact"))
    images = torch.randn(2, 1, 1, 24, 24, 24, generator=torch.Generator().manual_seed(0))
    moving, fixed = images
    with torch.no_grad():
        expected = shipped.get_submodule("Phi")(torch.cat([moving, fixed], dim=1))
        torch.testing.assert_close(made.get_submodule("M")(fixed, moving), expected)
    assert header["started from"] == ["register-compact"]


def test_seeds_are_averaged_patient_by_patient(capsys):
    seeds = project("seeds", "seeds.py")

    def result(method: str, case: str, tre: float) -> CaseResult:
        return CaseResult(case, "t1", method, {"tre": tre, "dice/liver": 0.5 + tre / 10})

    rows = [result(f"joint-{k}", case, k + add) for k in range(3) for case, add in (("a", 0.0), ("b", 1.0))]
    rows += [result("discrete", "a", 4.0), result("discrete", "b", 5.0)]
    found = {(r.method, r.case): r.values for r in seeds.over_seeds(rows)}
    assert found["joint", "a"] == pytest.approx({"tre": 1.0, "dice/mean": 0.6})
    assert found["joint", "b"]["tre"] == pytest.approx(2.0) and found["discrete", "b"]["tre"] == 5.0
    seeds.printed("Table", seeds.over_seeds(rows), seeds.ALIGNED, "joint")
    assert "| joint | 1.50 (0.71)" in capsys.readouterr().out
