"""The names of labels, from headers and from the tables of other programs."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from jssr.errors import ImageError
from jssr.io.images import read_image
from jssr.io.label_names import by_name, own_names, read_label_names, write_label_names

XML = b"""<CaretExtension><VolumeInformation Index="0"><LabelTable><Label Key="0">background</Label>
<Label Key="7">left kidney</Label><Label Key="1003">node</Label></LabelTable></VolumeInformation></CaretExtension>"""
KNOWN = {7: "left kidney", 1003: "node"}
SNAP = """################################################
# ITK-SnAP Label Description File
################################################
    0     0    0    0        0  0  0    "Clear Label"
    7   255    0    0        1  1  1    "left kidney"
 1003     0  255    0      0.5  1  0    "node"
"""
FREESURFER = """#No. Label Name:                R   G   B   A
0   Unknown                                 0   0   0   0
7   Left-Kidney                             70  130 180 0

1003  node                    245 245 245 0
"""
CTBL = """# Color table file somewhere.ctbl
# 3 values
0 Background 0 0 0 0
7 left_kidney 10 20 30 255
1003 node 1 2 3 255
"""


def nifti_with_names(path: Path, xml: bytes) -> None:
    header = bytearray(348)
    header[:4] = struct.pack("<i", 348)
    size = -(-(len(xml) + 8) // 16) * 16
    header[108:112] = struct.pack("<f", 352 + size)
    path.write_bytes(
        gzip.compress(bytes(header) + b"\1\0\0\0" + struct.pack("<ii", size, 0) + xml.ljust(size + 8, b"\0"))
    )


def test_names_from_the_header(tmp_path: Path) -> None:
    xml = b"""<?xml version="1.0" encoding="UTF-8"?> <CaretExtension><VolumeInformation Index="0"><LabelTable>
    <Label Key="0"><![CDATA[background]]></Label><Label Key="5" Red="0.0"><![CDATA[liver]]></Label>
    <Label Key="52"><![CDATA[aorta]]></Label></LabelTable></VolumeInformation></CaretExtension>"""
    nifti_with_names(tmp_path / "organs.nii.gz", xml)
    assert read_label_names(tmp_path / "organs.nii.gz") == {5: "liver", 52: "aorta"}


def test_names_from_json(tmp_path: Path) -> None:
    file = tmp_path / "names.json"
    for content in ({"0": "background", "5": "liver"}, {"background": 0, "liver": 5}):
        file.write_text(json.dumps(content))
        assert read_label_names(file) == {5: "liver"}


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8bjunk", gzip.compress(b"\0" * 20, mtime=0), gzip.compress(b"\0" * 400, mtime=0)]
)
def test_no_names_is_said(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "organs.nii.gz"
    file.write_bytes(content)
    with pytest.raises(ImageError, match="organs.nii.gz"):
        read_label_names(file)


@pytest.mark.parametrize("image", [nib.Nifti1Image, nib.Nifti2Image])
def test_names_in_extensions_that_nibabel_writes(tmp_path, image):
    made = image(np.zeros((3, 3, 3), np.int16), np.eye(4))
    made.header.extensions.append(nib.nifti1.Nifti1Extension("caret", XML))
    nib.save(made, tmp_path / "a.nii.gz")
    assert read_label_names(tmp_path / "a.nii.gz") == KNOWN


@pytest.mark.parametrize(
    ("name", "text", "first"),
    [
        ("a.txt", SNAP, "left kidney"),
        ("a.label", SNAP, "left kidney"),
        ("FreeSurferColorLUT.txt", FREESURFER, "Left-Kidney"),
        ("a.ctbl", CTBL, "left_kidney"),
        ("a.csv", "LabelValue,Name,Color_R\n0,Background,0\n7,left kidney,10\n1003,node,20\n", "left kidney"),
        ("dseg.tsv", "index\tname\tabbreviation\n7\tleft kidney\tLK\n1003\tnode\tN\n", "left kidney"),
    ],
)
def test_tables_of_other_programs(tmp_path, name, text, first):
    (tmp_path / name).write_text(text)
    assert read_label_names(tmp_path / name) == {7: first, 1003: "node"}


@pytest.mark.parametrize(
    "content",
    [
        {"labels": {"background": 0, "left kidney": 7, "node": 1003}, "channel_names": {"0": "CT"}},
        {"labels": {"0": "background", "7": "left kidney", "1003": "node"}},
        {"labels": {"background": 0, "both": [7, 1003], "left kidney": [7], "node": 1003}},
        {"label_names": {"7": "left kidney", "1003": "node"}, "cases": []},
    ],
)
def test_json_of_nnunet_and_of_cohorts(tmp_path, content):
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert read_label_names(tmp_path / "dataset.json") == KNOWN


def segments(path, layers=("0", "0")):
    image = sitk.GetImageFromArray(np.zeros((3, 3, 3), np.int16))
    for k, (value, name) in enumerate(KNOWN.items()):
        image.SetMetaData(f"Segment{k}_Name", name)
        image.SetMetaData(f"Segment{k}_LabelValue", str(value))
        image.SetMetaData(f"Segment{k}_Layer", layers[k])
    sitk.WriteImage(image, str(path))
    return path


def test_segments_of_slicer(tmp_path):
    assert read_label_names(segments(tmp_path / "a.seg.nrrd")) == KNOWN
    with pytest.raises(ImageError, match="layers"):
        read_label_names(segments(tmp_path / "b.seg.nrrd", ("0", "1")))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "{"),
        ("a.json", "[1, 2]"),
        ("a.json", '{"7": {"name": "x"}}'),
        ("a.json", '{"liver": "7"}'),
        ("a.txt", "liver 7\n"),
        ("a.txt", "7 a 1 2 3 4\n7 b 1 2 3 4\n"),
        ("a.ctbl", ""),
        ("a.csv", "a,b\n1,2\n"),
        ("a.csv", "label,name\nx,liver\n"),
        ("a.nrrd", "no"),
    ],
)
def test_bad_files_are_one_line(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ImageError, match=f"{name}: ") as caught:
        read_label_names(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_map_has_names_beside_it_or_in_it(tmp_path):
    path = segments(tmp_path / "a.seg.nrrd")
    assert own_names(path) == KNOWN
    write_label_names({7: "another"}, path)
    assert own_names(path) == {7: "another"}
    (tmp_path / "a.seg.json").write_text('{"EchoTime": 0.05, "Manufacturer": "x"}')
    assert own_names(path) == KNOWN
    assert own_names(tmp_path / "none.nii.gz") == {}


def test_values_of_one_name_are_one_structure():
    assert by_name({1: "kidney", 2: "kidney", 5: "liver"}) == {"kidney": (1, 2), "liver": (5,)}


def test_overlapping_segments_are_refused_as_an_image_too(tmp_path):
    layered = sitk.GetImageFromArray(np.zeros((4, 4, 4, 2), np.uint8), isVector=True)
    sitk.WriteImage(layered, str(tmp_path / "a.seg.nrrd"))
    for kind in ("labels", "image"):
        with pytest.raises(ImageError, match="2 layers"):
            read_image(tmp_path / "a.seg.nrrd", kind)


def test_a_key_of_two_values_is_refused(tmp_path):
    for text in ('{"5": "liver", "5": "spleen"}', '{"labels": {"liver": 5, "liver": 6}}'):
        (tmp_path / "n.json").write_text(text)
        with pytest.raises(ImageError, match="twice"):
            read_label_names(tmp_path / "n.json")
