"""Makes what the tests here share importable: `toy_system`, known to `jssr.systems` as "toy", and `oracle`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from oracle import ORACLE  # noqa: E402

from jssr.engine import benchmark, contestants, synthesis  # noqa: E402
from jssr.tools import TOOLS  # noqa: E402


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    import toy_system

    from jssr.systems import SYSTEMS

    monkeypatch.setitem(SYSTEMS, "toy", toy_system.build)


@pytest.fixture
def here(monkeypatch):
    """Benchmarks in this process: a worker takes seconds to start. Each contestant's own process is tested apart."""

    def each(job, items, workers, apart=False):
        for item in items:
            yield item, job(item)

    for module in (benchmark, synthesis):
        monkeypatch.setattr(module, "in_processes", each)
    contestants.model_of.cache_clear()


@pytest.fixture
def tools(here, monkeypatch):
    """A tool that knows the answer for every pair, and one that is not there."""
    monkeypatch.setitem(TOOLS, "oracle", ORACLE)
    monkeypatch.setitem(TOOLS, "gone", replace(ORACLE, name="gone", lacks=lambda: "it has left"))
