"""What compiled code writes to the process's own streams, while a file is read."""

from __future__ import annotations

import os
import sys

import pytest

from jssr.io.native import listening


def write(number, words):
    os.write(number, words)


def test_nothing_reaches_the_terminal(capfd):
    with listening():
        write(1, b"reading 3 slices\n")
        write(2, b"note: 12 bits\n")
    sys.stdout.write("after\n")
    assert capfd.readouterr() == ("after\n", "")


@pytest.mark.parametrize("number", [1, 2])
def test_a_complaint_is_believed(capfd, number):
    with pytest.raises(RuntimeError, match="Uncompress failed"), listening():
        write(number, b"Uncompress failed\n")
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_block_comes_first_and_the_streams_come_back(capfd):
    with pytest.raises(KeyError), listening():
        write(2, b"error\n")
        raise KeyError
    with listening(), listening():
        pass
    write(2, b"shown\n")
    assert capfd.readouterr().err == "shown\n"
