"""What the terminal shows of an alignment: which structures of many, and the verdict on each phase."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace

from rich.console import Console

from jssr.cli.tables import doubts_of, study_table
from jssr.metrics.results import CaseResult
from jssr.registration.verdict import Verdict


def study(dice, verdicts, volumes=None):
    """A study of phases, `dice[structure]` before and after in every phase."""
    results = [
        CaseResult("p", phase, state, {f"dice/{name}": both[k] for name, both in dice.items()})
        for phase in verdicts
        for k, state in enumerate(("initial", "network"))
    ]
    known = SimpleNamespace(fixed_labels=object())
    found = {
        phase: SimpleNamespace(
            verdict=Verdict(name, ("Why.",), 1.5, 3.0), result={"warnings": [], "volumes": volumes}, known=known
        )
        for phase, name in verdicts.items()
    }
    return SimpleNamespace(results=results, registrations=found)


def shown(done):
    text = StringIO()
    screen = Console(file=text, width=100)
    for one in study_table(done):
        screen.print(one)
    return text.getvalue()


def test_of_many_structures_tumours_and_the_largest_changes_are_shown():
    dice = {f"s{k}": (0.5, 0.5 + k / 100) for k in range(10)}
    dice |= {"liver_tumour": (0.8, 0.8), "worse": (0.9, 0.5)}
    said = shown(study(dice, {"arterial": "PASS"}))
    rows = [line.split("Dice (%), ")[1].split()[0] for line in said.splitlines() if "Dice (%), " in line]
    assert rows == ["liver_tumour", "worse", "s9", "s8", "s7", "s6", "s5", "s4", "mean"]
    assert "8 of 12 structures: tumours first" in " ".join(said.split()) and "result.json" in said


def test_of_few_structures_all_are_shown_without_a_rule():
    said = shown(study({"liver": (0.5, 0.9), "3": (0.5, 0.6)}, {"arterial": "PASS"}))
    assert "liver" in said and "label 3" in said and "--label-names" in said and "structures: tumours" not in said


def test_each_phase_has_its_verdict_and_check_is_a_doubt():
    done = study({"liver": (0.5, 0.9)}, {"arterial": "CHECK", "delay": "PASS"})
    said = shown(done)
    assert "arterial: CHECK, expected error 1.5 mm" in said and "delay: PASS" in said
    assert doubts_of(done.registrations) == ["the verdict on arterial is CHECK"]


def test_of_many_volumes_those_that_changed_most_are_shown():
    volumes = {
        f"s{k}": {"fixed_ml": 10.0, "moving_ml": 10.0 - k, "change_percent": -10.0 * k, "jacobian": 1.0}
        for k in range(1, 10)
    }
    volumes["tumour"] = {"fixed_ml": 0.0, "moving_ml": 1.0, "change_percent": None, "jacobian": None}
    said = shown(study({}, {"arterial": "PASS"}, volumes))
    rows = [word for line in said.splitlines() for word in line.split() if word in volumes]
    assert rows == ["tumour", "s9", "s8", "s7", "s6", "s5", "s4", "s3"]
    assert "8 of 10 structures: tumours first, then those whose volume" in " ".join(said.split())
