from pathlib import Path

import pytest

from jssr.errors import OutputError
from jssr.io.output import check_output, output_folder

SHM = Path("/dev/shm")


@pytest.mark.skipif(not SHM.is_dir(), reason="no second file system here")
def test_a_link_to_another_file_system_is_written(tmp_path):
    import tempfile

    with tempfile.TemporaryDirectory(dir=SHM) as there:
        link = tmp_path / "out"
        link.symlink_to(there)
        with output_folder(link) as folder:
            (folder / "a.txt").write_text("new")
        assert [p.name for p in Path(there).iterdir()] == ["a.txt"]


def test_a_failure_leaves_what_was_there(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), output_folder(tmp_path, ("a.txt", "b.txt")) as folder:
        (folder / "b.txt").write_text("new")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="is a file"):
            check_output(out)
    check_output(tmp_path / "new" / "deep")
