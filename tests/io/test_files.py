"""Files: complete or not at all, known by their content, packed."""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

from jssr.errors import OutputError
from jssr.io.files import ENDS, atomic_path, check_output, digest, make_folder, output_folder, pack_file

SHM = Path("/dev/shm")


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


def test_content_counts_and_time_does_not(tmp_path):
    one, other = tmp_path / "a.nii", tmp_path / "b.nii"
    one.write_bytes(bytes(3 * ENDS))
    shutil.copy(one, other)
    os.utime(other, (0, 0))
    assert digest(one) == digest(other)
    data = bytearray(one.read_bytes())
    data[len(data) // 2] = 1  # in the middle, size and ends as before
    other.write_bytes(data)
    assert digest(one) != digest(other)


def test_a_packed_file_is_known_by_its_ends(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, 6 * ENDS, dtype=np.uint8)
    files = []
    for name in ("a", "b"):
        files.append(tmp_path / f"{name}.nii.gz")
        with files[-1].open("wb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as file:
            file.write(noise.tobytes())
        noise[len(noise) // 2] ^= 1
    assert files[0].stat().st_size == files[1].stat().st_size > 2 * ENDS
    assert digest(files[0]) != digest(files[1])


def test_a_header_counts_with_its_voxels(tmp_path):
    (tmp_path / "a.mhd").write_text("ElementDataFile = a.raw")
    (tmp_path / "a.raw").write_bytes(b"one")
    before = digest(tmp_path / "a.mhd")
    (tmp_path / "a.raw").write_bytes(b"two")
    assert digest(tmp_path / "a.mhd") != before


def test_a_folder_is_known_by_its_files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.dcm").write_bytes(b"one")
    before = digest(tmp_path)
    (tmp_path / "in" / ".DS_Store").write_bytes(b"looked at")
    assert digest(tmp_path) == before
    (tmp_path / "in" / "1.dcm").rename(tmp_path / "in" / "2.dcm")
    assert digest(tmp_path) != before
    with pytest.raises(OSError):
        digest(tmp_path / "none")


@pytest.mark.parametrize("size", [0, 1, 1000, 2**20, 5_000_000])
def test_gzip_reads_it_back(tmp_path, size):
    content = np.random.default_rng(0).integers(0, 7, size, dtype=np.uint8).tobytes()
    (tmp_path / "a").write_bytes(content)
    pack_file(tmp_path / "a", tmp_path / "a.gz")
    packed = (tmp_path / "a.gz").read_bytes()
    assert gzip.decompress(packed) == content
    # One member with nothing after it: readers that stop at the first member see everything.
    reader = zlib.decompressobj(31)
    assert reader.decompress(packed) == content and reader.eof and not reader.unused_data
    assert size < 1000 or len(packed) < 0.6 * size


def test_same_content_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"scan" * 1000)
        pack_file(tmp_path / name, tmp_path / f"{name}.gz")
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
