from __future__ import annotations

from jssr.data import rigid as home
from jssr.engine import rigid


def test_the_engine_offers_the_same_alignment() -> None:
    assert rigid.rigid_align is home.rigid_align
    assert rigid.OverlapError is home.OverlapError
