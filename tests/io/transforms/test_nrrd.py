"""NRRD's measurement frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from jssr.errors import TransformError
from jssr.io.transforms import read_transform

VECTOR = (1.0, 2.0, 3.0)


def field(path: Path, frame: str | None = None, space: str = "left-posterior-superior") -> Path:
    """The same vector everywhere, in a file with this frame and space."""
    image = sitk.GetImageFromArray(np.tile(np.array(VECTOR), (4, 5, 6, 1)), isVector=True)
    sitk.WriteImage(image, str(path))
    head, _, body = path.read_bytes().partition(b"\n\n")
    lines = head.replace(b"space: left-posterior-superior", b"space: " + space.encode())
    if frame is not None:
        lines += f"\nmeasurement frame: {frame}".encode()
    path.write_bytes(lines + b"\n\n" + body)
    return path


@pytest.mark.parametrize(
    ("frame", "space", "shift"),
    [
        (None, "left-posterior-superior", (1, 2, 3)),
        ("(1,0,0) (0,1,0) (0,0,1)", "left-posterior-superior", (1, 2, 3)),
        # The columns: the first component runs along y, the second against x.
        ("(0,1,0) (-1,0,0) (0,0,1)", "left-posterior-superior", (-2, 1, 3)),
        ("(1,0,0) (0,1,0) (0,0,1)", "right-anterior-superior", (-1, -2, 3)),
        ("(-1,0,0) (0,-1,0) (0,0,1)", "right-anterior-superior", (1, 2, 3)),
    ],
)
def test_vectors_are_turned_from_their_frame(frame: str | None, space: str, shift: tuple, tmp_path: Path) -> None:
    found = read_transform(field(tmp_path / "f.nrrd", frame, space))
    centre = found.grid.centre
    assert (found(centre) - centre).tolist() == pytest.approx(shift, abs=1e-5)


@pytest.mark.parametrize(
    ("frame", "space", "words"),
    [
        (None, "right-anterior-superior", "names no measurement frame"),
        ("(1,0,0) (1,0,0) (0,0,1)", "left-posterior-superior", "not invertible"),
        ("(1,0,0) (0,x,0) (0,0,1)", "left-posterior-superior", "damaged"),
        ("(1,0,0) (0,1,0) (0,0,1)", "left-anterior-superior", "expected the space"),
    ],
)
def test_frames_that_tell_nothing_are_refused(frame: str | None, space: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(TransformError, match=words) as caught:
        read_transform(field(tmp_path / "f.nrrd", frame, space))
    assert str(tmp_path / "f.nrrd") in str(caught.value)
