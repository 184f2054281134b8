"""Cohort files: good ones mean what they say, bad ones are refused with one clear line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from jssr.core.grid import Grid
from jssr.core.volume import Volume
from jssr.errors import CohortError
from jssr.io.cohort import Case, Cohort
from jssr.io.images import write_image

GOOD = {
    "name": "phantom",
    "reference_phase": "venous",
    "cases": [
        {
            "id": "p0001",
            "split": "train",
            "images": {"arterial": "p0001/arterial.nii.gz", "venous": "p0001/venous.nii.gz"},
            "labels": {"venous": "p0001/venous_labels.nii.gz"},
            "landmarks": {"venous": "p0001/venous_landmarks.csv"},
            "truth": {"arterial": "p0001/arterial_displacement.nii.gz"},
        },
        {"id": "p0002", "split": "test", "images": {"venous": "p0002/venous.nii.gz", "delay": "p0002/delay.nii.gz"}},
    ],
    "label_names": {"1": "liver", "2": "spleen", "16": "liver_tumour"},
    "regions": {"liver": ["liver", "liver_tumour"]},
}


def write(folder, content, name="cohort.json"):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def changed(**changes):
    return {**json.loads(json.dumps(GOOD)), **changes}


def changed_case(**changes):
    content = changed()
    content["cases"][0].update(changes)
    return content


def refused(folder, words):
    with pytest.raises(CohortError, match=words) as caught:
        Cohort.load(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_load(tmp_path):
    cohort = Cohort.load(write(tmp_path, GOOD))
    assert (cohort.name, cohort.reference_phase, len(cohort.cases)) == ("phantom", "venous", 2)
    assert cohort.label_names == {1: "liver", 2: "spleen", 16: "liver_tumour"}
    assert [c.id for c in cohort.split("test")] == ["p0002"] and cohort.split("validation") == []
    assert cohort.path(cohort.cases[0].truth["arterial"]) == tmp_path / "p0001" / "arterial_displacement.nii.gz"
    assert cohort.phases == ("venous", "arterial", "delay")
    assert cohort.case("p0002").labels == {}
    assert Cohort.load(tmp_path / "cohort.json") == cohort


def test_regions_take_the_place_of_their_label(tmp_path):
    cohort = Cohort.load(write(tmp_path, GOOD))
    assert cohort.structures() == {"liver": (1, 16), "spleen": (2,), "liver_tumour": (16,)}


def test_save_and_load(tmp_path):
    cohort = Cohort(
        name="mine",
        reference_phase="venous",
        cases=[Case(id="a", images={"venous": "a.nii.gz"}, meta={"seed": 3})],
        label_names={4: "kidney_left"},
        root=tmp_path / "new",
    )
    file = cohort.save()
    assert file == tmp_path / "new" / "cohort.json"
    assert Cohort.load(tmp_path / "new") == cohort
    text = json.loads(file.read_text())
    assert text["label_names"] == {"4": "kidney_left"} and "root" not in text


def test_known_extras_are_kept(tmp_path):
    content = changed_case(sex="F", meta={"seed": 1})
    content["licence"] = "CC BY"
    cohort = Cohort.load(write(tmp_path, content))
    assert cohort.meta == {"licence": "CC BY"} and cohort.cases[0].meta == {"sex": "F", "seed": 1}


def test_missing_phase_and_case_are_named(tmp_path):
    cohort = Cohort.load(write(tmp_path, GOOD))
    with pytest.raises(CohortError, match='no case has a phase "portal"; there are venous, arterial, delay'):
        cohort.check_phases("venous", "portal")
    with pytest.raises(CohortError, match='p0002 has no phase "arterial"; it has venous, delay'):
        cohort.image(cohort.cases[1], "arterial")
    assert cohort.image(cohort.cases[1], "delay") == tmp_path / "p0002" / "delay.nii.gz"
    with pytest.raises(CohortError, match='no case "p9"'):
        cohort.case("p9")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not readable JSON"),
        ("[]", "must hold a JSON object"),
        (changed(anchors="venous"), 'unknown key "anchors"'),
        (changed(cases=[]), "at least 1 item"),
        (changed(reference_phase="portal"), 'no image of the reference phase "portal"; it has arterial, venous'),
        (changed(cases=[GOOD["cases"][1]] * 2), 'two cases have the id "p0002"'),
        (changed(regions={"liver": ["liver", "cyst"]}), 'unknown label "cyst"; the labels are liver, spleen'),
        (changed(regions={"liver": []}), "is empty"),
        (changed(label_names={"1": "liver", "2": "liver"}), 'two labels have the name "liver"'),
        (changed(label_names={"one": "liver"}), "label_names"),
        (changed_case(split="training"), "split"),
        (changed_case(images={}), "p0001 has no images"),
        (changed_case(labels={"portal": "a.nii.gz"}), 'labels for phase "portal".*images of arterial, venous'),
        (changed_case(truth={"delay": "a.nii.gz"}), 'truth for phase "delay"'),
        (changed_case(images={"venous": "../a.nii.gz"}), "leaves the folder"),
        (changed_case(images={"venous": "b/../../a.nii.gz"}), "leaves the folder"),
        (changed_case(images={"venous": "/etc/a.nii.gz"}), "leaves the folder"),
        (changed_case(images={"venous": ""}), "leaves the folder"),
        (changed_case(weight=3), 'unknown key "cases.0.weight"'),
        ({k: v for k, v in GOOD.items() if k != "reference_phase"}, 'the key "reference_phase" is missing'),
    ],
)
def test_bad_files(tmp_path, content, words):
    refused(write(tmp_path, content), words)


def test_no_cohort_there(tmp_path):
    refused(tmp_path, "holds no cohort.json and no dataset.json")
    refused(tmp_path / "nowhere", "holds no cohort.json")


DECATHLON = {
    "name": "Liver",
    "description": "Liver and cancer segmentation",
    "licence": "CC-BY-SA 4.0",
    "tensorImageSize": "3D",
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "liver", "2": "cancer"},
    "numTraining": 2,
    "training": [
        {"image": "./imagesTr/liver_0.nii.gz", "label": "./labelsTr/liver_0.nii.gz"},
        {"image": "./imagesTr/liver_1.nii.gz", "label": "./labelsTr/liver_1.nii.gz"},
    ],
    "test": ["./imagesTs/liver_132.nii.gz"],
}


def test_decathlon(tmp_path):
    cohort = Cohort.load(write(tmp_path, DECATHLON, "dataset.json"))
    assert (cohort.name, cohort.reference_phase) == ("Liver", "venous")
    assert [c.id for c in cohort.split("train")] == ["liver_0", "liver_1"]
    assert cohort.image(cohort.cases[0], "venous") == tmp_path / "imagesTr" / "liver_0.nii.gz"
    assert cohort.cases[1].labels == {"venous": "labelsTr/liver_1.nii.gz"}
    assert cohort.label_names == {1: "liver", 2: "cancer"}
    assert cohort.structures() == {"liver": (1, 2), "cancer": (2,)}
    assert Cohort.load(tmp_path, supervised_phase="t1").reference_phase == "t1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modality": {"0": "T1", "1": "T2"}}, "2 modalities in one file"),
        ({"labels": ["liver"]}, "not a Decathlon dataset.json"),
        ({"training": [{"image": "./a.nii.gz"}]}, "KeyError: 'label'"),
        ({"training": []}, "at least 1 item"),
        ({"training": [{"image": "../a.nii.gz", "label": "b.nii.gz"}]}, "leaves the folder"),
    ],
)
def test_bad_decathlon(tmp_path, changes, words):
    refused(write(tmp_path, {**DECATHLON, **changes}, "dataset.json"), words)


NNUNET = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "liver_tumour": 2},
          "numTraining": 2, "file_ending": ".nrrd"}  # fmt: skip


def test_nnunets_raw_data(tmp_path):
    (tmp_path / "labelsTr").mkdir()
    for name in ("liver_1.nrrd", "liver_0.nrrd", "notes.txt"):
        (tmp_path / "labelsTr" / name).touch()
    cohort = Cohort.load(write(tmp_path, NNUNET, "dataset.json"))
    assert [c.id for c in cohort.split("train")] == ["liver_0", "liver_1"]
    assert cohort.cases[0].images == {"venous": "imagesTr/liver_0_0000.nrrd"}
    assert cohort.cases[0].labels == {"venous": "labelsTr/liver_0.nrrd"}
    assert cohort.label_names == {1: "liver", 2: "liver_tumour"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channel_names": {"0": "T1", "1": "T2"}}, "one channel, got 2 channels"),
        ({"labels": {"liver": [1, 2]}}, "name to one value"),
        ({}, "labelsTr/CASE.nrrd"),
    ],
)
def test_bad_data_of_nnunet(tmp_path, changes, words):
    refused(write(tmp_path, {**NNUNET, **changes}, "dataset.json"), words)


def test_a_folder_of_radiographs_with_masks_is_a_cohort(tmp_path):
    for name, values in (("a", (0, 1, 2)), ("b", (0, 1)), ("c", None)):
        for part in ("images", "masks"):
            (tmp_path / part).mkdir(exist_ok=True)
            if part == "images" or values:
                pixels = np.resize(np.array(values or (3, 9), np.uint8), (6, 5)) * (9 if part == "images" else 1)
                Image.fromarray(pixels).save(tmp_path / part / f"{name}.png")
    (tmp_path / "images" / "notes.txt").write_text("not a picture")
    cohort = Cohort.load(tmp_path)
    assert [case.id for case in cohort.cases] == ["a", "b"]  # c has no mask
    assert cohort.cases[0].labels == {"radiograph": "masks/a.png"}
    assert cohort.structures() == {"label_1": (1,), "label_2": (2,), "lungs": (1, 2)}
    (tmp_path / "masks" / "a.png").unlink()
    assert Cohort.load(tmp_path).structures() == {"lungs": (1,)}
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(CohortError, match="no file in images/ has one of its name in masks/"):
        Cohort.load(tmp_path)


def test_a_cohort_knows_the_modality_of_a_phase(tmp_path):
    grid = Grid.of((6, 6, 6), 2.0)
    for phase in ("venous", "t1"):
        write_image(Volume(torch.arange(216.0).view(1, 6, 6, 6), grid), tmp_path / f"{phase}.nii.gz", "int16")
    case = Case(id="a", images={phase: f"{phase}.nii.gz" for phase in ("venous", "t1")})
    made = Cohort(name="c", reference_phase="venous", cases=[case], modalities={"t1": "mr"}, root=tmp_path)
    made.save()
    read = Cohort.load(tmp_path)
    scan = read.scan(read.cases[0], "t1")
    assert scan.modality == "mr" and scan.origins["modality"] == "cohort"
    assert read.scan(read.cases[0], "venous").modality is None
    assert read.digest(case) != read.model_copy(update={"modalities": {}}).digest(case)
    for wrong, said in (({"t2": "mr"}, 'modalities name the phase "t2"'), ({"t1": "pet"}, "modalities.t1")):
        content = {**json.loads((tmp_path / "cohort.json").read_text()), "modalities": wrong}
        (tmp_path / "cohort.json").write_text(json.dumps(content))
        with pytest.raises(CohortError, match=said):
            Cohort.load(tmp_path)
