import csv
import json

import numpy as np
import pytest

from jssr.cohorts.paired import PairedOptions, make_paired
from jssr.core.grid import Grid
from jssr.core.transform import Affine
from jssr.core.volume import volume_of
from jssr.errors import CohortError
from jssr.io.cohort import Case, Cohort
from jssr.io.images import read_image, write_image
from jssr.peers import PEERS, Peer
from jssr.preprocessing.intensity import NO_DATA
from jssr.recipes.config import Preprocessing, Training
from jssr.training.pairs import PairDataset

pytestmark = pytest.mark.skipif(bool(PEERS["syn-mi"].lacks()), reason="ANTs is not installed")
GRID = Grid.of((40, 38, 32), (2.0, 2.0, 2.5), (-40.0, -38.0, -40.0))
SHIFT, GROWN = np.array([4.0, -3.0, 0.0]), 1.2


def scans(moved):
    """A body with two organs: CT-like, MR-like (another order of greys), labels."""
    at = GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1))
    body = np.hypot(at[..., 0] / 34, at[..., 1] / 30) < 1
    first = np.linalg.norm(at - (SHIFT if moved else 0), axis=-1) < 12 * (GROWN if moved else 1)
    second = np.linalg.norm((at - [18, 0, 5]) / [6, 6, 9], axis=-1) < 1
    labels = np.where(first, 1, np.where(second, 2, 0)).astype(np.uint8)
    noise = np.random.default_rng(int(moved)).normal(0, 4, GRID.shape)
    ct = np.where(body, np.choose(labels, [-80, 60, 150]), -1000) + noise
    mr = np.where(body, np.choose(labels, [900, 300, 600]), -1000) + noise
    return ct, mr, labels


@pytest.fixture
def cohort(tmp_path):
    ct, _, p_ct = scans(False)
    _, mr, p_mr = scans(True)
    mr[:2] = NO_DATA  # prepared scans mark what was not scanned
    for name, array in (("ct", ct), ("mr", mr)):
        write_image(volume_of(array.astype(np.float32), GRID), tmp_path / f"a/{name}.nii.gz", "int16")
    for name, array in (("ct", p_ct), ("mr", p_mr)):
        write_image(volume_of(array, GRID, "labels"), tmp_path / f"a/{name}_labels.nii.gz")
    case = Case(
        id="a",
        images={p: f"a/{p}.nii.gz" for p in ("ct", "mr")},
        labels={p: f"a/{p}_labels.nii.gz" for p in ("ct", "mr")},
    )
    phases = {"ct": {"scale": None}, "mr": {"scale": 1000}}
    (tmp_path / "prepared.json").write_text(json.dumps({"cases": {"a": {"phases": phases}}}))
    made = Cohort(name="toy", reference_phase="ct", cases=[case], label_names={1: "one", 2: "two"}, root=tmp_path)
    made.save()
    return made


def test_paired_scans_lie_on_their_scans_and_look_as_the_others(cohort):
    seen = []
    (made,) = make_paired(cohort, on_case=lambda *now: seen.append(now))
    assert seen == [(1, 1, "a")] and made.kept
    assert made.before < 0.85 < 0.9 < made.demons
    read = Cohort.load(cohort.root)
    # The MR look on the CT's anatomy, and the other way round: greys by the labels of the scan they lie on.
    for phase, greys in (("ct", {1: 300, 2: 600}), ("mr", {1: 60, 2: 150})):
        like = read_image(read.path(read.cases[0].paired[phase]))
        labels = read_image(read.path(read.cases[0].labels[phase]), "labels").array
        assert like.grid.same_as(GRID)
        for value, grey in greys.items():
            assert np.median(like.array[labels == value]) == pytest.approx(grey, abs=12)
    assert (read_image(read.path("a/ct_paired.nii.gz")).array == NO_DATA).any()
    # It is stored as what it was made of: training reads it right.
    told = json.loads((cohort.root / "prepared.json").read_text())["cases"]["a"]["paired"]
    assert told == {"ct": {"scale": 1000}, "mr": {"scale": None}}
    source = PairDataset(read, None, (), Preprocessing(reference_phase="ct", moving="mr"), Training(augment=None))
    batch = source.batch(0, frozenset({"pair", "paired"}))
    assert float(batch.fixed_like.max()) == pytest.approx(0.9, abs=0.05)
    rows = list(csv.DictReader((cohort.root / "paired.csv").open()))
    assert rows[0]["case"] == "a" and rows[0]["kept"] == "True"


def test_a_pair_that_does_not_fit_is_left_out_and_listed(cohort, monkeypatch):
    far = np.eye(4)
    far[:3, 3] = 40
    lost = Peer("syn-mi", "loses its way", lambda *scans: Affine(far))
    monkeypatch.setitem(PEERS, "syn-mi", lost)
    with pytest.raises(CohortError, match="no pair fits well enough"):
        make_paired(cohort, PairedOptions(least_dice=0.999))
    (row,) = csv.DictReader((cohort.root / "paired.csv").open())
    assert row["kept"] == "False"
    assert float(row["syn"]) == 0 < float(row["before"]) < float(row["demons"])  # the demons began without it
    assert float(row["worst"]) <= float(row["demons"])
    assert not list((cohort.root / "a").glob("*paired.nii.gz"))


def test_labels_without_a_structure_in_common_are_not_registered(cohort, monkeypatch, caplog):
    monkeypatch.setitem(PEERS, "syn-mi", Peer("syn-mi", "-", lambda *s: pytest.fail("it ran")))
    labels = read_image(cohort.path("a/mr_labels.nii.gz"), "labels")
    write_image(labels.with_data(labels.data * 0 + 77), cohort.path("a/mr_labels.nii.gz"))
    with pytest.raises(CohortError, match="no pair fits well enough"):
        make_paired(cohort)
    assert "a: its label maps have no structure in common" in caplog.text


def test_what_is_missing_is_said(cohort):
    with pytest.raises(CohortError, match="no structure 'three'; its labels are one, two"):
        make_paired(cohort, PairedOptions(["three"]))
    bare = cohort.model_copy(deep=True)
    del bare.cases[0].labels["mr"]
    with pytest.raises(CohortError, match="case a lacks a scan or a label map of ct or mr"):
        make_paired(bare)
    bare.cases[0].images["t1"] = "a/mr.nii.gz"
    with pytest.raises(CohortError, match="two phases, not ct, mr, t1"):
        make_paired(bare)


def test_a_tool_that_stops_takes_no_pair_with_it_and_nothing_is_done_twice(cohort, monkeypatch, caplog):
    calls = []

    def stops(*scans):
        calls.append(1)
        raise RuntimeError("All samples map outside moving image buffer")

    monkeypatch.setitem(PEERS, "syn-mi", Peer("syn-mi", "stops", stops))
    (made,) = make_paired(cohort)
    assert made.kept and "All samples map outside" in caplog.text
    (again,) = make_paired(Cohort.load(cohort.root))
    assert again == made and len(calls) == 1
    assert set(Cohort.load(cohort.root).cases[0].paired) == {"ct", "mr"}
    other = read_image(cohort.path("a/mr.nii.gz"))
    write_image(other.with_data(other.data + 1), cohort.root / "a/mr.nii.gz", "int16")  # another file now
    make_paired(Cohort.load(cohort.root))
    assert len(calls) == 2


def test_only_training_pairs_are_made_and_judged(cohort, monkeypatch):
    other = cohort.cases[0].model_copy(deep=True, update={"id": "b", "split": "test", "labels": {}})
    cohort.cases[0].split = "train"
    both = cohort.model_copy(update={"cases": [*cohort.cases, other]})
    monkeypatch.setitem(PEERS, "syn-mi", Peer("syn-mi", "-", lambda *s: Affine.identity(3)))
    assert [made.case for made in make_paired(both)] == ["a"]
    assert [case.id for case in Cohort.load(cohort.root).cases] == ["a", "b"]


def test_exact_ground_truth_stays(cohort):
    for phase in ("ct", "mr"):
        write_image(read_image(cohort.path(f"a/{phase}.nii.gz")), cohort.root / f"a/{phase}_paired.nii.gz", "int16")
        cohort.cases[0].paired[phase] = f"a/{phase}_paired.nii.gz"
    assert make_paired(cohort) == []
    assert Cohort.load(cohort.root).cases[0].paired["ct"] == "a/ct_paired.nii.gz"
