"""Points of 3D Slicer, elastix, transformix and ANTs: their frames, worked out by hand; written and read again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from jssr.core.grid import Grid
from jssr.core.notes import collected
from jssr.core.volume import Points
from jssr.errors import OutputError, PointsError
from jssr.io.points import holds_points, is_ants, read_points, write_points

LPS = [[-12.5, 30.0, 7.25], [4.0, -8.0, 100.5]]
RAS = [[12.5, -30.0, 7.25], [-4.0, 8.0, 100.5]]
NAMES = ("portal, left", "dome")
BOTH = Points(np.array(LPS), NAMES)


def markups(frame="LPS", positions=LPS, **more):
    points = [{"label": n, "position": p, "positionStatus": "defined"} for n, p in zip(NAMES, positions, strict=True)]
    return {"type": "Fiducial", "coordinateSystem": frame, "controlPoints": points, **more}


def write(path, *ones):
    path.write_text(json.dumps({"markups": list(ones)}))
    return path


def fcsv(path, system, rows=None):
    rows = rows or [
        'vtkMRMLMarkupsFiducialNode_0,{},{},{},0,0,0,1,1,1,0,"portal, left",,',
        "vtkMRMLMarkupsFiducialNode_1,{},{},{},0,0,0,1,1,1,0,dome,,",
    ]
    values = RAS if system in ("RAS", "0") else LPS
    head = ["# Markups fiducial file version = 4.11", f"# CoordinateSystem = {system}" if system else "# no system",
            "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"]  # fmt: skip
    path.write_text("\n".join([*head, *(r.format(*v) for r, v in zip(rows, values, strict=False))]) + "\n")
    return path


def same(found, names=NAMES):
    np.testing.assert_allclose(found.xyz, LPS, atol=1e-4)
    assert found.names == names


@pytest.mark.parametrize("frame", ["LPS", "RAS"])
def test_markups_say_their_frame(tmp_path, frame):
    same(read_points(write(tmp_path / "a.mrk.json", markups(frame, RAS if frame == "RAS" else LPS))))


@pytest.mark.parametrize("system", ["0", "1", "LPS", "RAS"])
def test_fcsv_says_its_frame(tmp_path, system):
    same(read_points(fcsv(tmp_path / "a.fcsv", system)))


def test_points_that_are_not_set_are_passed_over(tmp_path):
    one = markups()
    one["controlPoints"].insert(1, {"label": "later", "position": [0, 0, 0], "positionStatus": "undefined"})
    one["controlPoints"].append({"label": "never", "positionStatus": "undefined"})
    with collected() as told:
        same(read_points(write(tmp_path / "a.mrk.json", one)))
    assert len(told) == 1 and "2 of 4" in told[0]


def test_several_markups_of_one_frame_are_one_list(tmp_path):
    found = read_points(write(tmp_path / "a.mrk.json", markups(), markups()))
    assert len(found) == 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"markups": [{"controlPoints": 3}]}', "LPS or RAS"),
        (json.dumps({"markups": []}), "no point"),
        (json.dumps({"markups": [markups("LPS", LPS) | {"controlPoints": []}]}), "no point"),
        (json.dumps({"markups": [markups(), markups("RAS", RAS)]}), "two frames"),
        (json.dumps({"markups": [{k: v for k, v in markups().items() if k != "coordinateSystem"}]}), "LPS or RAS"),
        (json.dumps({"markups": [markups(coordinateUnits=["um", "um", "um"])]}), "mm"),
        (json.dumps({"markups": [markups(positions=[[1, 2], [1, 2, 3]])]}), "point 1"),
        (json.dumps({"markups": [markups(positions=[[1, 2, 3], [1, "x", 3]])]}), "point 2"),
    ],
)
def test_bad_markups_are_one_line(tmp_path, content, words):
    (tmp_path / "a.mrk.json").write_text(content)
    with pytest.raises(PointsError, match=words) as caught:
        read_points(tmp_path / "a.mrk.json")
    assert "\n" not in str(caught.value) and "a.mrk.json: " in str(caught.value)


def test_bad_fcsv(tmp_path):
    with pytest.raises(PointsError, match="LPS or RAS"):
        read_points(fcsv(tmp_path / "a.fcsv", ""))
    with pytest.raises(PointsError, match="LPS or RAS"):
        read_points(fcsv(tmp_path / "b.fcsv", "IJK"))
    path = fcsv(tmp_path / "c.fcsv", "LPS")
    path.write_text("# CoordinateSystem = RAS\n" + path.read_text())
    with pytest.raises(PointsError, match="two frames"):
        read_points(path)
    with pytest.raises(PointsError, match="point 1"):
        read_points(fcsv(tmp_path / "d.fcsv", "LPS", ["1,2"]))
    with pytest.raises(PointsError, match="no point"):
        (tmp_path / "e.fcsv").write_text("# CoordinateSystem = LPS\n")
        read_points(tmp_path / "e.fcsv")


def oblique():
    a = np.radians(30)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])
    return Grid.of((20, 21, 22), (1.5, 2.0, 3.0), (10.0, -20.0, 30.0), turn)


def test_elastix_points_are_lps_and_indices_are_voxels_of_an_oblique_image(tmp_path):
    (tmp_path / "p.txt").write_text("point\n2\n-12.5 30 7.25\n4 -8 100.5\n")
    same(read_points(tmp_path / "p.txt"), ("0", "1"))
    (tmp_path / "i.pts").write_text("index\n2\n3 4 5\n0 0 1\n")
    grid = oblique()
    image = sitk.Image(list(grid.shape), sitk.sitkUInt8)
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(grid.origin.tolist())
    image.SetDirection(grid.direction.ravel().tolist())
    want = [image.TransformIndexToPhysicalPoint(p) for p in ((3, 4, 5), (0, 0, 1))]
    np.testing.assert_allclose(read_points(tmp_path / "i.pts", grid=grid).xyz, want, atol=1e-9)
    with pytest.raises(PointsError, match="--reference"):
        read_points(tmp_path / "i.pts")


def test_transformix_output(tmp_path):
    line = (
        "Point\t{}\t; InputIndex = [ 3 4 5 ]\t; InputPoint = [ 1.0 2.0 3.0 ]\t; OutputIndexFixed = [ 3 4 5 ]\t; "
        "OutputPoint = [ {} {} {} ]\t; Deformation = [ 0.1 0.2 0.3 ]\t; OutputIndexMoving = [ 1 1 1 ]"
    )
    (tmp_path / "outputpoints.txt").write_text("\n".join(line.format(k, *p) for k, p in enumerate(LPS)) + "\n")
    with collected() as told:
        same(read_points(tmp_path / "outputpoints.txt"), ("0", "1"))
    assert len(told) == 1


@pytest.mark.parametrize(
    "text", ["", "point\n", "point\n0\n", "point\n3\n1 2 3\n", "point\n1\n1 2\n2 3\n", "index\n1\n1 2 x\n", "1 2 3\n"]
)
def test_bad_elastix_points(tmp_path, text):
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(PointsError, match="p.txt: "):
        read_points(tmp_path / "p.txt", grid=oblique())


def test_csv_of_ants_and_tables_of_slicer(tmp_path):
    (tmp_path / "a.csv").write_text("x,y,z,t,label,comment\n-12.5,30,7.25,0,1,a\n4,-8,100.5,0,1,b\n")
    assert is_ants(tmp_path / "a.csv")
    same(read_points(tmp_path / "a.csv"), ("a", "b"))
    (tmp_path / "b.csv").write_text("label,r,a,s,defined\ndome,12.5,-30,7.25,1\nx,-4,8,100.5,1\n")
    same(read_points(tmp_path / "b.csv"), ("dome", "x"))
    (tmp_path / "c.csv").write_text("name,x,y,z,r,a,s\np,1,2,3,-1,-2,3\n")
    with pytest.raises(PointsError, match="one frame"):
        read_points(tmp_path / "c.csv")
    (tmp_path / "d.csv").write_text("x,y,z,t,label\n-12.5,30,7.25,0,1\n4,-8,100.5,0,1\n")
    same(read_points(tmp_path / "d.csv"), ("0", "1"))


@pytest.mark.parametrize("ending", [".csv", ".mrk.json", ".fcsv", ".txt"])
def test_written_and_read_again(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    write_points(BOTH, path)
    assert holds_points(path)
    same(read_points(path), ("0", "1") if ending == ".txt" else NAMES)
    if ending == ".mrk.json":
        (one,) = json.loads(path.read_text())["markups"]
        assert one["coordinateSystem"] == "LPS" and one["controlPoints"][1]["position"] == LPS[1]


def test_ants_columns_are_written_again(tmp_path):
    write_points(BOTH, tmp_path / "a.csv", ants=True)
    assert (tmp_path / "a.csv").read_text().splitlines()[:2] == [
        "x,y,z,t,label,comment",
        '-12.5000,30.0000,7.2500,0,0,"portal, left"',
    ]
    same(read_points(tmp_path / "a.csv"))


def test_what_cannot_be_written(tmp_path):
    for name in ("a.xyz", "a.json"):
        with pytest.raises(OutputError, match="mrk.json"):
            write_points(BOTH, tmp_path / name)
    with pytest.raises(OutputError, match="3 coordinates"):
        write_points(Points(np.array([[1.0, 2.0]])), tmp_path / "a.fcsv")


@pytest.mark.parametrize("unit", ["mm", ["mm"], ["mm", "UCUM", "millimeter"]])
def test_slicer_names_its_unit_first(tmp_path, unit):
    path = write(tmp_path / "p.mrk.json", markups(coordinateUnits=unit))
    assert np.allclose(read_points(path).xyz, LPS)
