from __future__ import annotations

from jssr.metrics.results import split_key


def test_keys_come_apart() -> None:
    assert split_key("dice/left/lung") == ("dice", "left/lung")
    assert split_key("tre") == ("tre", "")
