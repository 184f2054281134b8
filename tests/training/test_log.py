from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from jssr.errors import OutputError
from jssr.report.figures import FIXED_COLOUR, MOVING_COLOUR
from jssr.systems.base import Alignment, Batch
from jssr.training.log import TrainingLog, picture, write_picture


def table(folder: Path) -> list[list[str]]:
    with (folder / "losses.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_rows_are_means_since_the_last_one(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    with TrainingLog(tmp_path, ["main/reg", "main/sup"], steps=3, on_step=lambda *now: seen.append(now)) as written:
        written.add("one", {"main/reg": 1.0}, seconds=0.5)
        written.add("one", {"main/reg": 2.0}, seconds=1.5)
        written.flush(2, "one")
        written.flush(2, "one")  # nothing new, no row
        written.add("two", {"main/sup": 0.25}, seconds=4.0)
        written.flush(3, "two")
    assert table(tmp_path) == [
        ["step", "stage", "seconds_per_step", "main/reg", "main/sup"],
        ["2", "one", "1", "1.5", ""],
        ["3", "two", "4", "", "0.25"],
    ]
    assert seen == [(1, 3, "one"), (2, 3, "one"), (3, 3, "two  reg 1.5")]


def test_resuming_drops_the_rows_that_will_be_written_again(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, ["a"], steps=9) as written:
        for step in (2, 4, 6):
            written.add("s", {"a": float(step)}, 1.0)
            written.flush(step, "s")
    with (tmp_path / "losses.csv").open("a") as file:
        file.write("8,s,0.")  # cut off by a kill
    with TrainingLog(tmp_path, ["a"], steps=9, done=4) as written:
        written.add("s", {"a": 7.0}, 1.0)
        written.flush(6, "s")
    assert [row[0] + ":" + row[3] for row in table(tmp_path)[1:]] == ["2:2", "4:4", "6:7"]


def test_a_new_run_begins_a_new_table(tmp_path: Path) -> None:
    (tmp_path / "losses.csv").write_text("step,stage\n1,old\n")
    with TrainingLog(tmp_path, ["a"], steps=1):
        pass
    assert len(table(tmp_path)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, ["a"], steps=1) as written:
        written.path.unlink()
        written.path.symlink_to("/dev/full")
        written.add("s", {"a": 1.0}, 1.0)
        with pytest.raises(OutputError, match=r"losses\.csv: cannot be written \(No space left"):
            written.flush(1, "s")


def pair(*shape: int) -> Batch:
    return Batch(moving=torch.full((2, 1, *shape), -1.0), fixed=torch.ones(2, 1, *shape))


def tiles(batch: Batch, alignment: Alignment) -> list[NDArray[np.uint8]]:
    """The tiles of the picture without their names, as small as the slices are."""
    image = picture(batch, alignment, least=1)
    wide, gap = batch.fixed.shape[2], 6  # type: ignore[union-attr]
    assert image.shape[2] == 3
    bare = image[-batch.fixed.shape[3] :]  # type: ignore[union-attr]
    return [bare[:, first : first + wide] for first in range(0, image.shape[1], wide + gap)]


def test_picture_is_the_middle_axial_slice_with_the_second_axis_down() -> None:
    batch = pair(5, 4, 3)
    assert batch.moving is not None
    batch.moving[0, 0, 3, 1, 1] = 0.0  # i = 3 to the right, j = 1 down, middle k
    tau = torch.zeros(2, 3, 5, 4, 3)
    fixed, moving, moved, before, _after = tiles(batch, Alignment(tau))
    assert fixed.min() == 255 and (moving[1, 3] == 128).all() and (moving[2, 3] == 0).all()
    assert np.array_equal(moving, moved)
    # abs(-1 - 1) - 1 = 1 is white, abs(0 - 1) - 1 = 0 is grey.
    assert (before[0, 0] == 255).all() and (before[1, 3] == 128).all()
    with_g = tiles(batch, Alignment(tau, synthesised=torch.zeros(2, 1, 5, 4, 3)))
    assert len(with_g) == 6 and (with_g[2] == 128).all()


def test_picture_shows_the_moved_image() -> None:
    batch = pair(6, 4)
    assert batch.moving is not None
    batch.moving[0, 0, 4] = 1.0
    tau = torch.zeros(2, 2, 6, 4)
    tau[:, 0] = 2.0  # row 2 reads row 4
    moved = tiles(batch, Alignment(tau))[2]
    assert (moved[:, 2] == 255).all() and (moved[:, [0, 1, 3, 4]] == 0).all()


def test_picture_is_large_and_outlines_what_segmentors_say() -> None:
    batch, tau = pair(20, 16, 3), torch.zeros(2, 3, 20, 16, 3)
    said = torch.zeros(2, 2, 20, 16, 3)
    said[:, 0] = 1
    said[:, :, 4:9, 4:9] = said[:, :, 4:9, 4:9].flip(1)  # a square of class 1 at i, j = 4 to 8
    image = picture(batch, Alignment(tau, moving_segmentation=said, fixed_segmentation=said), least=40)
    tall, wide = 16 * 3, 20 * 3  # three times, so that 16 becomes at least 40
    assert image.shape == (26 + tall, 5 * wide + 4 * 6, 3)
    fixed, moving, moved = (image[26:, k * (wide + 6) :][:, :wide] for k in range(3))
    # The outline's corner, and a point inside it: the fixed scan is white, the moving one black.
    for tile, colour, ground in ((fixed, FIXED_COLOUR, 255), (moving, MOVING_COLOUR, 0), (moved, (255,) * 3, 0)):
        assert tuple(tile[12, 12]) == colour and (tile[19, 19] == ground).all() and (tile[11, 12] == ground).all()


def test_write_picture(tmp_path: Path) -> None:
    image = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    write_picture(image, tmp_path / "new" / "p.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "p.png")), image)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_picture(image, tmp_path / "file" / "p.png")


@pytest.mark.parametrize("damage", [b"\xff\xfe,s,1,2\n", b"", b"step\n4\n", b"4,\0\n"])
def test_a_damaged_table_keeps_the_rows_that_are_ones(tmp_path: Path, damage: bytes) -> None:
    with TrainingLog(tmp_path, ["a"], steps=9) as written:
        written.add("s", {"a": 1.0}, 1.0)
        written.flush(2, "s")
    file = tmp_path / "losses.csv"
    file.write_bytes(file.read_bytes() + damage)
    with TrainingLog(tmp_path, ["a"], steps=9, done=4):
        pass
    assert table(tmp_path)[1][:2] == ["2", "s"]
    file.write_bytes(b"\xffstep,stage\n2,s\n")
    with TrainingLog(tmp_path, ["a"], steps=9, done=4):
        pass
    assert len(table(tmp_path)) == 1
