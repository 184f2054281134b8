"""Packed files are plain gzip to everyone else."""

from __future__ import annotations

import gzip
import zlib

import numpy as np
import pytest

from jssr.io import packing
from jssr.io.packing import pack_file


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000, 131_072])
def test_gzip_reads_it_back(tmp_path, size, monkeypatch):
    monkeypatch.setattr(packing, "BLOCK", 4096)  # many blocks, several batches
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
