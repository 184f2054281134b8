"""A file is there whole or not at all."""

from __future__ import annotations

import os

import pytest

from jssr.errors import OutputError
from jssr.io.atomic import atomic_path, make_folder


def test_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "a.nii.gz"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent and temporary.name.endswith("a.nii.gz")
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_failure_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="a.csv: cannot be written"), atomic_path(tmp_path / "a.csv"):
        pass


def test_a_file_where_a_folder_is_due(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"), atomic_path(tmp_path / "file" / "a.csv"):
        pass


def test_a_folder_where_a_file_is_due(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(OutputError, match="a folder of that name exists"), atomic_path(tmp_path / "a.csv"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="not writable"):
        make_folder(tmp_path)
    tmp_path.chmod(0o700)
