"""Makes what the tests here share importable: `toy_system`, known to `jssr.systems` as "toy", and `oracle`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from oracle import ORACLE

from jssr.evaluation import methods, runner
from jssr.peers import PEERS


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    import toy_system

    from jssr.systems import SYSTEMS

    monkeypatch.setitem(SYSTEMS, "toy", toy_system.build)


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
    monkeypatch.setitem(PEERS, "gone", replace(ORACLE, name="gone", lacks=lambda: "it has left"))
