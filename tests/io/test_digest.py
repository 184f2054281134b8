"""Whether a file is the one it was."""

import gzip
import os
import shutil

import numpy as np
import pytest

from jssr.io.digest import ENDS, digest


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
