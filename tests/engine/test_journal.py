from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jssr.engine.journal import Journal, picture, write_picture
from jssr.errors import OutputError
from jssr.systems.base import Alignment, Batch


def table(folder: Path) -> list[list[str]]:
    with (folder / "losses.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_rows_are_means_since_the_last_one(tmp_path: Path) -> None:
    with Journal(tmp_path, ["main/reg", "main/sup"], steps=3, progress=False) as journal:
        journal.add("one", {"main/reg": 1.0}, seconds=0.5)
        journal.add("one", {"main/reg": 2.0}, seconds=1.5)
        journal.flush(2, "one")
        journal.flush(2, "one")  # nothing new, no row
        journal.add("two", {"main/sup": 0.25}, seconds=4.0)
        journal.flush(3, "two")
    assert table(tmp_path) == [
        ["step", "stage", "seconds_per_step", "main/reg", "main/sup"],
        ["2", "one", "1", "1.5", ""],
        ["3", "two", "4", "", "0.25"],
    ]


def test_resuming_drops_the_rows_that_will_be_written_again(tmp_path: Path) -> None:
    with Journal(tmp_path, ["a"], steps=9, progress=False) as journal:
        for step in (2, 4, 6):
            journal.add("s", {"a": float(step)}, 1.0)
            journal.flush(step, "s")
    with (tmp_path / "losses.csv").open("a") as file:
        file.write("8,s,0.")  # cut off by a kill
    with Journal(tmp_path, ["a"], steps=9, done=4, progress=False) as journal:
        journal.add("s", {"a": 7.0}, 1.0)
        journal.flush(6, "s")
    assert [row[0] + ":" + row[3] for row in table(tmp_path)[1:]] == ["2:2", "4:4", "6:7"]


def test_a_new_run_begins_a_new_table(tmp_path: Path) -> None:
    (tmp_path / "losses.csv").write_text("step,stage\n1,old\n")
    with Journal(tmp_path, ["a"], steps=1, progress=False):
        pass
    assert len(table(tmp_path)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with Journal(tmp_path, ["a"], steps=1, progress=False) as journal:
        journal.path.unlink()
        journal.path.symlink_to("/dev/full")
        journal.add("s", {"a": 1.0}, 1.0)
        with pytest.raises(OutputError, match=r"losses\.csv: cannot be written \(No space left"):
            journal.flush(1, "s")


def pair(*shape: int) -> Batch:
    return Batch(moving=torch.full((2, 1, *shape), -1.0), fixed=torch.ones(2, 1, *shape))


def test_picture_is_the_middle_axial_slice_with_the_second_axis_down() -> None:
    batch = pair(5, 4, 3)
    assert batch.moving is not None
    batch.moving[0, 0, 3, 1, 1] = 0.0  # i = 3 to the right, j = 1 down, middle k
    tau = torch.zeros(2, 3, 5, 4, 3)
    image = picture(batch, Alignment(tau))
    assert image.shape == (4, 5 * 5)  # fixed, moving, moved, two differences
    assert image[:, :5].min() == 255
    assert image[1, 5 + 3] == 128 and image[2, 5 + 3] == 0
    assert np.array_equal(image[:, 5:10], image[:, 10:15])
    # abs(-1 - 1) - 1 = 1 is white, abs(0 - 1) - 1 = 0 is grey.
    assert image[0, 15] == 255 and image[1, 15 + 3] == 128
    with_g = picture(batch, Alignment(tau, synthesised=torch.zeros(2, 1, 5, 4, 3)))
    assert with_g.shape == (4, 6 * 5) and (with_g[:, 10:15] == 128).all()


def test_picture_shows_the_moved_image() -> None:
    batch = pair(6, 4)
    assert batch.moving is not None
    batch.moving[0, 0, 4] = 1.0
    tau = torch.zeros(2, 2, 6, 4)
    tau[:, 0] = 2.0  # row 2 reads row 4
    moved = picture(batch, Alignment(tau))[:, 12:18]
    assert (moved[:, 2] == 255).all() and (moved[:, [0, 1, 3, 4]] == 0).all()


def test_write_picture(tmp_path: Path) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_picture(image, tmp_path / "new" / "p.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "p.png")), image)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_picture(image, tmp_path / "file" / "p.png")
