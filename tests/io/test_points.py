"""Points as CSV, there and back, and malformed ones."""

from __future__ import annotations

import numpy as np
import pytest

from jssr.core.volume import Points
from jssr.errors import PointsError
from jssr.io.points import as_points, read_points, write_points


def test_round_trip(tmp_path):
    points = Points(np.array([[1.25, -20.5, 700.0], [3.0, 4.0, 5.12345]]), ("portal bifurcation", "a, b"))
    write_points(points, tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text().splitlines()[:2] == [
        "name,x,y,z",
        "portal bifurcation,1.2500,-20.5000,700.0000",
    ]
    again = read_points(tmp_path / "p.csv")
    assert again.names == points.names
    assert np.abs(again.xyz - points.xyz).max() < 1e-4


def test_two_dimensions(tmp_path):
    write_points(Points(np.array([[1.0, 2.0]])), tmp_path / "p.csv")
    assert read_points(tmp_path / "p.csv", ndim=2).xyz.tolist() == [[1, 2]]


def test_other_columns_and_order_are_fine(tmp_path):
    (tmp_path / "p.csv").write_text("\ufeffZ, Y, X, t\n3, 2, 1, 0\n", encoding="utf-8")
    again = read_points(tmp_path / "p.csv")
    assert again.xyz.tolist() == [[1, 2, 3]] and again.names == ("0",)


def test_no_points_are_no_points(tmp_path):
    (tmp_path / "p.csv").write_text("name,x,y,z\n")
    assert read_points(tmp_path / "p.csv").xyz.shape == (0, 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no column x, y, z"),
        (b"name,x,z\na,1,2\n", "no column y"),
        (b"name,x,y,z\na,1,2,3\nb,1,two,3\n", "line 3"),
        (b"name,x,y,z\na,1,2,nan\n", "line 2"),
        (b"name,x,y,z\na,1,2\n", "line 2"),
        (b"\x1f\x8b\xff\xfe\x00", "cannot be read as text"),
    ],
)
def test_malformed(tmp_path, content, words):
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(PointsError, match=words) as caught:
        read_points(tmp_path / "p.csv")
    assert str(tmp_path / "p.csv") in str(caught.value) and "\n" not in str(caught.value)


def test_missing(tmp_path):
    with pytest.raises(PointsError, match="no such file"):
        read_points(tmp_path / "p.csv")


def test_points_without_z_are_flat(tmp_path):
    write_points(Points(np.array([[1.5, 2.0]]), ("a",)), tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == "name,x,y\na,1.5000,2.0000\n"
    assert read_points(tmp_path / "p.csv").xyz.tolist() == [[1.5, 2.0]]
    with pytest.raises(PointsError, match="no column z"):
        read_points(tmp_path / "p.csv", 3)


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(PointsError, match="NaN"):
        as_points(Points(np.array([[0.0, np.nan, 1.0]])))
