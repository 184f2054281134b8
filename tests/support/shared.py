"""Makes what the tests here share importable: `toy_system`, known to `jssr.systems` as "toy", and `oracle`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from oracle import ORACLE

from jssr.evaluation import evaluate, methods, runner
from jssr.peers import PEERS
from jssr.registration import pipeline


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    import toy_system

    from jssr.systems import SYSTEMS

    monkeypatch.setitem(SYSTEMS, "toy", toy_system.build)


@pytest.fixture
def vnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The segmentor alone of projects/jssr, as if it shipped."""
    from jssr.recipes.project import recipe_of_file
    from jssr.systems import SYSTEMS

    recipe_of_file(Path(__file__).parents[2] / "projects" / "jssr" / "vnet.py")
    monkeypatch.setitem(SYSTEMS, "vnet", sys.modules["vnet"].build)


@pytest.fixture
def few_steps(monkeypatch):
    """Instance optimisation in two steps at most, where nobody looks at how well it aligns."""
    steps_of, solve = pipeline.steps_of, methods.solve

    def few(model, pair, steps, *more, **how):
        return solve(model, pair, min(2, steps), *more, **how)

    for module in (pipeline, evaluate):
        monkeypatch.setattr(module, "steps_of", lambda *given: min(2, steps_of(*given)))
    monkeypatch.setattr(methods, "solve", few)


@pytest.fixture
def here(monkeypatch):
    """Benchmarks in this process: a worker takes seconds to start. Each method's own process is tested apart."""

    def each(job, items, workers, apart=False):
        for item in items:
            yield item, job(item)

    monkeypatch.setattr(runner, "in_processes", each)
    methods.model_of.cache_clear()


@pytest.fixture
def tools(here, monkeypatch):
    """A tool that knows the answer for every pair, and one that is not there."""
    monkeypatch.setitem(PEERS, "oracle", ORACLE)
    monkeypatch.setitem(PEERS, "gone", replace(ORACLE, name="gone", module="it_has_left"))
