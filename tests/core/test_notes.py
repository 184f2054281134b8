"""Words told while files are read: to the innermost collection, each once; else to the log."""

from __future__ import annotations

import logging

from jssr.core.notes import collected, tell


def test_the_innermost_collection_gets_each_sentence_once(caplog):
    with caplog.at_level(logging.WARNING), collected() as outer:
        tell("a")
        with collected() as inner:
            tell("b", "c")
            tell("b")
        tell("d")
    assert (outer, inner) == (["a", "d"], ["b", "c"])
    assert not caplog.records


def test_without_a_collection_it_is_logged(caplog):
    with caplog.at_level(logging.WARNING, logger="jssr"):
        tell("the sform is taken")
    assert [r.message for r in caplog.records] == ["the sform is taken"]


def test_an_error_ends_the_collection(caplog):
    try:
        with collected():
            raise ValueError
    except ValueError:
        pass
    with caplog.at_level(logging.WARNING, logger="jssr"):
        tell("after")
    assert len(caplog.records) == 1
