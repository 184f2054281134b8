"""Makes `toy_system` importable for the tests here, and known to `jssr.systems` as "toy"."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    import toy_system

    from jssr.systems import SYSTEMS

    monkeypatch.setitem(SYSTEMS, "toy", toy_system.build)
